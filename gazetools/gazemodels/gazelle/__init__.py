"""Gaze-LLE, implemented here against the public checkpoint format: `load_model` is the way in.

Names are imported on first use, so that reading `config.py` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "GazelleConfig": "gazetools.gazemodels.gazelle.config",
    "GazelleModel": "gazetools.gazemodels.gazelle.model",
    "load_model": "gazetools.gazemodels.gazelle.loading",
}

__all__ = ["GazelleConfig", "GazelleModel", "load_model"]

if TYPE_CHECKING:
    from gazetools.gazemodels.gazelle.config import GazelleConfig
    from gazetools.gazemodels.gazelle.loading import load_model
    from gazetools.gazemodels.gazelle.model import GazelleModel


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gazetools.gazemodels.gazelle' has no attribute {name!r}")
