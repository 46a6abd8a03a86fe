"""Options and report of `evaluate`: metrics with intervals, overall and per group, and what was not scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel
from gazetools.schemas.flags import Flag
from gazetools.schemas.foreign import ArrayChoice

_Pictures = Flag(panel="Pictures and model (GazeFollow, VideoAttentionTarget)")


class EvaluateOptions(ArrayChoice):
    """How heatmaps are scored, and how an .npz of them is read."""

    depth: Literal["measured", "any"] = "measured"
    """Ground truth that counts: `measured` depth (eye tracking or scene points), or `any` point target."""
    images: Annotated[str | None, _Pictures] = None
    """Root of the benchmark's pictures, which give the sizes and are the input of `model:`."""
    checkpoint: Annotated[str | None, _Pictures] = None
    """Weights for `model:NAME`."""
    backbone: Annotated[str | None, _Pictures] = None
    """DINOv2 weights."""
    device: Annotated[str, _Pictures] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], _Pictures] = "auto"
    """`auto` (float32), `float32`, `bfloat16` or `float16`."""
    examples: int = Field(default=4, ge=0, le=50)
    """Best and worst frames on the page, each."""
    resamples: int = Field(default=1000, ge=0, le=100_000)
    """Bootstrap resamples for intervals; 0: none.

    Blocks are resampled: one second of one video, or one picture."""
    limit: Annotated[int | None, _Pictures] = Field(default=None, ge=1)
    """Score only the first pictures."""


class Estimate(StrictModel):
    """A mean (or an average precision) with its 95 % bootstrap interval."""

    value: float
    low: float | None
    high: float | None
    count: int


class Scored(StrictModel):
    """One scored row in the lists of best and worst."""

    video_id: str
    frame: int
    track_id: int | None = None
    """The person in the prediction; None: a picture of a benchmark."""
    true_track_id: int | None = None
    """The same person in the ground truth, whose ids are its own."""
    avg_l2: float
    auc: float | None


class EvaluationReport(StrictModel):
    """The document that `evaluate --json` prints."""

    schema_name: Literal["gazetools.evaluation"] = "gazetools.evaluation"
    schema_version: int = 1
    tool_version: str
    predicted: str
    truth: str
    protocol: Literal["gazefollow", "videoattentiontarget"]
    """Benchmark whose definitions of AUC and L2 are used; they are in gazetools.metrics.gaze."""
    overall: dict[str, Estimate]
    groups: dict[str, dict[str, dict[str, Estimate]]]
    """Kind (`camera`, `distance`, `prompt`) -> group -> metric -> estimate."""
    counts: dict[str, int]
    """Number of scored rows, and of rows left out for each reason."""
    failed: dict[str, str]
    """Video id -> reason why it could not be scored."""
    best: list[Scored]
    worst: list[Scored]
    notes: list[str]

    @property
    def exit_code(self) -> int:
        """1 with any video that could not be scored, else 0."""
        return int(bool(self.failed))
