"""The config of `finetune`: losses, optimizer, learning rates, and what a teacher adds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from gazetools.schemas.base import StrictModel

Rate = Annotated[FiniteFloat, Field(gt=0, le=1)]


class GazeLossSettings(StrictModel):
    """`learning.loss`: binary cross-entropy of heatmap cells of in-frame heads, plus that of in/out of all heads."""

    domain: Literal["probabilities", "logits"] = "probabilities"
    """What is resized to the heatmap and compared: values after the sigmoid (Gaze-LLE), or before it (others)."""
    inout_weight: NonNegativeFloat = 1.0
    """Weight of the in/out loss; 0 leaves it out."""


class GazeOptimizerSettings(StrictModel):
    """`learning.optimizer`: betas are 0.9 and 0.999, epsilon 1e-8."""

    name: Literal["adam", "adamw"] = "adam"
    lr: Rate = 1e-3
    """Learning rate of the decoder."""
    inout_lr: Rate | None = None
    """Learning rate of parameters with `inout` in their name; None: `lr`."""
    tower_lr: Rate | None = None
    """Learning rate of the tower and of its low-rank changes; None: `lr`."""
    weight_decay: NonNegativeFloat = 0.0
    """Decay of matrices; vectors, in/out and register tokens of the decoder and class tokens have none."""
    clip_norm: PositiveFloat | None = None
    """Largest norm of all gradients together; None: they are not clipped."""


class GazeScheduleSettings(StrictModel):
    """`learning.schedule`: the learning rate of each epoch, and of each step of a warm-up."""

    kind: Literal["constant", "cosine", "page"] = "cosine"
    """`constant`; `cosine`: one fall over the epochs, equal within an epoch (Gaze-LLE); `page`: the same fall, which
    reaches the floor in the last epoch, after a warm-up within the first one (PaGE)."""
    floor: NonNegativeFloat = 1e-7
    """Rate that the fall ends at."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of the warm-up, at most those of the first epoch; `page` only."""
    warmup_start_lr: NonNegativeFloat = 0.0
    """Rate of the first step of a warm-up."""

    @model_validator(mode="after")
    def _warm_up(self) -> GazeScheduleSettings:
        if self.warmup_steps and self.kind != "page":
            raise ValueError(f"warmup_steps belongs to the schedule 'page', and kind is {self.kind!r}")
        return self


class MapDistillation(StrictModel):
    """`learning.distil` of kind `maps`: the student's map follows a teacher's, as PINTO0309/gazelle-dinov3 trains."""

    kind: Literal["maps"]
    teacher: str
    """Model of the teacher: a name or a file."""
    checkpoint: str | None = None
    """Weights of a named teacher."""
    weight: PositiveFloat = 0.3
    """Weight of the term."""
    first_temperature: PositiveFloat = 1.0
    """Temperature of both softmaxes at the first step."""
    last_temperature: PositiveFloat = 4.0
    """Temperature at the last step; between them half a cosine."""


class TokenDistillation(StrictModel):
    """`learning.distil` of kind `tokens`: PaGE's tokens follow a larger PaGE's, without labels, as OctopusWen/PaGE."""

    kind: Literal["tokens"]
    teacher: str
    """Model of the teacher: a PaGE whose file has its towers."""
    checkpoint: str | None = None
    """Weights of a named teacher."""
    head_weight: NonNegativeFloat = 1.0
    """Weight of the head's tokens."""
    projection_weight: NonNegativeFloat = 1.0
    """Weight of the tokens after each tower's projection, against those after the interaction."""


class StoreDistillation(StrictModel):
    """`learning.distil` of kind `store`: heatmaps and in/out scores that a teacher left in a store are the targets."""

    kind: Literal["store"]
    least_peak: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    """Maps whose highest value is lower are left out, and counted: the teacher saw no gaze there."""


class FinetuneLearning(StrictModel):
    """`learning`: how long and by what the model learns."""

    epochs: PositiveInt = 15
    batch_size: PositiveInt = 60
    """Heads in a step, over all processes."""
    parts: PositiveInt = 1
    """Parts that each batch is computed in, one after the other, to save memory."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the products; weights and losses stay float32."""
    loss: GazeLossSettings = GazeLossSettings()
    optimizer: GazeOptimizerSettings = GazeOptimizerSettings()
    schedule: GazeScheduleSettings = GazeScheduleSettings()
    distil: Annotated[MapDistillation | TokenDistillation | StoreDistillation, Field(discriminator="kind")] | None = (
        None
    )
    """What a teacher adds; None: labels alone."""

    @model_validator(mode="after")
    def _maps_are_logits(self) -> FinetuneLearning:
        if isinstance(self.distil, MapDistillation) and self.loss.domain != "logits":
            raise ValueError("distil.kind maps takes softmaxes of logits: set loss.domain to logits")
        return self
