"""Key names, order and shapes of V-JEPA 2's released checkpoints, without allocating them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gazetools.schemas.training import EncoderSettings
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.keys import from_upstream, to_upstream
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.sizes import encoder_size
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("vjepa2_keys")

# Named like an encoder's predictor, but of another model (action-conditioned); reference only.
REFERENCE_ONLY = {"hub/vjepa2_ac_vit_giant"}
NAMES = {"hub/vjepa2_vit_huge": "vit_huge", "hub/vjepa2_vit_giant": "vit_giant_xformers"}


def models(golden: Golden) -> dict[str, dict[str, Any]]:
    found = {name: recorded for name, recorded in golden.spec["models"].items() if name not in REFERENCE_ONLY}
    assert found
    return found


def upstream_shapes(module: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in to_upstream(module.state_dict()).items()}


def encoder_of(name: str, recorded: dict[str, Any]) -> VideoEncoder:
    settings = recorded.get("encoder_kwargs", {"model_name": NAMES.get(name)})
    size = encoder_size(EncoderSettings(model_name=settings["model_name"]))
    with torch.device("meta"):
        return VideoEncoder(
            embed_dim=size.embed_dim, depth=size.depth, num_heads=size.num_heads, mlp_ratio=size.mlp_ratio
        )


def predictor_of(recorded: dict[str, Any]) -> VisionTransformerPredictorHeatmap:
    settings = recorded.get("predictor_kwargs", {})
    with torch.device("meta"):
        return VisionTransformerPredictorHeatmap(
            img_size=recorded["resolution"],
            embed_dim=recorded["encoder_dims"]["embed_dim"],
            num_frames=settings.get("num_frames", 64),
            depth=settings.get("depth", 12),
            num_heads=settings.get("num_heads", 12),
            predictor_embed_dim=settings.get("predictor_embed_dim", 384),
            num_mask_tokens=settings.get("num_mask_tokens", 10),
        )


def test_encoder_keys_and_shapes(golden: Golden) -> None:
    for name, recorded in models(golden).items():
        encoder = encoder_of(name, recorded)
        assert upstream_shapes(encoder) == recorded["encoder"], name
        assert sum(p.numel() for p in encoder.parameters()) == recorded["num_parameters"]["encoder"], name


def test_predictor_keys_and_shapes(golden: Golden) -> None:
    for name, recorded in models(golden).items():
        predictor = predictor_of(recorded)
        ours = {k: s for k, s in upstream_shapes(predictor).items() if not k.startswith("heatmap_")}
        assert ours == recorded["predictor"], name


def test_wrapped_checkpoints_load_key_for_key(golden: Golden) -> None:
    """Released files keep the wrappers' prefixes and unused position embeddings; both must go without a trace."""
    prefix = golden.spec["checkpoint_wrapping"]["key_prefix"]
    for name, recorded in models(golden).items():
        file = {prefix + key: torch.empty(shape, device="meta") for key, shape in recorded["encoder"].items()}
        file[prefix + "pos_embed"] = torch.empty(1, device="meta")
        own = {key: value.shape for key, value in encoder_of(name, recorded).state_dict().items()}
        assert {key: value.shape for key, value in from_upstream(file).items()} == own, name
