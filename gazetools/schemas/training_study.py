"""What a study is about, declared before training: its primary contrast, and how often every arm is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from gazetools.schemas.base import StrictModel

PRIMARY_ARM, PRIMARY_TASK = "estimated", "action"
DEFAULT_PRIMARY = f"{PRIMARY_ARM} - none"
MIN_TRAININGS = 3
"""Trainings of each arm without which a report gives no verdict."""
MAX_TRAININGS = 64

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class PrimarySettings(StrictModel):
    """`primary`: the one contrast that the report's verdict is about."""

    contrast: str = DEFAULT_PRIMARY
    """ARM - BASELINE."""
    task: Literal["verb", "noun", "action"] = "action"
    horizon: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """Anticipation time in seconds, one of `experiment.evaluation.horizons`; None: the leading validation split."""
    margin: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Points of recall within which a difference does not matter; None: only gains and losses are named."""

    @field_validator("contrast")
    @classmethod
    def _two_arms(cls, value: str) -> str:
        first, minus, second = (part.strip() for part in value.partition(" - "))
        if not (minus and first and second and first != second):
            raise ValueError("must be two arms with ' - ' between them, such as 'estimated - none'")
        return f"{first} - {second}"

    @property
    def arms(self) -> tuple[str, str]:
        """The arm and its baseline."""
        first, second = self.contrast.split(" - ")
        return first, second


class PrimaryNames(StrictModel):
    """`report.primary`: the contrast by its two arms."""

    arm: str = "estimated"
    baseline: str = "none"
    task: Literal["verb", "noun", "action"] = "action"


class StudySettings(StrictModel):
    """`report`: another way to write `primary`, with the margin next to it."""

    primary: PrimaryNames = PrimaryNames()
    margin: Annotated[FiniteFloat, Field(gt=0)] | None = None

    def as_primary(self) -> PrimarySettings:
        """The same in the form of `primary`."""
        return PrimarySettings(
            contrast=f"{self.primary.arm} - {self.primary.baseline}", task=self.primary.task, margin=self.margin
        )


class StudyKeys(StrictModel):
    """The keys of a training config that make it a study of several trainings."""

    seed: Seed = 0
    """Seed of all that a training draws: initial weights, data order, augmentation, held-out videos."""
    seeds: Annotated[int, Field(ge=1, le=MAX_TRAININGS)] | Annotated[list[Seed], Field(min_length=1)] | None = None
    """Number of trainings of every arm, with the seeds `seed`, `seed + 1`, ..., or the list of their seeds.

    Each is a whole run in `seed_<seed>` of the run folder. None: one training, in the run folder itself."""
    primary: PrimarySettings | None = None
    """Contrast that the report's verdict is about; None: estimated - none on actions of the leading split."""
    report: StudySettings | None = Field(default=None, exclude=True)
    """Another form of `primary`."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: int | list[int] | None) -> int | list[int] | None:
        if isinstance(value, list) and (doubled := sorted({seed for seed in value if value.count(seed) > 1})):
            raise ValueError(
                f"the seed(s) {', '.join(map(str, doubled))} occur more than once; equal seeds give equal trainings"
            )
        return value

    @model_validator(mode="after")
    def _one_primary(self) -> StudyKeys:
        if self.report is not None:
            if self.primary is not None:
                raise ValueError("primary and report name the primary contrast twice; keep one of them")
            object.__setattr__(self, "primary", self.report.as_primary())
        if self.primary is not None and len(self.training_seeds) == 1 and self.seeds is not None:
            raise ValueError(
                f"primary asks for a verdict, which one training cannot give: seeds must be {MIN_TRAININGS} or more "
                "(better 5), or left out where the other trainings are runs of their own"
            )
        return self

    @property
    def training_seeds(self) -> list[int]:
        """The seed of each training, one or more."""
        if isinstance(self.seeds, list):
            return list(self.seeds)
        return [self.seed + number for number in range(self.seeds or 1)]
