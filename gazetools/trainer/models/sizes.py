"""Sizes of V-JEPA 2's encoders by name, and the sizes of a config's encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import EncoderSettings, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """Width, depth and heads of a vision transformer."""

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0


# Figures of facebookresearch/vjepa2 src/models/vision_transformer.py (c2963a4); every size is used with RoPE here.
ENCODER_SIZES = {
    "vit_tiny": EncoderSize(embed_dim=192, depth=12, num_heads=3),
    "vit_small": EncoderSize(embed_dim=384, depth=12, num_heads=6),
    "vit_base": EncoderSize(embed_dim=768, depth=12, num_heads=12),
    "vit_large": EncoderSize(embed_dim=1024, depth=24, num_heads=16),
    "vit_huge": EncoderSize(embed_dim=1280, depth=32, num_heads=16),
    "vit_giant": EncoderSize(embed_dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11),
    "vit_giant_xformers": EncoderSize(embed_dim=1408, depth=40, num_heads=22, mlp_ratio=48 / 11),
    "vit_gigantic": EncoderSize(embed_dim=1664, depth=48, num_heads=16),
    "vit_gigantic_xformers": EncoderSize(embed_dim=1664, depth=48, num_heads=26),
    # Ours, for tests and continuous integration.
    "vit_tiny_test": EncoderSize(embed_dim=48, depth=2, num_heads=2),
}


# facebookresearch/vjepa2 204698b, app/vjepa_2_1/models/vision_transformer.py. Version 2.0 misspells the keyword: its
# ViT-G has 4.0.
_MLP_RATIOS_OF_2_1 = {"vit_gigantic": 64 / 13, "vit_gigantic_xformers": 64 / 13}


def encoder_size(settings: EncoderSettings, *, use_v2_1: bool = False) -> EncoderSize:
    """The size of `model_name` (with or without `_rope`), in which single keys of the config replace values.

    Raises UsageError for an unknown name and for a width that does not split into its heads.
    """
    name = settings.model_name.removesuffix("_rope")
    if name not in ENCODER_SIZES:
        near = nearest_name(name, list(ENCODER_SIZES))
        raise UsageError(
            f"model_kwargs.pretrain_kwargs.encoder.model_name = {settings.model_name!r} is not known"
            + (f"; did you mean {near!r}?" if near else "."),
            hint=f"Known: {', '.join(ENCODER_SIZES)}; embed_dim, depth, num_heads and mlp_ratio replace its sizes.",
        )
    known = ENCODER_SIZES[name]
    if use_v2_1 and name in _MLP_RATIOS_OF_2_1:
        known = replace(known, mlp_ratio=_MLP_RATIOS_OF_2_1[name])
    size = replace(known, **{key: value for key in vars(known) if (value := getattr(settings, key))})
    check_heads("encoder", size.embed_dim, size.num_heads)
    return size


def replace_settings(
    config: TrainingConfig, *, optimization: dict[str, Any] | None = None, **parts: dict[str, Any]
) -> TrainingConfig:
    """A copy of the config with other (already checked) values in `optimization` and the `encoder` or `predictor`."""
    model, experiment = config.model_kwargs, config.experiment
    pretrain = model.pretrain_kwargs
    changed = {part: getattr(pretrain, part).model_copy(update=values) for part, values in parts.items()}
    model = model.model_copy(update={"pretrain_kwargs": pretrain.model_copy(update=changed)})
    changed = {"optimization": experiment.optimization.model_copy(update=optimization)}
    return config.model_copy(update={"model_kwargs": model, "experiment": experiment.model_copy(update=changed)})


def check_heads(part: str, width: int, num_heads: int) -> None:
    """Raise UsageError unless `width` splits into `num_heads` even heads of at least 6 channels (3 rotary axes)."""
    if width % num_heads or (width // num_heads) % 2 or width // num_heads < 6:
        raise UsageError(
            f"The {part}'s width {width} does not split into {num_heads} heads of an even size of at least 6 channels.",
            hint=f"Change the width or num_heads of model_kwargs.pretrain_kwargs.{part}.",
        )
