"""Options and report of `evaluate`: metrics with intervals, overall and per group, and what was not scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel
from gazetools.schemas.flags import Flag
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.gaze_labels import LabelKind, Protocol

_Pictures = Flag(panel="Pictures and model (public benchmarks)")


class EvaluateOptions(ArrayChoice):
    """How heatmaps are scored, and how an .npz of them is read."""

    depth: Literal["measured", "any"] = "measured"
    """Ground truth that counts: `measured` depth (eye tracking or scene points), or `any` point target."""
    benchmark: Annotated[LabelKind, _Pictures] = "auto"
    """Form of the annotations; `auto`: found by name and content.

    Prepared JSON of GazeFollow and GOO-Real look alike: it is GOO-Real's where a name contains `goo`."""
    split: Annotated[str | None, _Pictures] = None
    """Split to score, where the annotations have several: `test`, `val`, `train`."""
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
    """Best and worst frames on the page, each, for every model."""
    resamples: int = Field(default=1000, ge=0, le=100_000)
    """Bootstrap resamples for intervals; 0: none.

    Blocks are resampled: one second of one video, one clip of a benchmark, or one picture."""
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
    person: str = ""
    """The annotations' name of the person; empty: none."""
    place: str = ""
    """File and row of the annotation."""


class ReliabilityBin(StrictModel):
    """Heads whose predicted in/out probability lies in [low, high), the last bin with its upper end."""

    low: float
    high: float
    count: int
    score: float | None
    """Mean predicted probability; None: no heads."""
    share_inside: float | None
    """Share of these heads whose target really is inside the frame; None: no heads."""


class Reliability(StrictModel):
    """How far the predicted in/out probabilities are those that occur."""

    bins: list[ReliabilityBin]
    """Ten bins of equal width."""
    ece: Estimate
    """Expected calibration error: mean over heads of |score - share_inside| of their bin."""
    brier: Estimate
    """Mean squared difference between probability and truth; 0.25 for a constant 0.5."""
    share_inside: float
    """Share of all heads whose target is inside: the AP that scores without information reach."""


class LabelNote(StrictModel):
    """Rows of the annotations with one peculiarity."""

    reason: str
    """Such as `head_outside_picture`."""
    count: int
    scored: bool
    """Whether these heads are scored nevertheless."""
    places: list[str]
    """File and row of the first ones."""


class PublishedScore(StrictModel):
    """Figures as their authors published them, for comparison: nothing here was measured by this run."""

    model: str
    protocol: str
    """Definitions by which the source measured them."""
    auc: float | None
    avg_l2: float | None
    min_l2: float | None = None
    inout_ap: float | None = None
    source: str


class EvaluationReport(StrictModel):
    """The document that `evaluate --json` prints for one model."""

    schema_name: Literal["gazetools.evaluation"] = "gazetools.evaluation"
    schema_version: int = 1
    tool_version: str
    predicted: str
    truth: str
    protocol: Protocol
    """Benchmark whose definitions are used; they are in gazetools.metrics.gaze and gaze_benchmarks."""
    overall: dict[str, Estimate]
    groups: dict[str, dict[str, dict[str, Estimate]]]
    """Kind (`camera`, `distance`, `prompt`; pictures: `head_size`, `target_distance`, `direction`, `inout`) -> group ->
    metric -> estimate."""
    l2_percentiles: dict[str, float] = Field(default_factory=dict)
    """`80`, `90`, `95`, `99` -> average L2 that this per cent of the heads stay below."""
    reliability: Reliability | None = None
    """None: the model has no in/out, or the truth has none."""
    counts: dict[str, int]
    """Number of scored rows, and of rows left out for each reason."""
    labels: list[LabelNote] = Field(default_factory=list)
    """What is odd in the annotations, by reason."""
    failed: dict[str, str]
    """Video id or picture -> reason why it could not be scored."""
    best: list[Scored]
    worst: list[Scored]
    published: list[PublishedScore] = Field(default_factory=list)
    notes: list[str]

    @property
    def exit_code(self) -> int:
        """1 with any video that could not be scored, else 0."""
        return int(bool(self.failed))


class Difference(StrictModel):
    """A model minus the first one in one metric, over the heads that both were scored on."""

    predicted: str
    metric: str
    difference: Estimate
    """Its interval resamples the same blocks for both models."""


class EvaluationTable(StrictModel):
    """The document that `evaluate --json` prints for several models."""

    schema_name: Literal["gazetools.evaluation_table"] = "gazetools.evaluation_table"
    schema_version: int = 1
    tool_version: str
    truth: str
    reports: list[EvaluationReport]
    """One per model, in the order given."""
    differences: list[Difference]
    """Models after the first, minus the first."""

    @property
    def exit_code(self) -> int:
        """1 where any report has it, else 0."""
        return max(report.exit_code for report in self.reports)
