"""The recipe of `gazelle_tiny`: steps, batches, rates, and how they change from step to step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The recipe; its defaults made the shipped weights (docs/gazelle-tiny.md)."""

    seed: int = 7
    ranks: int = 2
    """Processes that share every batch: one per core; sums differ in the last bits with their number."""
    pool: int = 9000
    """Kitchens; each comes back a few times, augmented anew."""
    head_steps: int = 2200
    """Of the first phase."""
    steps: int = 5000
    """In all."""
    head_batch: int = 24
    easy_share: float = 0.2
    """Of the floating heads, those with the strongest contrast, to begin with."""
    easy_steps: int = 400
    """Half of them with the easy heads alone, then more and more; after one and a half times as many all."""
    batch: int = 16
    kept_cells: int = 110
    learning_rate: float = 5e-4
    decoder_learning_rate: float = 1e-3
    warm_up: int = 80
    decay_share: float = 0.35
    """Of the second phase: the last part, in which the learning rate falls to zero."""
    weight_decay: float = 0.03
    average: float = 0.995
    """Per step, of the averaged weights."""
    auxiliary_share: float = 0.5
    """At the start of the second phase; falls with the learning rate."""
    save_every: int = 100

    def pictures_before(self, step: int) -> int:
        """Samples that the steps before `step` used."""
        heads = min(step, self.head_steps)
        return heads * self.head_batch + (step - heads) * self.batch

    def fall(self, step: int) -> float:
        """1, falling linearly to 0 in the last part of the second phase."""
        tail = self.decay_share * (self.steps - self.head_steps)
        return min(1.0, (self.steps - step) / max(tail, 1.0))

    def rate(self, step: int) -> float:
        """Share of the learning rates at a step; both phases warm up."""
        since = step - self.head_steps if step >= self.head_steps else step
        return min(1.0, (since + 1) / self.warm_up) * self.fall(step)
