"""Options of `report`: what is compared, and which model is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from gazetools.schemas.base import StrictModel
from gazetools.schemas.flags import Flag


class ReportOptions(StrictModel):
    """What the report on finished runs compares, and by which figures."""

    baseline: str = "none"
    """Arm that the others are compared with."""
    split: str | None = None
    """Split whose figures lead (default: val_start, or the first validation split)."""
    k: int = Field(default=5, ge=1)
    """Recall@k that contrasts and curves are about.

    Tasks with no more classes are named as `saturated`: any model finds all of them, a smaller k tells more."""
    resamples: int = Field(default=2000, ge=100)
    """Resamples of the bootstrap over videos."""
    few_shot: int = Field(default=20, ge=1)
    """Classes with fewer training clips are few-shot."""
    many_shot: int = Field(default=100, ge=1)
    """Classes with more training clips are many-shot."""
    examples: int = Field(default=2, ge=0)
    """Clips with the largest gain, and with the largest loss, shown per arm."""


class ExportOptions(StrictModel):
    """Which model of the runs is exported, and where its files go."""

    export_weights: Path | None = None
    """Folder for the weights of one model: model.safetensors and model.json."""
    export_epic: Path | None = None
    """JSON file for the predictions of one model, as EPIC-KITCHENS' challenge asks."""
    epic_sls: Annotated[str | None, Flag(metavar="PT,TL,TD")] = None
    """The challenge's supervision levels, 0..5 each: pretraining, training labels, training data."""
    export_arm: str | None = None
    """Arm to export (default: estimated, or the only one)."""
    export_seed: int | None = None
    """Seed to export (default: the best one where epochs were chosen)."""
