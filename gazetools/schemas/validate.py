"""Options of `validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from gazetools.schemas.dataset import PeopleRule
from gazetools.schemas.flags import Flag
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.heads import BoxFileOptions
from gazetools.schemas.picture_times import PictureTimes

_Content = Flag(panel="Content")


class ValidateOptions(BoxFileOptions, ArrayChoice, PictureTimes):
    """What heatmaps are compared with, and how those of other tools are read."""

    videos: Path | None = None
    """Folder (or file) of videos: compare with the decoded frames.

    Below a folder, the videos have their ids as paths. None: where the provenance says."""
    annotations: Path | None = None
    """EPIC-KITCHENS style CSV, Ego-Exo4D keystep JSON or Ego4D fho_lta JSON: which clips have heatmaps."""
    deep: Annotated[int | None, Flag(panel="Content", metavar="N")] = None
    """Decode N frames per video again and compare them.

    They are compared with the fingerprints in the file and, with `model`, with maps computed anew: finds another
    video, a shift by k, flips, swapped people, other weights."""
    model: Annotated[str | Path | None, _Content] = None
    """With --deep: the recorded model, to compute maps anew.

    Every name and file that `extract --model` takes; its weights must be the recorded ones."""
    checkpoint: Annotated[Path | None, _Content] = None
    """Weights of a named --model."""
    backbone: Annotated[Path | None, _Content] = None
    """DINOv2 weights of a named --model."""
    heads: Annotated[str | None, _Content] = None
    """With --deep: file:PATH or whole, where the heatmaps have no boxes."""
    people: Annotated[PeopleRule | None, _Content] = None
    """With --heads file:PATH: whose maps they are, `max`, `mean`, `wearer` or a track id (default: max).

    The words of `pack --people`. A box file may have more people than the heatmaps show."""
    html: Path | None = None
    """Write the report as one self-contained HTML file."""
