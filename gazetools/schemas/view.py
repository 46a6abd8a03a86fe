"""Options of `view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gazetools.schemas.base import conflict
from gazetools.schemas.flags import Flag
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.picture_times import PictureTimes

CORRECTED_FOLDER = ".corrected"
"""Folder of a store with corrected boxes, `<video_id>.csv` each; hidden, so that it has no videos."""
_Export = Flag(panel="A page to share")


class ViewOptions(ArrayChoice, PictureTimes):
    """What is shown next to the heatmaps, where the page is served, and the clip that is exported instead."""

    videos: Path | None = None
    """Folder of videos or of folders of frames, or one of them (default: where the provenance says).

    Below a folder, the videos have their ids as paths."""
    compare: Path | None = None
    """Second store, dataset or folder of heatmaps, shown next to the first."""
    annotations: Path | None = None
    """Actions for the timeline: EPIC-KITCHENS style CSV, Ego-Exo4D keystep JSON or Ego4D fho_lta JSON."""
    findings: Path | None = None
    """Findings for the list and the timeline: a file with the output of gazetools validate --json."""
    boxes: Path | None = None
    """Folder for head boxes that are corrected on the page, one CSV per video (default: .corrected in the store)."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port on 127.0.0.1 (default: a free one)."""
    no_open: bool = False
    """Only print the address, open no browser."""
    export: Annotated[Path | None, _Export] = None
    """Write one self-contained HTML file of a clip instead of serving the page."""
    video: Annotated[str | None, Flag(panel=_Export.panel, metavar="ID")] = None
    """The video of the exported clip, or the one that the page opens first."""
    start: Annotated[float | None, _Export] = Field(default=None, ge=0, allow_inf_nan=False)
    """Seconds from the video's first frame at which the exported clip starts (default: 0)."""
    stop: Annotated[float | None, _Export] = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds from the video's first frame at which it stops (default: 5 s after its start)."""

    @model_validator(mode="after")
    def _consistent(self) -> ViewOptions:
        for name in ("start", "stop"):
            if self.export is None and getattr(self, name) is not None:
                raise conflict(f"{{{name}}} is for an exported page; give {{export}} too")
        if self.export is not None and self.video is None:
            raise conflict("{export} needs {video}, the id of the video")
        if self.stop is not None and self.stop <= (self.start or 0):
            raise conflict("{stop} must be above {start}")
        return self
