"""V-JEPA 2.1 golden vectors through the production modules: encoder, predictor, anticipation wrapper, key tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gazetools.gazemodels.vit.rotary import video_rotation
from gazetools.schemas.errors import CheckpointError
from gazetools.schemas.training_model import ModelSettings
from gazetools.trainer.models.blocks import NORM_EPS
from gazetools.trainer.models.build import build_encoder, check_file
from gazetools.trainer.models.checks import check_model_settings
from gazetools.trainer.models.encoder21 import EncoderOptions21, VideoEncoder21, level_blocks, native_grid
from gazetools.trainer.models.keys import from_upstream, load_strict, to_upstream
from gazetools.trainer.models.predictor21 import VisionTransformerPredictorHeatmap21
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.config import load_config
from tests.parity.conftest import Golden
from tests.trainer.test_config import vjepa2_config

ENCODER_KEYS = ("embed_dim", "depth", "num_heads", "mlp_ratio", "patch_size", "tubelet_size")
PREDICTOR_KEYS = (
    *("patch_size", "num_frames", "tubelet_size", "embed_dim", "predictor_embed_dim", "depth", "num_heads"),
    *("num_mask_tokens", "zero_init_mask_tokens", "use_sdpa", "img_size"),
)
AS_BUILT = {"use_rope": True, "uniform_power": True, "use_mask_tokens": True, "use_silu": False, "wide_silu": False}
"""Settings of upstream's classes that these modules always have; recorded configs must agree."""


def encoder_of(config: dict[str, Any], *, interpolate: bool, hierarchical: bool) -> VideoEncoder21:
    assert AS_BUILT.items() >= {key: config[key] for key in AS_BUILT if key in config}.items()
    return VideoEncoder21(
        **{key: config[key] for key in ENCODER_KEYS if key in config},
        options=EncoderOptions21(
            images=config.get("img_temporal_dim_size") is not None,
            modality_embedding=config.get("modality_embedding", True),
            interpolate_rope=interpolate,
            hierarchical=hierarchical,
        ),
    ).eval()


def predictor_of(
    config: dict[str, Any], state: dict[str, Tensor], *, interpolate: bool, use_heatmap: bool = True
) -> VisionTransformerPredictorHeatmap21:
    """The predictor with the recorded weights; it may have heatmap tokens, which nothing here uses."""
    assert AS_BUILT.items() >= {key: config[key] for key in AS_BUILT if key in config}.items()
    levels = config.get("n_output_distillation", 4)
    out = config.get("out_embed_dim")
    has_vectors = config.get("img_temporal_dim_size") is not None and config.get("modality_embedding", True)
    predictor = VisionTransformerPredictorHeatmap21(
        **{key: config[key] for key in PREDICTOR_KEYS if key in config},
        levels=levels,
        teacher_embed_dim=config.get("teacher_embed_dim") or (levels * out if out else None),
        return_all_tokens=config.get("return_all_tokens", False),
        modality_embedding=has_vectors,
        interpolate_rope=interpolate,
        use_heatmap=use_heatmap,
    )
    load_strict(predictor, from_upstream(state), what="vectors", new=("heatmap_tokens.",))
    return predictor.eval()


def close(found: Tensor, expected: Tensor, tolerance: float, name: str) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0, msg=lambda text: f"{name}: {text}")


