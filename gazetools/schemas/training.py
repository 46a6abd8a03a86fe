"""The training config: V-JEPA 2's evaluation YAML, the heatmap guide's keys and this project's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, field_validator, model_validator

from gazetools.schemas.arms import ArmSettings, EvaluationSettings, FolderName
from gazetools.schemas.base import StrictModel, matching
from gazetools.schemas.training_clips import Compat, DataSettings, InOutUse, MissingPolicy
from gazetools.schemas.training_data import Range
from gazetools.schemas.training_model import RANDOM_WEIGHTS, EncoderSettings, ModelSettings
from gazetools.schemas.training_optimization import ClassifierSettings, OptimizationSettings
from gazetools.schemas.training_study import StudyKeys

__all__ = [
    "RANDOM_WEIGHTS",
    "Compat",
    "DataSettings",
    "EncoderSettings",
    "InOutUse",
    "MissingPolicy",
    "Range",
    "TrainingConfig",
    "WandbSettings",
]


class WandbSettings(StrictModel):
    """`experiment.wandb`: Weights & Biases; keys come from its own environment variables, never from here."""

    enable: bool = False
    project: str = "gazetools"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: list[str] = Field(default=[], json_schema_extra={"type": ["array", "string", "null"]})
    notes: str | None = None
    id: str | None = None
    resume: bool = False

    @field_validator("tags", mode="before")
    @classmethod
    def _one_tag(cls, value: object) -> object:
        return [value] if isinstance(value, str) else (value or [])


class ExperimentSettings(StrictModel):
    """`experiment`: data, optimization, evaluation and logs."""

    classifier: ClassifierSettings = ClassifierSettings()
    data: DataSettings
    optimization: OptimizationSettings = OptimizationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    wandb: WandbSettings = WandbSettings()
    tensorboard: bool = False

    @model_validator(mode="after")
    def _watches_held_out_videos(self) -> ExperimentSettings:
        if self.optimization.early_stopping is not None and self.evaluation.held_out == 0:
            raise ValueError(
                "optimization.early_stopping watches the loss on the held-out videos, but evaluation.held_out is 0: "
                "set it above 0, such as 0.1, or remove early_stopping"
            )
        return self


_DEVICE = matching(r"auto|cpu|cuda(:\d+)?", "must be auto, cpu, cuda or cuda:N; several GPUs are a matter of --gpus")


class TrainingConfig(StudyKeys):
    """A training config, as a whole file."""

    folder: str
    """Run folder; with `tag` the sub-folder of that name."""
    tag: FolderName | None = None
    eval_name: str = "action_anticipation_frozen"
    resume_checkpoint: bool = True
    """Continue where the run folder has checkpoints, so that the same command resumes; false refuses such a folder."""
    val_only: bool = False
    """Only measure: the run folder's best weights, or those of `classifier_checkpoint`."""
    test_only: bool = False
    """Only predict `experiment.data.dataset_test`, with the weights of `val_only`, into `test` of the run folder."""
    classifier_checkpoint: str | None = None
    """Weights of predictor and probe to start from, or to evaluate with val_only."""
    nodes: PositiveInt = 1
    tasks_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 1
    mem_per_gpu: str | int | None = None
    device: Annotated[str, _DEVICE, Field(json_schema_extra={"pattern": r"^(auto|cpu|cuda(:\d+)?)$"})] = "auto"
    compat: Compat = "none"
    """`vjepa2`: frames are chosen by EPIC's frame numbers and anticipation times cut to whole tubelets, as in V-JEPA 2;
    `jfaa`: as in JFAA, which rounds the step and the anticipated frames; none: exact times."""
    log_every: PositiveInt = 10
    """Steps between progress lines."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints within an epoch."""
    arms: list[ArmSettings] = Field(default=[])
    """Variants trained in parallel on one decoding and one encoder pass per clip; empty: the config as it stands."""
    experiment: ExperimentSettings
    model_kwargs: ModelSettings

    @model_validator(mode="after")
    def _arm_names(self) -> TrainingConfig:
        names = [arm.name for arm in self.arms]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms: the name(s) {', '.join(doubled)} occur more than once")
        if self.experiment.data.dataset_test is None:
            if self.test_only or self.experiment.evaluation.epic_sls is not None:
                key = "test_only" if self.test_only else "experiment.evaluation.epic_sls"
                raise ValueError(f"{key}: experiment.data.dataset_test names no annotations to predict")
        elif self.test_only:
            object.__setattr__(self, "val_only", True)
        if self.primary is not None:
            if unknown := [name for name in self.primary.arms if names and name not in names]:
                raise ValueError(f"primary: no arm is named {unknown[0]!r}; there are {', '.join(names)}")
            horizon, measured = self.primary.horizon, self.experiment.evaluation.horizons
            if horizon is not None and horizon not in measured:
                raise ValueError(
                    f"primary: the horizon {horizon:g} s is not measured; experiment.evaluation.horizons has "
                    f"{', '.join(f'{one:g}' for one in measured) or 'none'}"
                )
        return self
