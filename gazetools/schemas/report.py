"""Options of `report`: what is compared, and which model is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, FiniteFloat, field_validator

from gazetools.schemas.base import StrictModel
from gazetools.schemas.flags import Flag

Verdict = Literal[
    "saturated",
    "too_few_clusters",
    "too_few_seeds",
    "gain",
    "loss",
    "equivalent",
    "no_relevant_gain",
    "no_evidence",
]
"""What a contrast may be called; the first that applies is given."""
ReportFormat = Literal["html", "md", "pdf"]
PlotFormat = Literal["svg", "png", "none"]
ClusterLevel = Literal["auto", "participant", "take", "video"]


def _split(value: Any) -> Any:
    """Words that are separated by commas as single ones, each once: `html,pdf` and ["html", "pdf"] are alike."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(part, str) for part in given):
        return value
    return list(dict.fromkeys(word.strip() for part in given for word in part.split(",")))


_several = BeforeValidator(_split)
_HTML: list[ReportFormat] = ["html"]
_BOTH: list[PlotFormat] = ["svg", "png"]


class ReportOptions(StrictModel):
    """What the report on finished runs compares, and by which figures."""

    baseline: str = "none"
    """Arm that the others are compared with."""
    primary: Annotated[str | None, Flag(metavar="'ARM - BASELINE'")] = None
    """Contrast that the verdict is about (default: the one that the training config declares, else estimated - none).

    One that is given here was chosen after training; the report says so and corrects its p-value for the others."""
    margin: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Points within which a difference does not matter (default: what the training config declares)."""
    cluster: ClusterLevel = "auto"
    """Unit that intervals are over: participants are seldom alike, so videos of one person are no independent sample.

    auto: participants where all are known, else takes, else videos."""
    split: str | None = None
    """Split whose figures lead (default: val_start, or the first validation split)."""
    k: int = Field(default=5, ge=1)
    """Recall@k that contrasts and curves are about.

    Tasks with no more classes are named as `saturated`: any model finds all of them, a smaller k tells more."""
    few_shot: int = Field(default=20, ge=1)
    """Classes with fewer training clips are few-shot."""
    many_shot: int = Field(default=100, ge=1)
    """Classes with more training clips are many-shot."""
    require: Annotated[str | None, Flag(metavar="VERDICT[,VERDICT]")] = None
    """Exit with 1 unless the verdict is one of these, such as gain,equivalent."""
    examples: int = Field(default=2, ge=0)
    """Clips with the largest gain, and with the largest loss, shown per arm."""
    format: Annotated[list[ReportFormat], _several, Flag(metavar="md|html|pdf")] = Field(default_factory=lambda: _HTML)
    """Files of the report: html, md and pdf; several may be given, also as html,pdf.

    Markdown and PDF have the words, figures and tables of the page. PDF needs the extra `pdf`."""
    plots: Annotated[list[PlotFormat], _several, Flag(metavar="svg|png|none")] = Field(default_factory=lambda: _BOTH)
    """Files of each plot in the folder plots: svg and png, or none. png needs matplotlib, of the extra report."""

    @field_validator("require")
    @classmethod
    def _verdicts(cls, value: str | None) -> str | None:
        known = get_args(Verdict)
        if unknown := [word for word in (value or known[0]).split(",") if word not in known]:
            raise ValueError(f"{unknown[0]!r} is no verdict; there are {', '.join(known)}")
        return value

    @field_validator("plots")
    @classmethod
    def _none_alone(cls, value: list[PlotFormat]) -> list[PlotFormat]:
        if "none" in value and len(value) > 1:
            raise ValueError(f"none goes with nothing else, but there is {', '.join(value)}")
        return value


class ExportOptions(StrictModel):
    """Which model of the runs is exported, and where its files go."""

    export_weights: Path | None = None
    """Folder for the weights of one model: model.safetensors and model.json."""
    export_model: Path | None = None
    """Encoder and trained predictor of one model: a new folder in transformers' layout, or a file .pt in Meta's.

    transformers knows V-JEPA 2.0; V-JEPA 2.1 goes to a .pt."""
    export_epic: Path | None = None
    """JSON file for the predictions of one model, as EPIC-KITCHENS' challenge asks."""
    epic_sls: Annotated[str | None, Flag(metavar="PT,TL,TD")] = None
    """The challenge's supervision levels, 0..5 each: pretraining, training labels, training data."""
    export_split: str | None = None
    """Split whose predictions are exported, such as test (default: that of --split, else val_start)."""
    export_arm: str | None = None
    """Arm to export (default: estimated, or the only one)."""
    export_seed: int | None = None
    """Seed to export (default: the best one where epochs were chosen)."""
