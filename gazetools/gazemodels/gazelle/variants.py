"""How the families that share Gaze-LLE's decoder differ, and what decoder and model ask of any family's config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class DecoderVariant:
    """What a family does in its own way; the sizes are in its configs."""

    layer_norm_eps: float
    """Epsilon of the blocks that the released weights were trained with."""
    inout_hidden: int | None
    """Hidden channels of the in/out head; None: one linear layer."""
    antialias: bool
    """Whether the last resize, from twice the grid to the heatmap's size, averages where it shrinks."""


GAZELLE_DECODER = DecoderVariant(layer_norm_eps=1e-5, inout_hidden=128, antialias=True)
"""fkryan/gazelle with timm up to 1.0.15, whose blocks have this epsilon (later: 1e-6)."""
DINOV3_DECODER = DecoderVariant(layer_norm_eps=1e-6, inout_hidden=None, antialias=False)
"""PINTO0309/gazelle-dinov3 with timm 1.0.20."""


class NamedBackbone(Protocol):
    """The backbone's part of a config."""

    @property
    def name(self) -> str: ...


class PromptedConfig(Protocol):
    """The shape of a model whose scene tokens are prompted with head maps, such as `GazelleConfig`."""

    @property
    def name(self) -> str: ...

    @property
    def backbone(self) -> NamedBackbone: ...

    @property
    def feature_channels(self) -> int:
        """Channels of the backbone's features."""

    @property
    def variant(self) -> DecoderVariant: ...

    @property
    def normalised(self) -> bool:
        """Whether the input is normalised with ImageNet's statistics; else it stays in 0..1."""

    @property
    def inout(self) -> bool: ...

    @property
    def dim(self) -> int: ...

    @property
    def num_layers(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def mlp_ratio(self) -> int: ...

    @property
    def in_size(self) -> tuple[int, int]: ...

    @property
    def out_size(self) -> tuple[int, int]: ...

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the backbone's features."""

    def model_dump(self) -> dict[str, Any]:
        """The config as JSON values."""
