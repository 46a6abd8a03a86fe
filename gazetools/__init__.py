"""Third-person video to validated gaze heatmaps, packed for action-anticipation training.

Public names are imported on first use, so that `import gazetools` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gazetools._version import __version__

_PUBLIC = {
    "Frame": "gazetools.schemas.video",
    "GazetoolsError": "gazetools.schemas.errors",
    "HeatmapDataset": "gazetools.torch",
    "HeatmapReader": "gazetools.heatmaps",
    "VideoReader": "gazetools.video",
    "convert": "gazetools.packing.convert",
    "evaluate": "gazetools.evaluation",
    "extract": "gazetools.extraction.run",
    "gaze_table": "gazetools.exchange.table",
    "load_model": "gazetools.gazemodels.any_model",
    "open_store": "gazetools.store",
    "pack": "gazetools.packing",
    "validate": "gazetools.validation",
}

__all__ = [
    "Frame",
    "GazetoolsError",
    "HeatmapDataset",
    "HeatmapReader",
    "VideoReader",
    "__version__",
    "convert",
    "evaluate",
    "extract",
    "gaze_table",
    "load_model",
    "open_store",
    "pack",
    "trainer",
    "validate",
]

if TYPE_CHECKING:
    from gazetools import trainer
    from gazetools.evaluation import evaluate
    from gazetools.exchange.table import gaze_table
    from gazetools.extraction.run import extract
    from gazetools.gazemodels.any_model import load_model
    from gazetools.heatmaps import HeatmapReader
    from gazetools.packing import pack
    from gazetools.packing.convert import convert
    from gazetools.schemas.errors import GazetoolsError
    from gazetools.schemas.video import Frame
    from gazetools.store import open_store
    from gazetools.torch import HeatmapDataset
    from gazetools.validation import validate
    from gazetools.video import VideoReader


def __getattr__(name: str) -> Any:
    if name == "trainer":
        return importlib.import_module("gazetools.trainer")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gazetools' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