@pytest.mark.golden("vjepa21_encoder")
def test_encoder(golden: Golden) -> None:
    """Videos, single images, other shapes, masks and all levels, with and without interpolated positions."""
    spec, tensors, tolerance = golden.spec, golden.tensors, golden.spec["tolerance"]
    state = golden.state_dict(spec["state_dict_prefix"])
    assert spec["cases"]
    seen = set()
    for case in spec["cases"]:
        encoder = encoder_of(
            spec["config"], interpolate=case["interpolate_rope"], hierarchical=case["return_hierarchical"]
        )
        assert list(to_upstream(encoder.state_dict())) == spec["state_dict_keys"], "key order is upstream's"
        load_strict(encoder, from_upstream(state), what="vectors")
        assert list(encoder.levels) == spec["hierarchical_layers"]
        video = tensors[case["input"]]
        masks = tensors[case["masks"]] if "masks" in case else None
        with torch.no_grad():
            output, (embedded, _) = encoder(video, masks), encoder.embed(video)
        assert list(output.shape) == case["shape"]
        assert output.shape[-1] == encoder.output_width
        close(output, tensors[case["output"]], tolerance["output"], case["name"])
        name = case["input"].removesuffix(".input") + ".tokens_in"
        if name in tensors:
            close(embedded, tensors[name], tolerance["tokens_in"], name)
        seen |= {case["input"], case["output"], case.get("masks"), name}
    rest = {key for key in golden.own_tensors if not key.startswith((spec["state_dict_prefix"], "rope.", "eps_probe."))}
    assert rest <= seen, "every recorded tensor is compared"


@pytest.mark.golden("vjepa21_encoder")
def test_norm_of_the_last_level(golden: Golden) -> None:
    spec, tensors = golden.spec, golden.tensors
    if "eps_probe" not in spec:
        assert "shared_tensors" in spec, "all but the committed file have it"
        return
    encoder = encoder_of(spec["config"], interpolate=False, hierarchical=False)
    load_strict(encoder, from_upstream(golden.state_dict(spec["state_dict_prefix"])), what="vectors")
    assert spec["norm_eps"] == NORM_EPS
    with torch.no_grad():
        found = encoder.norms_block[-1](tensors["eps_probe.in"])
    close(found, tensors["eps_probe.out"], spec["tolerance"]["eps_probe.out"], "eps_probe")


