"""Gaze-LLE, implemented here against the public checkpoint format: `load_model` is the way in.

Names are imported on first use, so that reading the registry (`gazetools.gazelle.config`) does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "GazeOutput": "gazetools.gazelle.model",
    "GazelleConfig": "gazetools.gazelle.config",
    "GazeModel": "gazetools.gazelle.model",
    "load_model": "gazetools.gazelle.loading",
}

__all__ = ["GazeModel", "GazeOutput", "GazelleConfig", "load_model"]

if TYPE_CHECKING:
    from gazetools.gazelle.config import GazelleConfig
    from gazetools.gazelle.loading import load_model
    from gazetools.gazelle.model import GazeModel, GazeOutput


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gazetools.gazelle' has no attribute {name!r}")
