"""Options and report of `evaluate`: metrics with intervals, overall and per group, and what was not scored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel


class EvaluateOptions(StrictModel):
    """How heatmaps are scored."""

    depth: Literal["measured", "any"] = "measured"
    """Ground truth of which depth quality counts: `measured` (eye tracking or scene points) or `any` point target."""
    images: str | None = None
    """Root of GazeFollow or VideoAttentionTarget, whose pictures give the sizes (and are what `model:` looks at)."""
    checkpoint: str | None = None
    """Weights for `model:NAME`."""
    backbone: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    examples: int = Field(default=4, ge=0, le=50)
    """Best and worst frames in the HTML page, each."""
    resamples: int = Field(default=1000, ge=0, le=100_000)
    """Bootstrap resamples of blocks (one second of one video, or one picture); 0: no intervals."""
    limit: int | None = Field(default=None, ge=1)
    """Score only the first pictures of a benchmark."""


class Estimate(StrictModel):
    """A mean (or an average precision) with its 95 % bootstrap interval."""

    value: float
    low: float | None
    high: float | None
    count: int
    """Number of rows in the mean."""


class Scored(StrictModel):
    """One scored row in the lists of best and worst."""

    video_id: str
    frame: int
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
