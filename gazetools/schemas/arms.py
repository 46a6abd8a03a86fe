"""Settings of the arms of a run (variants trained in parallel) and of their evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    FiniteFloat,
    GetJsonSchemaHandler,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from gazetools.schemas.base import StrictModel, matching
from gazetools.schemas.training_model import Fusion, HeatmapPositions, Temporal

TrainedPart = Literal["probe", "heatmap", "predictor", "all_but_encoder"]
Control = Literal["zeros", "shuffled", "time_shifted", "centre"]

DEFAULT_SOURCE = "heatmap"
"""Name of the maps at `experiment.data.heatmap_base_path`."""

_SHORTHANDS: dict[str, dict[str, Any]] = {
    "none": {"fusion": "none"},
    "estimated": {},
    "gaze_tokens": {"fusion": "gaze_tokens"},
    **{control: {"control": control} for control in ("zeros", "shuffled", "time_shifted", "centre")},
    **{source: {"source": source} for source in ("ground_truth", "head_box")},
}


_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
FolderName = Annotated[
    str,
    matching(_PLAIN, "must be letters, digits, _ . + and -, not beginning with . + or -"),
    Field(json_schema_extra={"pattern": f"^{_PLAIN}$"}),
]
"""A word that is used as a file name."""


class ArmSettings(StrictModel):
    """One variant; keys that are None take the value in the rest of the config.

    A name alone stands for itself: none, estimated, gaze_tokens, zeros, shuffled, time_shifted, centre, ground_truth,
    head_box.
    """

    name: FolderName
    source: str = DEFAULT_SOURCE
    """Name of the heatmap source that it sees; with `fusion: gaze_tokens` it sees `experiment.data.gaze_tokens`."""
    control: Control | None = None
    """Change to these heatmaps (or scene tokens): zeros; `shuffled`: those of a clip of another video; `time_shifted`:
    rolled by half the clip; `centre`: a blob in the middle of the crop."""
    fusion: Fusion | None = None
    heatmap_patch_size: PositiveInt | None = None
    multiscale: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    temporal: Temporal | None = None
    heatmap_positions: HeatmapPositions | None = None
    train: TrainedPart | None = None
    heatmap_lr: Annotated[FiniteFloat, Field(ge=0)] | None = None
    predictor_lr: Annotated[FiniteFloat, Field(ge=0)] | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] | None = None
    """Seeds of the new weights, one model each; data and encoder keep the run's `seed`. None: the run's seed."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        if isinstance(value, str):
            if value not in _SHORTHANDS:
                raise ValueError(f"{value!r} is no known arm ({', '.join(_SHORTHANDS)}); give it as a mapping")
            return {"name": value, **_SHORTHANDS[value]}
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": list(_SHORTHANDS)}, handler(schema)]}

    @field_validator("seeds")
    @classmethod
    def _different(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"the seeds {value} are not all different")
        return value


_Level = Annotated[int, Field(ge=0, le=5)]


class EvaluationSettings(StrictModel):
    """`experiment.evaluation`: how the epoch that counts is chosen and what is measured with it."""

    choose: Literal["best", "last"] = "best"
    """The epoch that counts: each model's best one on the held-out videos, or the last one, which nothing chooses."""
    held_out: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.1
    """Share of the training videos that only chooses the best epoch; 0 chooses on validation itself, whose figures are
    then too good, except where the last epoch counts."""
    horizons: list[Annotated[FiniteFloat, Field(ge=0)]] = Field(default=[])
    """Anticipation times in seconds at which the chosen weights are measured, on the same clips at each."""
    epic_sls: tuple[_Level, _Level, _Level] | None = None
    """Supervision levels of a submission to EPIC-KITCHENS' challenge: pretraining, training labels, training data. With
    them the predictions of `dataset_test` are written as `test.json`, too."""
    save_top: PositiveInt = 100
    """Number of best scores saved per task and clip (the EPIC-KITCHENS challenge takes 100 actions)."""

    @field_validator("horizons")
    @classmethod
    def _sorted(cls, value: list[float]) -> list[float]:
        if len(set(value)) != len(value):
            raise ValueError(f"horizons {value} are not all different")
        return sorted(value)

    @property
    def chosen_on_validation(self) -> bool:
        """Whether the epoch is chosen on the clips that are reported."""
        return self.choose == "best" and self.held_out == 0

    @model_serializer(mode="wrap")
    def _without_unset_choice(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a `choose` that is not set, so that configs in results and checkpoints are those without it."""
        values: dict[str, Any] = serialize(self)
        return {key: value for key, value in values.items() if (key, value) != ("choose", "best")}
