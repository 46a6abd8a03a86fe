"""Options of `groundtruth` and the report of what became of every video."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import StrictModel

UnknownDepth = Literal["epipolar", "fixed", "points", "skip"]


class GroundTruthOptions(StrictModel):
    """How eye tracking becomes heatmaps."""

    view: Literal["exo", "ego"] = "exo"
    """`exo`: where the wearer looks, seen from the exo cameras. `ego`: in the wearer's own picture."""
    takes: str | None = None
    """Ego-Exo4D: take names, uids or patterns separated by commas. Ego4D: video uids or patterns."""
    cameras: str | None = None
    """Camera names or patterns; None: all of the view."""
    gaze: Literal["auto", "personalized", "general"] = "auto"
    """Which eye-gaze file; `auto` prefers the personalized one."""
    unknown_depth: UnknownDepth = "epipolar"
    """Frames whose gaze has no credible depth: draw the whole segment on which the target lies (`epipolar`), put it at
    `fixed_depth_m` (`fixed`), at the semi-dense point that the ray meets, else as epipolar (`points`), or leave the
    frame out (`skip`)."""
    fixed_depth_m: float = Field(default=1.0, gt=0, le=20)
    gaze_origin: Literal["bottom-left", "top-left"] = "bottom-left"
    """Ego4D's norm_pos: where y = 0 is. It follows the tracker's vendor (Pupil: bottom left); look at one video."""
    min_confidence: float = Field(default=0.6, ge=0, le=1)
    """Ego4D: gaze samples below this confidence don't count."""
    fps: float | None = Field(default=None, gt=0)
    """Frames nearest to this rate; None: every frame."""
    stride: int | None = Field(default=None, ge=1)
    overwrite: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> GroundTruthOptions:
        if self.fps is not None and self.stride is not None:
            raise ValueError("fps and stride exclude each other; give one")
        return self

    def shaping(self) -> dict[str, Any]:
        """The options that shape the numbers or the choice of frames."""
        return self.model_dump(exclude={"takes", "cameras", "overwrite"})


class GroundTruthItem(StrictModel):
    """What became of one video."""

    video_id: str
    path: str
    status: Literal["done", "complete", "failed"]
    reason: str | None = None
    frames: int = 0
    rows: int = 0
    counts: dict[str, float] = Field(default_factory=dict)
    """Rows by depth quality and by place of the target, frames without a row by reason."""
    notes: list[str] = Field(default_factory=list)
    """Which files and rules were used."""
    seconds: float = 0.0


class GroundTruthReport(StrictModel):
    """`STORE/groundtruth_report.json`."""

    schema_name: Literal["gazetools.groundtruth.report"] = "gazetools.groundtruth.report"
    schema_version: int = 1
    tool_version: str
    options: dict[str, Any]
    items: list[GroundTruthItem]

    @property
    def exit_code(self) -> int:
        """1 with any failed video, else 0."""
        return int(any(item.status == "failed" for item in self.items))