@pytest.mark.golden("vjepa21_encoder")
def test_rotation_of_one_axis(golden: Golden) -> None:
    """The recorded rotation is that of one axis; the production rotation has three in one head."""
    spec, tensors = golden.spec, golden.tensors
    assert native_grid(spec["config"]["patch_size"]) == spec["pretrained_grid_size"]
    head_dim = spec["config"]["embed_dim"] // spec["config"]["num_heads"]
    assert spec["rope_dim_per_axis"] == 2 * (head_dim // 3 // 2)
    if "rope.x" not in tensors:
        assert "rope" not in spec
        return
    x, places, expected = (tensors[f"rope.{name}"] for name in ("x", "pos", "out"))
    channels = x.shape[-1]
    for axis in range(3):
        positions = torch.zeros(1, len(places), 3)
        positions[..., axis] = places
        turn = video_rotation(positions, 3 * channels, interleaved=True)
        head = torch.ones(*x.shape[:-1], 3 * channels)
        head[..., axis * channels : (axis + 1) * channels] = x
        found = turn(head)
        part = found[..., axis * channels : (axis + 1) * channels]
        close(part, expected, spec["tolerance"]["rope.out"], f"axis {axis}")
        others = torch.cat((found[..., : axis * channels], found[..., (axis + 1) * channels :]), dim=-1)
        assert torch.equal(others, torch.ones_like(others)), "the other axes are at 0"


@pytest.mark.golden("vjepa21_predictor")
def test_predictor(golden: Golden) -> None:
    spec, tensors, tolerance = golden.spec, golden.tensors, golden.spec["tolerance"]
    state = golden.state_dict(spec["state_dict_prefix"])
    assert spec["cases"]
    seen = set()
    for case in spec["cases"]:
        predictor = predictor_of(spec["config"], state, interpolate=case["interpolate_rope"])
        assert (predictor.input_width, predictor.output_width) == (spec["input_width"], spec["output_width"])
        assert (predictor.grid, predictor.steps) == (spec["grid"], spec["temporal_positions"])
        inputs = [f"{case['inputs']}.{name}" for name in ("x", "masks_x", "masks_y")]
        with torch.no_grad():
            made = predictor.predict(
                *(tensors[name] for name in inputs),
                mask_index=case["mask_index"],
                image=case["mod"] == "image",
                with_context=True,
            )
        found, expected = made.targets, tensors[f"{case['name']}.output"]
        if "last_channels" in spec:  # the committed set, where this is all that was recorded
            found = found[..., -spec["last_channels"] :]
        close(found, expected, tolerance["output"], case["name"])
        context = tensors.get(f"{case['name']}.context")
        has_head = spec["config"].get("return_all_tokens", False)
        assert has_head == (made.context is not None)
        if made.context is not None and "last_channels" not in spec:
            assert context is not None, "recorded wherever there is a head"
            close(made.context, context, tolerance["context"], f"{case['name']}, context")
        seen |= {*inputs, f"{case['name']}.output", f"{case['name']}.context"}
    assert {key for key in golden.own_tensors if not key.startswith(spec["state_dict_prefix"])} <= seen


@pytest.mark.golden("vjepa21_wrapper")
def test_anticipative_wrapper(golden: Golden) -> None:
    """Several steps and frames, the three interpolations that upstream has, without encoder, without predictor."""
    spec, tensors, tolerance = golden.spec, golden.tensors, golden.spec["tolerance"]
    times, video = tensors["anticipation_times"], tensors["video"]
    assert times.tolist() == pytest.approx(spec["anticipation_times"])
    levels = spec["predictor"].get("n_output_distillation", 4)
    hierarchical = spec.get("encoder_return_hierarchical", levels > 1)
    assert hierarchical == (levels > 1)
    outputs = {"anticipation_times", "video"}
    assert spec["cases"]
    for case in spec["cases"]:
        encoder = encoder_of(spec["encoder"], interpolate=case["encoder_interpolate_rope"], hierarchical=hierarchical)
        load_strict(encoder, from_upstream(golden.state_dict_of("encoder")), what="vectors")
        predictor = predictor_of(
            spec["predictor"], golden.state_dict_of("predictor"), interpolate=case["predictor_interpolate_rope"]
        )
        wrapper = AnticipativeWrapperHeatmap(
            encoder,
            predictor,
            frames_per_second=spec["frames_per_second"],
            crop_size=spec["crop_size"],
            patch_size=spec["patch_size"],
            tubelet_size=spec["tubelet_size"],
            compat="vjepa2",  # anticipation times cut to whole tubelets, as recorded
            **case["wrapper_kwargs"],
        ).eval()
        with torch.no_grad():
            output = wrapper(video, times)
            encoded = wrapper.encode(video)
        assert wrapper.anticipation_steps(times)[0].tolist() == spec["anticipation_steps"]
        assert list(output.shape) == case["shape"]
        close(output, tensors[case["output"]], tolerance["out_*"], case["output"])
        kind = "" if case["encoder_interpolate_rope"] else "_no_interpolation"
        if (name := f"encoder_output{kind}") in tensors:
            close(encoded, tensors[name], tolerance["encoder_output*"], name)
            outputs.add(name)
        outputs.add(case["output"])
    prefixes = (spec["encoder_state_dict_prefix"], spec["predictor_state_dict_prefix"])
    assert {key for key in golden.own_tensors if not key.startswith(prefixes)} <= outputs


def settings_of(recorded: dict[str, Any], **more: Any) -> ModelSettings:
    """The model settings of a release's own EPIC-KITCHENS config."""
    yaml = recorded["ek100_yaml"]
    parts = {"encoder": yaml["encoder"], "predictor": {**yaml["predictor"], **more}}
    return ModelSettings.model_validate(
        {
            "checkpoint": recorded["checkpoint_file"],
            "wrapper_kwargs": yaml["wrapper_kwargs"],
            "pretrain_kwargs": {"use_v2_1": True, **parts},
        }
    )


def shapes_of(module: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in to_upstream(module.state_dict()).items()}


@pytest.mark.golden("vjepa21_keys")
def test_released_encoders(golden: Golden) -> None:
    """Keys, their order and shapes of the released encoders, built from their EPIC-KITCHENS configs."""
    assert golden.spec["models"]
    for name, recorded in golden.spec["models"].items():
        with torch.device("meta"):
            encoder = build_encoder(settings_of(recorded))
        assert list(shapes_of(encoder).items()) == list(recorded["encoder"].items()), name
        assert sum(p.numel() for p in encoder.parameters()) == recorded["num_parameters"]["encoder"], name
        dims = recorded["encoder_dims"]
        assert list(level_blocks(dims["depth"])) == dims["hierarchical_layers"], name
        assert settings_of(recorded).pretrain_kwargs.encoder.checkpoint_key == recorded["checkpoint_encoder_key"]


@pytest.mark.golden("vjepa21_keys")
def test_released_predictors(golden: Golden) -> None:
    for name, recorded in golden.spec["models"].items():
        predictor = released_predictor(recorded, settings_of(recorded, return_all_tokens=True))
        assert list(shapes_of(predictor).items()) == list(recorded["predictor"].items()), name
        assert sum(p.numel() for p in predictor.parameters()) == recorded["num_parameters"]["predictor"], name
        own = shapes_of(released_predictor(recorded, settings_of(recorded)))
        absent = recorded["ek100_yaml"]["predictor_keys_absent_from_that_model"]
        assert sorted(set(recorded["predictor"]) - set(own)) == sorted(absent), name


@pytest.mark.golden("vjepa21_keys")
def test_released_files_fit_their_configs_and_no_other(golden: Golden, tmp_path: Path) -> None:
    """Files of the released keys, shapes, entries and prefixes; all numbers share one place, so they are small."""

    def wrapped(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
        return {f"module.backbone.{key}": torch.zeros(1).expand(shape) for key, shape in shapes.items()}

    configs = {}
    for name, recorded in golden.spec["models"].items():
        path = tmp_path / recorded["checkpoint_file"]
        entries = (recorded["checkpoint_encoder_key"], recorded["checkpoint_predictor_key"])
        torch.save(
            {entry: wrapped(recorded[part]) for entry, part in zip(entries, ("encoder", "predictor"), strict=True)},
            path,
        )
        assert path.stat().st_size < 2 << 20
        values = vjepa2_config()
        values["experiment"]["data"]["resolution"] = recorded["resolution"]
        values["model_kwargs"] = {**settings_of(recorded).model_dump(), "checkpoint": str(path)}
        configs[name] = load_config(values)
        check_model_settings(configs[name])
        check_file(configs[name])
    for name, config in configs.items():
        for other, theirs in configs.items():
            if other != name:
                model = config.model_kwargs.model_copy(update={"checkpoint": theirs.model_kwargs.checkpoint})
                with pytest.raises(CheckpointError):
                    check_file(config.model_copy(update={"model_kwargs": model}))


def released_predictor(recorded: dict[str, Any], settings: ModelSettings) -> VisionTransformerPredictorHeatmap21:
    """Built by hand from the settings: `build_predictor` needs a whole config; tests/trainer runs it."""
    own = settings.pretrain_kwargs.predictor
    with torch.device("meta"):
        return VisionTransformerPredictorHeatmap21(
            img_size=recorded["resolution"],
            embed_dim=recorded["encoder_dims"]["embed_dim"],
            num_frames=own.num_frames,
            depth=own.depth or 0,
            num_heads=own.num_heads,
            predictor_embed_dim=own.predictor_embed_dim or 0,
            num_mask_tokens=own.num_mask_tokens or 0,
            levels=own.n_output_distillation,
            teacher_embed_dim=own.teacher_embed_dim,
            return_all_tokens=own.return_all_tokens,
        )
