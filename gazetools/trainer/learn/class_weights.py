"""Weights of classes in the probe's loss of training, from how many training clips each class has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gazetools.schemas.training_options import ClassWeightSettings


def class_weights(settings: ClassWeightSettings, counts: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Task -> float32 [classes]: the weight of each class with `counts` training clips, 0 for a class without any.

    `inverse_frequency` is 1 / n (the weights of King & Zeng 2001, "Logistic Regression in Rare Events Data", section
    4.2, for equal shares of all classes). `effective_number` is (1 - beta) / (1 - beta^n), the inverse of the effective
    number of samples of Cui et al. 2019 (arXiv 1901.05555, eq. 2 and section 3.3). Both are divided by their mean over
    the training clips, so that the loss keeps its size and learning rates their meaning.

    >>> class_weights(ClassWeightSettings(), {"verb": [3, 1]})["verb"].tolist()
    [0.6666666865348816, 2.0]
    """
    return {task: _of_task(settings, own) for task, own in counts.items()}


def _of_task(settings: ClassWeightSettings, counts: Sequence[int]) -> Tensor:
    clips = torch.tensor(counts, dtype=torch.float64)
    there = clips > 0
    if settings.kind == "inverse_frequency":
        weights = 1 / clips.clamp(min=1)
    else:
        weights = (1 - settings.beta) / (1 - settings.beta ** clips.clamp(min=1))
    weights = torch.where(there, weights, torch.zeros_like(weights))
    return (weights * clips.sum() / (weights * clips).sum()).float()
