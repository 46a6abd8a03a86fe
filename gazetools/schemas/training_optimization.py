"""`experiment.classifier` and `experiment.optimization` of a training config: the probe and its training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from gazetools.schemas.arms import TrainedPart
from gazetools.schemas.base import Choices, StrictModel, conflict
from gazetools.schemas.training_options import ClassWeightSettings, EarlyStoppingSettings, EmaSettings

NonNegativeFloat = Annotated[FiniteFloat, Field(ge=0)]
LOSS_NAMES = Choices("focal", "cross_entropy")
"""Names of the table LOSSES in gazetools.trainer.learn.losses."""
_NEWER = ("loss", "early_stopping", "ema", "class_weights")


def _word_of_switch(value: object) -> object:
    """YAML reads a bare `off` or `on` as a truth value."""
    return {False: "off", True: "on"}[value] if isinstance(value, bool) else value


ShardOptimizer = Annotated[
    Literal["auto", "off", "on"],
    BeforeValidator(_word_of_switch),
    Field(json_schema_extra={"enum": ["auto", "off", "on", False, True], "type": ["string", "boolean"]}),
]


class ClassifierSettings(StrictModel):
    """`experiment.classifier`: the attentive probe."""

    num_probe_blocks: PositiveInt = 4
    """Attention blocks: num_probe_blocks - 1 self-attention blocks and one cross-attention block."""
    num_heads: PositiveInt = 16


class HeadSettings(StrictModel):
    """One entry of `multihead_kwargs`: the schedule of one probe."""

    lr: NonNegativeFloat = 1e-3
    start_lr: NonNegativeFloat | None = None
    """Learning rate at the start of the warm-up; None takes `lr`."""
    final_lr: NonNegativeFloat = 0.0
    weight_decay: NonNegativeFloat = 1e-2
    final_weight_decay: NonNegativeFloat | None = None
    warmup: NonNegativeFloat = 0.0
    """Length of the warm-up in epochs."""


class LossSettings(StrictModel):
    """`experiment.optimization.losses`: weights of the parts of the loss."""

    classification: NonNegativeFloat = 1.0
    """Weight of the probe's loss; 0 trains the predictor without labels."""
    jepa: NonNegativeFloat = 0.0
    """Weight of the L1 between predicted tokens and the frozen encoder's layer-normed tokens of the true future."""
    jepa_context: NonNegativeFloat = 0.0
    """V-JEPA 2.1: weight, within the JEPA loss, of the L1 at the observed tokens; upstream trained with 0.5."""

    @model_validator(mode="after")
    def _something_left(self) -> LossSettings:
        if self.classification == 0 and self.jepa == 0:
            raise conflict("{classification} and {jepa} are both 0; nothing would train: set one above 0")
        if self.jepa_context > 0 and self.jepa == 0:
            raise conflict("{jepa_context} is a part of the JEPA loss, but {jepa} is 0; set {jepa} above 0")
        return self


class OptimizationSettings(StrictModel):
    """`experiment.optimization`: epochs, batches, losses, and what learns at which rate."""

    num_epochs: PositiveInt = 20
    batch_size: PositiveInt = 2
    use_bfloat16: bool = False
    """bfloat16 autocast, on CUDA only."""
    use_focal_loss: bool = True
    """Sigmoid focal loss; false: cross-entropy."""
    loss: Annotated[str, LOSS_NAMES] | None = None
    """Loss of the probe by name. None: what `use_focal_loss` says."""
    losses: LossSettings = LossSettings()
    multihead_kwargs: Annotated[list[HeadSettings], Field(min_length=1)] = Field(default=[HeadSettings()])
    head: Annotated[int, Field(ge=0)] | None = None
    """Train only this entry of `multihead_kwargs`; None: all of them, in parallel."""
    accumulation_steps: PositiveInt = 1
    """Batches per optimizer step; the gradient is that of all their clips."""
    clip_grad_norm: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Largest norm of a model's gradient; None: no limit."""
    train: TrainedPart | None = None
    """What trains in addition to the probe. None: `heatmap` with use_heatmap, else `probe` (as V-JEPA 2)."""
    heatmap_lr: NonNegativeFloat | None = None
    """Peak learning rate of the heatmap part; None takes the probe's."""
    predictor_lr: NonNegativeFloat | None = None
    """Peak learning rate of the pretrained predictor; None takes the probe's."""
    adam_betas: tuple[FiniteFloat, FiniteFloat] = (0.9, 0.999)
    adam_eps: Annotated[FiniteFloat, Field(gt=0)] = 1e-8
    shard_optimizer: ShardOptimizer = "auto"
    """Whether each process holds a part of the optimizers' state. auto: where it is 1 GiB or more in a process."""

    early_stopping: EarlyStoppingSettings | None = None
    """End of each model by its own loss on the held-out videos; None: all epochs."""
    ema: EmaSettings | None = None
    """Exponential moving average of the weights; None: the weights of the last step are measured."""
    class_weights: ClassWeightSettings | None = None
    """Weights of the classes in the probe's loss; None: every clip counts alike."""

    @model_serializer(mode="wrap")
    def _without_unset_options(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out newer keys that are not set, so that configs in results and checkpoints are those without them."""
        values: dict[str, Any] = serialize(self)
        unset = {**dict.fromkeys(_NEWER), "shard_optimizer": "auto"}
        return {key: value for key, value in values.items() if key not in unset or value != unset[key]}

    @model_validator(mode="after")
    def _labels_learn(self) -> OptimizationSettings:
        if self.losses.classification == 0:
            for name in ("early_stopping", "class_weights"):
                if getattr(self, name) is not None:
                    raise conflict(f"{{{name}}} needs the probe's loss, but {{losses}} has classification 0")
        return self

    @model_validator(mode="after")
    def _head_exists(self) -> OptimizationSettings:
        if self.head is not None and self.head >= len(self.multihead_kwargs):
            raise conflict(
                f"{{head}} = {self.head}, but {{multihead_kwargs}} has the entries "
                f"0..{len(self.multihead_kwargs) - 1}; choose one of them"
            )
        return self
