"""V-JEPA 2.1 with heatmaps: positions, embeddings, heads, precision, sizes, and what of its settings is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_model import Fusion, ModelSettings
from gazetools.trainer.data.feature_cache import encoder_facts
from gazetools.trainer.learn.losses import jepa_loss
from gazetools.trainer.models.build import build_encoder
from gazetools.trainer.models.checks import check_model_settings
from gazetools.trainer.models.checks21 import version_notes
from gazetools.trainer.models.encoder21 import EncoderOptions21, VideoEncoder21, level_blocks
from gazetools.trainer.models.fusion import FUSIONS, reads_scene_tokens
from gazetools.trainer.models.predictor21 import VisionTransformerPredictorHeatmap21
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.describe import describe_model
from gazetools.trainer.plan.ignored import ignored_keys
from tests.trainer.test_config import vjepa2_config

PRETRAIN, DATA = "model_kwargs.pretrain_kwargs", "experiment.data"
GRID, WIDTH, D = 4, 36, 24
ALL_FUSIONS = [name for name in FUSIONS if not reads_scene_tokens(name)]


def predictor_with(fusion: Fusion = "interleave", **changed: Any) -> VisionTransformerPredictorHeatmap21:
    settings: dict[str, Any] = {
        "img_size": 16 * GRID, "num_frames": 16, "embed_dim": D, "predictor_embed_dim": WIDTH, "depth": 2,
        "num_heads": 2, "num_mask_tokens": 8, "levels": 4, "return_all_tokens": True, "use_heatmap": True,
        "fusion": fusion, "zero_init_mask_tokens": False,
    }  # fmt: skip
    torch.manual_seed(0)
    predictor = VisionTransformerPredictorHeatmap21(**settings | changed).eval()
    with torch.no_grad():
        for name in ("video_mod_embed", "img_mod_embed"):  # at its start 1e-6, too small to be seen
            if (vector := getattr(predictor, name)) is not None:
                vector.normal_(std=0.5)
    return predictor


def encoder_with(depth: int = 4, **options: bool) -> VideoEncoder21:
    return VideoEncoder21(embed_dim=D, depth=depth, num_heads=2, options=EncoderOptions21(**options))


def inputs(levels: int = 4, *, heat: int = 16 * GRID) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Context of two time steps, its ids, ids of one step ahead, and maps of four frames."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(2, 2 * GRID**2, levels * D, generator=random)
    masks_x = torch.arange(2 * GRID**2).expand(2, -1)
    masks_y = torch.arange(3 * GRID**2, 4 * GRID**2).expand(2, -1)
    return x, masks_x, masks_y, torch.rand(2, 4, heat, heat, generator=random)


def seen_by_blocks(predictor: VisionTransformerPredictorHeatmap21, **more: Any) -> tuple[Tensor, Tensor]:
    """Tokens and positions that enter the first block, in the order context, targets, heatmap tokens."""
    caught: list[tuple[Tensor, Tensor]] = []
    run = predictor.predictor_blocks.run

    def catch(tokens: Tensor, positions: Tensor, **steering: Any) -> Tensor:
        caught.append((tokens, positions))
        return run(tokens, positions, **steering)

    predictor.predictor_blocks.run = catch  # type: ignore[method-assign]
    x, masks_x, masks_y, maps = inputs()
    with torch.no_grad():
        predictor.predict(x, masks_x, masks_y, maps, **more)
    ((tokens, positions),) = caught
    return tokens, positions


@pytest.mark.parametrize(
    ("patch", "cells"),
    [
        pytest.param(16, [0, 1, 2, 3], id="the video's own grid"),
        pytest.param(32, [0.5, 2.5], id="coarser: the centre of the video cells that a token covers"),
        pytest.param(8, [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25], id="finer: parts of a video cell"),
    ],
)
@pytest.mark.parametrize("interpolate", [False, True])
def test_heatmap_positions_are_placed_in_the_video_and_scaled_as_the_video_is(
    patch: int, cells: list[float], interpolate: bool
) -> None:
    """With interpolate_rope rows and columns are multiplied by 15 / (4 - 1), never by the heatmap grid's own factor."""
    predictor = predictor_with(heatmap_patch_size=patch, interpolate_rope=interpolate)
    _, positions = seen_by_blocks(predictor)
    factor = 15 / 3 if interpolate else 1.0
    steps = sorted({float(t) for t in positions[0, :, 0]})
    assert steps == [0, 1, 3], "time is not scaled"
    heat = len(cells) ** 2
    first = positions[0, :heat]  # a step's heatmap tokens stand before its video tokens
    expected = torch.tensor([[0.0, row * factor, column * factor] for row in cells for column in cells])
    torch.testing.assert_close(first, expected)
    video = positions[0, heat : heat + GRID**2]
    torch.testing.assert_close(video[-1], torch.tensor([0.0, 3 * factor, 3 * factor]))
    assert positions.dtype == torch.float32


