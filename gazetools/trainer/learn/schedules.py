"""Learning rate and weight decay as functions of the step: warm-up and cosine, as V-JEPA 2's evaluations use them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gazetools.schemas.training import TrainingConfig


def steps_per_epoch(config: TrainingConfig, clips: int, processes: int) -> int:
    """Number of optimizer steps that take every clip once; the last one may have fewer clips."""
    settings = config.experiment.optimization
    return math.ceil(clips / (settings.batch_size * settings.accumulation_steps * processes))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Values for step 1, 2, ... `total_steps` (facebookresearch/vjepa2 evals/action_anticipation_frozen/utils.py)."""

    total_steps: int
    warmup_steps: int
    start_lr: float
    peak_lr: float
    final_lr: float
    weight_decay: float
    final_weight_decay: float

    def lr(self, step: int) -> float:
        """Linear from start_lr while step < warmup_steps, then half a cosine down to final_lr."""
        if step < self.warmup_steps:
            return self.start_lr + step / max(1, self.warmup_steps) * (self.peak_lr - self.start_lr)
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return max(self.final_lr, self.final_lr + (self.peak_lr - self.final_lr) * _half_cosine(progress))

    def decay(self, step: int) -> float:
        """Half a cosine from weight_decay to final_weight_decay."""
        change = (self.weight_decay - self.final_weight_decay) * _half_cosine(step / max(1, self.total_steps))
        return self.final_weight_decay + change


def _half_cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))
