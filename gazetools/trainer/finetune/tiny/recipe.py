"""The recipe of `gazelle_tiny`: steps, batches, rates, and how they change from step to step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The recipe; its defaults made the shipped weights (docs/gazelle-tiny.md)."""

    seed: int = 7
    ranks: int = 2  # processes that share every batch: one per core; sums differ in the last bits with their number
    pool: int = 9000  # number of kitchens; each is used several times with different augmentations
    head_steps: int = 2200  # steps of the first phase
    steps: int = 5000  # steps of both phases
    head_batch: int = 24
    easy_share: float = 0.2  # share of the floating heads, those with the strongest contrast, that the first steps use
    easy_steps: int = 400  # step s uses s / easy_steps - 0.5 of the heads, at least `easy_share` and at most 1
    batch: int = 16
    kept_cells: int = 110  # cells per picture that the first phase computes
    learning_rate: float = 5e-4
    decoder_learning_rate: float = 1e-3
    warm_up: int = 80
    decay_share: float = 0.35  # share of the second phase, at its end, in which the learning rate falls to zero
    weight_decay: float = 0.03
    average: float = 0.995  # share of the averaged weights that each step keeps
    auxiliary_share: float = 0.5  # weight of the auxiliary losses at the second phase's start; falls with the rates
    save_every: int = 100

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