def test_context_and_mask_tokens_have_the_modality_embedding_and_heatmap_tokens_none() -> None:
    predictor = predictor_with()
    with_vector, positions = seen_by_blocks(predictor)
    vector = predictor.video_mod_embed
    assert vector is not None
    kept = vector.detach().clone()
    with torch.no_grad():
        vector.zero_()
    without, _ = seen_by_blocks(predictor)
    moved = (with_vector - without)[0]
    is_heat = moved.abs().sum(-1) == 0
    assert int(is_heat.sum()) == 2 * GRID**2, "the heatmap tokens of two time steps"
    torch.testing.assert_close(moved[~is_heat], kept[0].expand(3 * GRID**2, -1), atol=1e-6, rtol=0)
    assert {float(t) for t in positions[0, ~is_heat, 0]} == {0.0, 1.0, 3.0}


@pytest.mark.parametrize("fusion", ALL_FUSIONS)
@pytest.mark.parametrize("levels", [1, 4])
def test_heads_see_context_and_targets_only(fusion: Fusion, levels: int) -> None:
    """Neither head receives heatmap tokens; three widths are three numbers; the embedding is of the video or image."""
    wide = 40 if levels == 1 else None
    predictor = predictor_with(fusion, levels=levels, teacher_embed_dim=wide)
    x, masks_x, masks_y, maps = inputs(levels)
    made = predictor.predict(x, masks_x, masks_y, maps, with_context=True)
    width = 40 if levels == 1 else 4 * D
    assert made.targets.shape == (2, GRID**2, width) and made.context is not None
    assert made.context.shape == (2, 2 * GRID**2, width)
    as_image = predictor.predict(x, masks_x, masks_y, maps, image=True)
    assert not torch.allclose(made.targets, as_image.targets)
    if fusion != "interleave":  # the others start without effect
        plain = predictor.predict(x, masks_x, masks_y, with_context=True)
        torch.testing.assert_close(made.targets, plain.targets)
        torch.testing.assert_close(made.context, plain.context)


@pytest.mark.parametrize("fusion", ALL_FUSIONS)
def test_a_fusion_that_has_learned_changes_the_prediction(fusion: Fusion) -> None:
    predictor = predictor_with(fusion, interpolate_rope=True)
    assert predictor.heatmap_fusion is not None
    x, masks_x, masks_y, maps = inputs()
    with torch.no_grad():
        for parameter in predictor.heatmap_fusion.parameters():
            parameter.add_(torch.randn_like(parameter))
        first, second = (predictor(x, masks_x, masks_y, one) for one in (maps, maps.flip(-1)))
    assert not torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("fusion", ALL_FUSIONS)
