"""The config of `finetune` that makes `gazelle_tiny` from random weights: its recipe, step by step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from gazetools.schemas.base import StrictModel
from gazetools.schemas.training_study import Seed

Rate = Annotated[FiniteFloat, Field(gt=0, le=1)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class FromNothingSettings(StrictModel):
    """`from_nothing`: the recipe; its defaults made the shipped weights (docs/gazelle-tiny.md)."""

    seed: Seed = 7
    ranks: PositiveInt = 2
    """Processes that share every batch, one per core; sums differ in the last bits with their number."""
    pool: PositiveInt = 9000
    """Number of kitchens; each is used several times with different augmentations."""
    head_steps: NonNegativeInt = 2200
    """Steps of the first phase."""
    steps: PositiveInt = 5000
    """Steps of both phases."""
    head_batch: PositiveInt = 24
    """Pictures in a step of the first phase, over all processes."""
    easy_share: Share = 0.2
    """Share of the floating heads, those with the strongest contrast, that the first steps use."""
    easy_steps: PositiveInt = 400
    """Step s uses s / easy_steps - 0.5 of the heads, at least `easy_share` and at most 1."""
    batch: PositiveInt = 16
    """Pictures in a step of the second phase, over all processes."""
    kept_cells: PositiveInt = 110
    """Cells of each picture that the first phase computes."""
    learning_rate: Rate = 5e-4
    """Learning rate of the backbone."""
    decoder_learning_rate: Rate = 1e-3
    warm_up: PositiveInt = 80
    """Steps of the rise of the rates at the start of each phase."""
    decay_share: Share = 0.35
    """Share of the second phase, at its end, in which the learning rate falls to zero."""
    weight_decay: Annotated[FiniteFloat, Field(ge=0)] = 0.03
    average: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.995
    """Share of the averaged weights that each step keeps."""
    auxiliary_share: Share = 0.5
    """Weight of the auxiliary losses at the second phase's start; it falls with the rates."""
    save_every: PositiveInt = 100
    """Steps between two saved states, which a killed run can lose."""

    def pictures_before(self, step: int) -> int:
        """Number of samples that all steps before `step` use."""
        heads = min(step, self.head_steps)
        return heads * self.head_batch + (step - heads) * self.batch

    def fall(self, step: int) -> float:
        """1 at first, then a linear fall to 0 in the last part of the second phase."""
        tail = self.decay_share * (self.steps - self.head_steps)
        return min(1.0, (self.steps - step) / max(tail, 1.0))

    def rate(self, step: int) -> float:
        """Factor of the learning rates at a step; both phases begin with a warm-up."""
        since = step - self.head_steps if step >= self.head_steps else step
        return min(1.0, (since + 1) / self.warm_up) * self.fall(step)


class FromNothingConfig(StrictModel):
    """A config of `gazetools finetune` with `from_nothing`: it trains on the CPU, in `ranks` processes."""

    folder: str
    """Run folder."""
    from_nothing: FromNothingSettings
    workers: NonNegativeInt = 1
    """Processes for each training process that draw samples; 0: the training process itself."""
