"""Training of the heatmap-conditioned V-JEPA 2 predictor. Public names are imported on first use (torch is heavy)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "AnticipativeWrapperHeatmap": "gazetools.trainer.models.wrapper",
    "AttentiveClassifier": "gazetools.trainer.models.probe",
    "TrainResult": "gazetools.trainer.outcome",
    "VisionTransformerPredictorHeatmap": "gazetools.trainer.models.predictor",
    "fill_cache": "gazetools.trainer.fill",
    "load_config": "gazetools.trainer.plan.config",
    "readiness_findings": "gazetools.trainer.plan.readiness",
    "train": "gazetools.trainer.study",
    "vit_heatmap_predictor": "gazetools.trainer.models.predictor",
}

__all__ = [
    "AnticipativeWrapperHeatmap",
    "AttentiveClassifier",
    "TrainResult",
    "VisionTransformerPredictorHeatmap",
    "fill_cache",
    "load_config",
    "readiness_findings",
    "train",
    "vit_heatmap_predictor",
]

if TYPE_CHECKING:
    from gazetools.trainer.fill import fill_cache
    from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap, vit_heatmap_predictor
    from gazetools.trainer.models.probe import AttentiveClassifier
    from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
    from gazetools.trainer.outcome import TrainResult
    from gazetools.trainer.plan.config import load_config
    from gazetools.trainer.plan.readiness import readiness_findings
    from gazetools.trainer.study import train


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gazetools.trainer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
