"""Options of `train --init`: where the data of a new training config lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from gazetools.schemas.base import StrictModel
from gazetools.schemas.flags import Flag

_PANEL = Flag(panel="A new config (--init)")


class InitOptions(StrictModel):
    """What a new config is made of; a terminal is asked for what is not given."""

    init: Annotated[bool, _PANEL] = False
    """Look at the data and write a commented config to --config (default train.yaml)."""
    videos: Annotated[Path | None, _PANEL] = None
    """Folder of the videos."""
    annotations: Annotated[Path | None, _PANEL] = None
    """Annotated actions to train on: EPIC's CSV, Ego-Exo4D's keysteps, Ego4D's fho_lta."""
    validation: Annotated[Path | None, _PANEL] = None
    """Annotations to measure on (default: the file next to --annotations whose name says so; else a part of a CSV's
    participants or videos is split off)."""
    heatmaps: Annotated[Path | None, _PANEL] = None
    """Packed dataset, store, gaze points (CSV), or folder of another tool's heatmaps."""
    encoder: Annotated[str | None, _PANEL] = None
    """Frozen encoder: Meta's .pt file, a folder or hub name of transformers, or random for a small one to try with."""
    overwrite: Annotated[bool, _PANEL] = False
    """Replace files that are there, such as the config."""
