"""Which family of gaze models a weight file belongs to, by the names of its tensors; imports no torch."""

from __future__ import annotations


def is_page_key(key: str) -> bool:
    """Whether a tensor of this name belongs to one of the two towers of PaGE."""
    return key.startswith(("scene_branch_backbone.", "head_branch_backbone."))
