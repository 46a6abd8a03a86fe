"""Rank of the true class among scores: the one rule by which epochs are chosen, runs measured and reports written."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Number of classes preferred to the true one, int64 [B]; 0: the answer is right. Ties count against the model.

    A class counts as preferred where its score is at least as high, so that constant scores are never right. Logits are
    compared as they are: a sigmoid would make equal what differs far from zero. A label that is no class of training
    (not below their number), and a row with a score that is not a number, have the worst rank there is: the number of
    classes.
    """
    classes = scores.shape[1]
    known = labels < classes
    own = scores.gather(1, torch.where(known, labels, 0)[:, None])
    valid = known & ~scores.isnan().any(1)
    return torch.where(valid, (scores >= own).sum(1) - 1, classes)
