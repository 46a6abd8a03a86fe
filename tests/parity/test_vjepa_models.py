"""V-JEPA 2 golden vectors through the production modules: predictor, anticipation wrapper, attentive probe."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.keys import from_upstream, load_strict, to_upstream
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import PROBE_NORM_EPS, AttentiveClassifier
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from tests.parity.conftest import Golden

# Tolerances of the vectors' own documentation: 3-10 times the distance between float32 and float64.
PREDICTOR_ATOL = 1e-5
WRAPPER_ATOL = 2e-5
PROBE_ATOL = 3e-6

PREDICTOR_SETTINGS = (
    "img_size",
    "patch_size",
    "num_frames",
    "tubelet_size",
    "embed_dim",
    "predictor_embed_dim",
    "depth",
    "num_heads",
    "num_mask_tokens",
    "zero_init_mask_tokens",
    "use_sdpa",
)
ENCODER_SETTINGS = ("embed_dim", "depth", "num_heads", "mlp_ratio", "patch_size", "tubelet_size")


def build_predictor(config: dict[str, Any], state: dict[str, torch.Tensor]) -> VisionTransformerPredictorHeatmap:
    settings = {name: config[name] for name in PREDICTOR_SETTINGS if name in config}
    predictor = VisionTransformerPredictorHeatmap(**settings, use_heatmap=True)
    untouched = load_strict(predictor, from_upstream(state), what="vectors", new=("heatmap_tokens.",))
    assert all(key.startswith("heatmap_tokens.") for key in untouched)
    return predictor.eval()


@pytest.mark.golden("vjepa_predictor")
def test_predictor(golden: Golden) -> None:
    spec, tensors = golden.spec, golden.tensors
    predictor = build_predictor(spec["config"], golden.state_dict(spec["state_dict_prefix"]))
    assert spec["cases"]
    for case in spec["cases"]:
        x, masks_x, masks_y, expected = (tensors[f"{case['name']}.{n}"] for n in ("x", "masks_x", "masks_y", "output"))
        with torch.no_grad():
            output = predictor(x, masks_x, masks_y, mask_index=case["mask_index"])
        torch.testing.assert_close(output, expected, atol=PREDICTOR_ATOL, rtol=0, msg=lambda m, c=case: f"{c}: {m}")


@pytest.mark.golden("vjepa_wrapper")
def test_anticipative_wrapper(golden: Golden) -> None:
    spec, tensors = golden.spec, golden.tensors
    encoder = VideoEncoder(**{name: spec["encoder"][name] for name in ENCODER_SETTINGS}).eval()
    encoder_state = golden.state_dict(spec["encoder_state_dict_prefix"])
    load_strict(encoder, from_upstream(encoder_state), what="vectors")
    predictor = build_predictor(spec["predictor"], golden.state_dict(spec["predictor_state_dict_prefix"]))
    times, video = tensors["anticipation_times"], tensors["video"]
    with torch.no_grad():
        encoded = encoder(video)
    if "encoder_output" in tensors:
        torch.testing.assert_close(encoded, tensors["encoder_output"], atol=WRAPPER_ATOL, rtol=0)
    assert spec["cases"]
    for case in spec["cases"]:
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
        assert wrapper.anticipation_steps(times)[0].tolist() == spec["anticipation_steps"]
        assert list(output.shape) == case["shape"]
        expected = tensors[case["output"]]
        torch.testing.assert_close(output, expected, atol=WRAPPER_ATOL, rtol=0, msg=lambda m, c=case: f"{c}: {m}")


@pytest.mark.golden("attentive_classifier")
def test_attentive_classifier(golden: Golden) -> None:
    spec, tensors = golden.spec, golden.tensors
    config = spec["config"]
    counts = {"verb": config["num_verbs"], "noun": config["num_nouns"], "action": config["num_actions"]}
    probe = AttentiveClassifier(
        num_classes={task: n for task, n in counts.items() if task in spec["outputs"]},
        embed_dim=config["embed_dim"],
        num_heads=config["num_heads"],
        depth=config["depth"],
    ).eval()
    assert list(probe.state_dict()) == spec["state_dict_keys"], "key order is upstream's"
    load_strict(probe, golden.state_dict(spec["state_dict_prefix"]), what="vectors")
    assert spec["norm_eps"] == PROBE_NORM_EPS
    with torch.no_grad():
        pooled, outputs = probe.pooler(tensors["x"]), probe(tensors["x"])
    torch.testing.assert_close(pooled, tensors["pooled"], atol=PROBE_ATOL, rtol=0)
    for task in spec["outputs"]:
        torch.testing.assert_close(outputs[task], tensors[f"output.{task}"], atol=PROBE_ATOL, rtol=0)


@pytest.mark.golden("vjepa_predictor")
def test_weights_survive_the_way_to_upstream_names_and_back(golden: Golden) -> None:
    state = golden.state_dict(golden.spec["state_dict_prefix"])
    predictor = build_predictor(golden.spec["config"], {f"module.backbone.{k}": v for k, v in state.items()})
    back = to_upstream(predictor.state_dict())
    assert {k for k in back if not k.startswith("heatmap_tokens.")} == set(golden.spec["state_dict_keys"])
    for key, value in state.items():
        assert torch.equal(back[key], value), key
