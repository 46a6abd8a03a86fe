"""Which family of gaze models a weight file belongs to, from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

Family = Literal["Gaze-LLE", "gazelle-dinov3", "PaGE"]

_PREFIXES: tuple[tuple[str, Family], ...] = (
    ("backbone.dinov3.", "gazelle-dinov3"),
    ("backbone.stem.", "gazelle-dinov3"),
    ("backbone.stages.", "gazelle-dinov3"),
    ("backbone.model.", "Gaze-LLE"),
    ("scene_branch_backbone.", "PaGE"),
    ("head_branch_backbone.", "PaGE"),
    ("scene_self_attn_layers.", "PaGE"),
)
_MODEL_NAMES: dict[Family, str] = {
    "Gaze-LLE": "gazelle_dinov2_*",
    "gazelle-dinov3": "gazelle_dinov3_* or gazelle_hgnetv2_*",
    "PaGE": "page_*",
}


def family_of(tensors: Mapping[str, torch.Tensor]) -> Family | None:
    """The family; None where the names leave it open, as for a decoder without backbone and without in/out head.

    The in/out head of gazelle-dinov3 is one linear layer (`inout_head.0`), that of Gaze-LLE two (`.0` and `.3`).
    """
    for prefix, family in _PREFIXES:
        if any(key.startswith(prefix) for key in tensors):
            return family
    if "inout_head.3.weight" in tensors:
        return "Gaze-LLE"
    head = tensors.get("inout_head.0.weight")
    return "gazelle-dinov3" if head is not None and head.ndim == 2 and head.shape[0] == 1 else None


def other_family(tensors: Mapping[str, torch.Tensor], wanted: Family) -> tuple[str, str] | None:
    """(what the tensors are, what to do) where they are another family's than `wanted`; else None."""
    found = family_of(tensors)
    if found is None or found == wanted:
        return None
    return f"holds weights of {found}, another family than {wanted}", f"Name a model of {found}: {_MODEL_NAMES[found]}."