def test_half_precision(fusion: Fusion) -> None:
    """bfloat16 by autocast and by weights: positions stay float32, results stay near those of float32."""
    encoder = encoder_with(interpolate_rope=True, hierarchical=True).eval()
    predictor = predictor_with(fusion, interpolate_rope=True)
    video = torch.randn(2, 3, 4, 16 * GRID, 16 * GRID, generator=torch.Generator().manual_seed(3))
    wrapper = AnticipativeWrapperHeatmap(encoder, predictor, frames_per_second=4, crop_size=16 * GRID).eval()
    *_, maps = inputs()
    times = torch.tensor([0.5, 0.9])
    with torch.no_grad():
        exact = wrapper(video, times, maps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = wrapper(video, times, maps)
        encoder.to(torch.bfloat16)
        halved = wrapper(video, times, maps)
        pure = wrapper.to(torch.bfloat16)(video, times, maps)
    for found in (mixed, halved, pure):
        assert torch.isfinite(found).all()
        assert float((found.float() - exact).abs().mean()) < 0.03
    assert halved.dtype == torch.float32 and pure.dtype == torch.bfloat16


def test_positions_are_not_rounded_to_the_tokens_precision() -> None:
    """24 cells at 15 / 23: bfloat16 would move them by up to 0.03 cells."""
    encoder = encoder_with(interpolate_rope=True).eval().to(torch.bfloat16)
    caught: list[Tensor] = []
    run = encoder.blocks.run

    def catch(tokens: Tensor, positions: Tensor, **more: Any) -> Tensor:
        caught.append(positions)
        return run(tokens, positions, **more)

    encoder.blocks.run = catch  # type: ignore[method-assign]
    with torch.no_grad():
        encoder(torch.zeros(1, 3, 2, 384, 16 * 2))
    rows = caught[0][0, ::2, 1]
    torch.testing.assert_close(rows, torch.arange(24) * torch.tensor(15 / 23), atol=1e-6, rtol=0)


def test_a_video_that_is_not_square_is_refused_where_its_places_would_be_misread() -> None:
    encoder = encoder_with(hierarchical=True)
    wrapper = AnticipativeWrapperHeatmap(encoder, predictor_with(), frames_per_second=4, crop_size=16 * GRID)
    with pytest.raises(UsageError, match="grid of 4x4 patches, the video has 2x8"):
        wrapper(torch.zeros(1, 3, 4, 32, 128), torch.tensor([0.5]))
    with pytest.raises(UsageError, match="square crop"):
        predictor_with(img_size=(32, 64))


def test_the_levels_of_other_depths_are_at_quarters() -> None:
    assert [level_blocks(depth) for depth in (12, 24, 40, 48)] == [
        (2, 5, 8, 11), (5, 11, 17, 23), (9, 19, 29, 39), (11, 23, 37, 47),
    ]  # fmt: skip
    assert level_blocks(8) == (1, 3, 5, 7) and level_blocks(1) == (0, 0, 0, 0)
    encoder = encoder_with(depth=2, hierarchical=True)
    assert encoder(torch.zeros(1, 3, 2, 32, 32)).shape == (1, 4, 4 * D)


def test_the_target_of_four_levels_is_normalised_level_by_level() -> None:
    """V-JEPA 2.1's target, written out: every level minus its mean, by its deviation (eps 1e-5)."""
    random = torch.Generator().manual_seed(0)
    predicted, future = (torch.randn(2, 3, 4 * D, generator=random) for _ in range(2))
    future = future * torch.arange(1, 5).repeat_interleave(D) + 3
    wanted = torch.empty_like(future)
    for clip in range(2):
        for token in range(3):
            for level in range(4):
                part = future[clip, token, level * D : (level + 1) * D]
                scale = math.sqrt(float(part.var(correction=0)) + 1e-5)
                wanted[clip, token, level * D : (level + 1) * D] = (part - part.mean()) / scale
    expected = (predicted - wanted).abs().mean((1, 2))
    torch.testing.assert_close(jepa_loss(predicted, future, levels=4), expected)
    assert not torch.allclose(jepa_loss(predicted, future), expected, atol=1e-3)


def test_cached_features_are_of_one_structure() -> None:
    """Interpolation, levels and the rotary form change tokens without changing weights: all are in the key."""

    def facts(**changed: bool) -> dict[str, Any]:
        torch.manual_seed(0)
        encoder = encoder_with(**changed)
        return encoder_facts(encoder, autocast=False, device=torch.device("cpu"), compiled=False)

    plain = facts()
    assert "rotary=interleaved" in plain["structure"]
    for changed in ({"interpolate_rope": True}, {"hierarchical": True}):
        other = facts(**changed)
        assert other["weights_sha256"] == plain["weights_sha256"] and other["structure"] != plain["structure"]


# Configs


def official(name: str = "vit_large", *, width_out: int | None = 1664, depth: int = 12) -> dict[str, Any]:
    """Written by hand with the keys of V-JEPA 2's configs/eval_2_1/*/ek100.yaml."""
    values = vjepa2_config()
    values["experiment"]["data"]["resolution"] = 384
    values["model_kwargs"]["checkpoint"] = "/vjepa2_1.pt"
    pretrain = values["model_kwargs"]["pretrain_kwargs"]
    pretrain["use_v2_1"] = True
    pretrain["encoder"] |= {"model_name": name, "img_temporal_dim_size": 1}
    pretrain["predictor"] |= {"num_mask_tokens": 8, "img_temporal_dim_size": 1, "depth": depth}
    if width_out is not None:
        pretrain["encoder"]["checkpoint_key"] = "ema_encoder"
        pretrain["predictor"] |= {
            "teacher_embed_dim": width_out, "n_output_distillation": 1, "return_all_tokens": True,
        }  # fmt: skip
    return values


def jfaa() -> dict[str, Any]:
    """Written by hand with the keys of JFAA's configs/jfaa_vjepa2_vitG_train.yaml (38482c8)."""
    values = official("vit_gigantic_xformers", width_out=None, depth=24)
    data = values["experiment"]["data"]
    data |= {
        "input_format": "frames", "video_info_path": "/EPIC_100_video_info.csv",
        "frame_template": "frame_{:010d}.jpg", "frame_index_offset": 1,
        "train_anticipation_point": [1.0, 1.0], "val_anticipation_point": [1.0, 1.0],
    }  # fmt: skip
    pretrain = values["model_kwargs"]["pretrain_kwargs"]
    pretrain["encoder"] |= {
        "interpolate_rope": True, "use_sdpa": True, "use_silu": False, "wide_silu": True, "uniform_power": False,
    }  # fmt: skip
    pretrain["predictor"] |= {"n_output_distillation": 4, "return_all_tokens": True, "wide_silu": True}
    return values


RELEASES = [
    # name, config, parameters of encoder and predictor (parity/vjepa21_keys.json), widths read and given
    ("vit_base", official("vit_base"), 86_833_152, 22_874_752, (768, 768, 1664)),
    ("vit_large", official("vit_large"), 304_680_960, 22_973_056, (1024, 1024, 1664)),
    # without the context's head: 384 x 5632 + 5632 and 384 x 6656 + 6656 fewer
    ("vit_giant_xformers", official("vit_giant_xformers", width_out=None, depth=24), 1_013_267_968,
     55_400_704 - 5632 * 385, (1408, 5632, 5632)),
    ("vit_gigantic_xformers", official("vit_gigantic_xformers", width_out=None, depth=24), 1_845_216_768,
     59_433_472 - 6656 * 385, (1664, 6656, 6656)),
    ("JFAA", jfaa(), 1_845_216_768, 59_433_472, (1664, 6656, 6656)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "encoder", "predictor", "widths"), [pytest.param(*one[1:], id=one[0]) for one in RELEASES]
)
def test_published_configs_load_unchanged_and_have_the_released_sizes(
    values: dict[str, Any], encoder: int, predictor: int, widths: tuple[int, int, int]
) -> None:
    config = load_config(values)
    check_model_settings(config)
    described = describe_model(config, {"verb": 97, "noun": 300, "action": 3806})
    assert (described["encoder"]["parameters"], described["predictor_parameters"]) == (encoder, predictor)
    width, read, given = widths
    assert (described["encoder"]["embed_dim"], described["encoder"]["output_width"]) == (width, read)
    # cost of the layers into and out of the blocks, counted from the widths; 9216 context and 576 target tokens
    inner, context, targets = 384, 9216, 576
    blocks = int(values["model_kwargs"]["pretrain_kwargs"]["predictor"]["depth"])
    sequence = context + targets
    block = 8 * sequence * inner**2 + 4 * sequence**2 * inner + 4 * sequence * inner * 4 * inner
    into = read * inner if read == width else read * width + width * inner
    expected = blocks * block + 2 * context * into + 2 * targets * inner * given
    assert described["forward_gflops_per_clip"]["predictor"] == pytest.approx(expected / 1e9, rel=1e-6)


def test_the_log_says_which_interpolation_is_on_and_what_is_cut() -> None:
    notes = " ".join(version_notes(load_config(official())))
    assert "1 level(s). interpolate_rope: encoder off, predictor off." in notes
    assert "predicts 1664 channels of its teacher; probes read the last 1024 of them" in notes
    (note,) = version_notes(load_config(jfaa()))
    assert "4 level(s). interpolate_rope: encoder on, predictor off." in note
    assert version_notes(load_config(vjepa2_config())) == []


def test_without_a_predictor_the_encoder_gives_its_last_level() -> None:
    """Upstream's four levels would meet a probe that is built for one."""
    values = official("vit_giant_xformers", width_out=None, depth=24)
    values["model_kwargs"]["wrapper_kwargs"]["no_predictor"] = True
    config = load_config(values)
    with torch.device("meta"):
        encoder = build_encoder(config.model_kwargs)
    assert encoder.output_width == encoder.embed_dim == 1408
    values["model_kwargs"]["pretrain_kwargs"]["predictor"]["return_all_tokens"] = True
    told = ignored_keys(load_config(values), torch.device("cuda"))
    assert told["no_predictor leaves it out"] == [f"{PRETRAIN}.predictor.return_all_tokens"]


WRONG = [
    ([f"{PRETRAIN}.use_v2_1=false"], "only V-JEPA 2.1 has; set use_v2_1: true"),
    ([f"{PRETRAIN}.predictor.chop_last_n_tokens=2"], "'model_kwargs.pretrain_kwargs.predictor.chop_last_n_tokens' = 2"),
    ([f"{PRETRAIN}.encoder.n_registers=4"], "no released model has register tokens"),
    ([f"{PRETRAIN}.encoder.use_rope=false"], "encoder.use_rope"),
    ([f"{PRETRAIN}.encoder.has_cls_first=true"], "encoder.has_cls_first"),
    ([f"{PRETRAIN}.encoder.img_temporal_dim_size=2"], "img_temporal_dim_size"),
    ([f"{PRETRAIN}.predictor.n_output_distillation=2"], "n_output_distillation"),
    ([f"{PRETRAIN}.predictor.n_output_distillation=4", f"{PRETRAIN}.encoder.n_output_distillation=1"],
     "the encoder gives 1 level(s)"),
    ([f"{PRETRAIN}.encoder.interpolate_ropes=true"], "did you mean 'interpolate_rope'"),
    ([f"{PRETRAIN}.encoder.model_name=vit_huge"], "for encoders of 12, 24, 40, 48 blocks, not 32"),
    ([f"{PRETRAIN}.predictor.teacher_embed_dim=512"], "less than the encoder's width 1024"),
    ([f"{PRETRAIN}.predictor.n_output_distillation=4"], "predicts the 4096 channels that it reads"),
    ([f"{PRETRAIN}.encoder.interpolate_rope=true", f"{PRETRAIN}.encoder.patch_size=8"], "V-JEPA 2.1 has one for 14"),
    ([f"{PRETRAIN}.predictor.interpolate_rope=true", f"{DATA}.resolution=16"], "at least 2 patches per side"),
    (["experiment.optimization.losses.jepa=1"], "Which of ViT-G's features these are is in no public code"),
    (["experiment.optimization.losses.jepa_context=0.5"], "jepa_context"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), WRONG, ids=[message for _, message in WRONG])
def test_settings_that_mean_nothing_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_model_settings(load_config(official(), overrides))
    assert message in str(caught.value)


def test_keys_of_the_later_version_at_their_defaults_are_told() -> None:
    """Written with the value that they would have anyway, they contradict nothing and do nothing."""
    config = load_config(vjepa2_config(), [f"{PRETRAIN}.encoder.interpolate_rope=false"])
    told = ignored_keys(config, torch.device("cuda"))
    assert told["only V-JEPA 2.1 has them: use_v2_1 is false"] == [f"{PRETRAIN}.encoder.interpolate_rope"]


def test_the_context_part_of_the_loss_needs_its_head() -> None:
    values = official("vit_giant_xformers", width_out=None, depth=24)
    losses = ["experiment.optimization.losses={jepa: 1, jepa_context: 0.5}"]
    with pytest.raises(UsageError, match="needs a predictor with a head for context tokens"):
        check_model_settings(load_config(values, losses))
    check_model_settings(load_config(values, [*losses, f"{PRETRAIN}.predictor.return_all_tokens=true"]))


def test_an_encoder_without_image_path_and_vectors() -> None:
    settings = {"model_name": "vit_tiny_test", "modality_embedding": False}
    model = ModelSettings.model_validate(
        {"checkpoint": "random", "pretrain_kwargs": {"use_v2_1": True, "encoder": settings}}
    )
    keys = build_encoder(model).state_dict()
    assert not [key for key in keys if "mod_embed" in key or "patch_embed_img" in key]
    assert "norms_block.3.weight" in keys and "norm.weight" not in keys
