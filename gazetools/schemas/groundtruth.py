"""Options of `groundtruth` and the report of what became of every video."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import OptionsModel, StrictModel, conflict
from gazetools.schemas.flags import Flag
from gazetools.schemas.heads import FirstRow
from gazetools.schemas.picture_times import PictureTimes

UnknownDepth = Literal["epipolar", "fixed", "points", "skip"]
_Which, _Gaze = Flag(panel="Which videos and frames"), Flag(panel="Gaze")


class GroundTruthOptions(OptionsModel, PictureTimes):
    """How eye tracking becomes heatmaps."""

    view: Literal["exo", "ego"] = "exo"
    """`exo`: where the wearer looks, seen from the exo cameras. `ego`: in the wearer's own picture."""
    takes: Annotated[str | None, _Which] = None
    """Take names, uids or patterns, separated by commas (Ego4D: video uids or patterns)."""
    cameras: Annotated[str | None, _Which] = None
    """Camera names or patterns such as cam01,cam02 (default: all of the view)."""
    gaze: Annotated[Literal["auto", "personalized", "general"], _Gaze] = "auto"
    """`auto`, `personalized` or `general`: which eye-gaze file; `auto` prefers the personalized one."""
    first_row: Annotated[FirstRow, _Gaze] = "start"
    """Ego-Exo4D: `start` or `start+1`, the row of timesync.csv that is frame 0, counted from timesync_start_idx.

    Published sources differ by this one frame (docs/egoexo4d.md); `validate` measures which one a take supports."""
    unknown_depth: Annotated[UnknownDepth, _Gaze] = "epipolar"
    """Gaze without a credible depth: `epipolar`, `fixed`, `points` or `skip`.

    `epipolar` draws the whole segment on which the target lies; `fixed` puts it at `fixed_depth_m`; `points` at the
    semi-dense point that the ray meets, else as `epipolar`; `skip` leaves the frame out."""
    fixed_depth_m: Annotated[float, Flag(panel="Gaze", names=("--fixed-depth",))] = Field(default=1.0, gt=0, le=20)
    """Metres, for --unknown-depth fixed."""
    gaze_origin: Annotated[Literal["bottom-left", "top-left"], _Gaze] = "bottom-left"
    """Ego4D: `bottom-left` or `top-left` is y = 0.

    Where norm_pos is 0 follows the tracker's vendor (Pupil: bottom left); look at one video."""
    min_confidence: Annotated[float, _Gaze] = Field(default=0.6, ge=0, le=1)
    """Ego4D: least confidence of a gaze sample."""
    fps: Annotated[float | None, _Which] = Field(default=None, gt=0)
    """The frames nearest to this rate (default: every frame)."""
    stride: Annotated[int | None, _Which] = Field(default=None, ge=1)
    """Every N-th decoded frame."""
    overwrite: bool = False
    """Replace results made with other options."""

    @model_validator(mode="after")
    def _consistent(self) -> GroundTruthOptions:
        if self.fps is not None and self.stride is not None:
            raise conflict(
                f"{{fps}} ({self.fps:g}) and {{stride}} ({self.stride}) exclude each other; give one of them"
            )
        return self

    def shaping(self) -> dict[str, Any]:
        """The options that shape the numbers or the choice of frames."""
        return self.model_dump(exclude={"takes", "cameras", "overwrite", "frame_rate", "frame_times"})


class GroundTruthItem(StrictModel):
    """What became of one video."""

    video_id: str
    path: str
    status: Literal["done", "complete", "failed"]
    reason: str | None = None
    frames: int = 0
    rows: int = 0
    counts: dict[str, float] = Field(default_factory=dict)
    """Rows by depth quality and by place of the target; frames without a row by reason."""
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
