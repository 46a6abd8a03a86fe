"""Options of `experiment.optimization` that are off by default: early stopping, averaged weights, class weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PositiveInt

from gazetools.schemas.base import StrictModel

ClassWeightKind = Literal["inverse_frequency", "effective_number"]


class EarlyStoppingSettings(StrictModel):
    """`experiment.optimization.early_stopping`: each model ends by its own loss on the held-out videos."""

    patience: PositiveInt = 3
    """Epochs in a row whose held-out loss is no improvement, after which a model ends."""
    min_delta: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """A loss counts as an improvement where it is lower than the lowest so far by more than this."""


class EmaSettings(StrictModel):
    """`experiment.optimization.ema`: an exponential moving average of the weights is what is measured and kept."""

    decay: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.999
    """Share of the average that stays in every step; smaller in the first steps."""


class ClassWeightSettings(StrictModel):
    """`experiment.optimization.class_weights`: rare classes count more in the probe's loss of training."""

    kind: ClassWeightKind = "inverse_frequency"
    """`inverse_frequency`: 1 / n of a class with n training clips; `effective_number`: (1 - beta) / (1 - beta^n)."""
    beta: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.999
    """Base of `effective_number`: 0 weighs all classes alike; the closer to 1, the closer to inverse_frequency."""
