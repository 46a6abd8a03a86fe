"""The config of `finetune`, as a whole file, and the options of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from gazetools.schemas.base import StrictModel, matching
from gazetools.schemas.finetune_augment import AugmentSettings
from gazetools.schemas.finetune_data import FinetuneData
from gazetools.schemas.finetune_learning import FinetuneLearning, MapDistillation, TokenDistillation
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.schemas.flags import Flag
from gazetools.schemas.training import WandbSettings
from gazetools.schemas.training_study import Seed

_DEVICE = matching(r"auto|cpu|cuda(:\d+)?", "must be auto, cpu, cuda or cuda:N; several GPUs are a matter of --gpus")


class SelectionSettings(StrictModel):
    """`selection`: which epoch's weights are the best ones, by the held-out heads alone."""

    metric: Literal["loss", "l2", "inout_ap"] = "l2"
    """Held-out figure: loss, mean distance of peak and target (in-frame heads), or average precision of in/out."""
    patience: PositiveInt | None = None
    """Epochs without a better figure after which training ends; None: all epochs are trained."""

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower figure is better."""
        return self.metric != "inout_ap"


class FinetuneConfig(StrictModel):
    """A config of `gazetools finetune`."""

    folder: str
    """Run folder."""
    seed: Seed = 0
    """Seed of all that a training draws: first weights, order, augmentations, dropped parts, held-out groups."""
    device: Annotated[str, _DEVICE] = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    model: FinetuneModel = FinetuneModel()
    data: FinetuneData
    augment: AugmentSettings = AugmentSettings()
    learning: FinetuneLearning = FinetuneLearning()
    selection: SelectionSettings = SelectionSettings()
    learning_curve: list[Annotated[FiniteFloat, Field(gt=0, le=1)]] = Field(default=[])
    """Shares of the training groups; the model is trained with each, to see how many labels are needed.

    Every training is a run of its own in `curve` of the run folder, scored on the same held-out heads."""
    checkpoint_every: PositiveInt = 200
    """Steps between two saved states, which a killed run can lose."""
    log_every: PositiveInt = 10
    """Steps between two lines of log.jsonl."""
    wandb: WandbSettings = WandbSettings()
    tensorboard: bool = False

    @model_validator(mode="after")
    def _parts_fit(self) -> FinetuneConfig:
        held_out = bool(self.data.validation) or self.data.held_out > 0
        if self.selection.patience is not None and not held_out:
            raise ValueError("selection.patience watches held-out heads: set data.held_out or data.validation")
        if self.data.keep_features and self.augment.photometric:
            raise ValueError("data.keep_features needs pictures that keep their colours: set augment.photometric to 0")
        if self.data.keep_features and (self.model.trains != "decoder" or self.model.rope_rescale is not None):
            raise ValueError("data.keep_features needs a tower that gives equal features: model.trains=decoder")
        if self.data.keep_features and isinstance(self.learning.distil, MapDistillation | TokenDistillation):
            raise ValueError("data.keep_features leaves pictures out, which the teacher of learning.distil needs")
        return self


class FinetuneOptions(StrictModel):
    """One call of `gazetools finetune`."""

    config: Path
    """Config (YAML), see docs/finetune.md."""
    dry_run: bool = False
    """Check everything and say what would be learnt from what; writes nothing."""
    resume: Annotated[bool, Flag(names=("--resume/--no-resume",))] = True
    """Continue where the run folder has a saved state; --no-resume refuses such a folder."""
    gpus: str | None = None
    """0: CPU, N or `all`: GPUs of this machine (default: `device` of the config)."""
    processes: int | None = Field(default=None, ge=1)
    """Processes on this machine (default: one per GPU); several on CPU too."""
