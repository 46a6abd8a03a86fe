"""The loss over tasks: sigmoid focal loss or cross-entropy, summed over verb, noun and action."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional


def sigmoid_focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "sum"
) -> Tensor:
    """Focal loss of Lin et al. 2017 (arXiv 1708.02002, eq. 5) on one-hot targets, as V-JEPA 2 uses it.

    Args:
        logits: [B, classes].
        targets: class indices int64 [B].
        alpha: weight of the positive class, 1 - alpha of the others; negative: no weights.
        reduction: `sum`, `mean` or `none`.
    """
    wanted = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = torch.sigmoid(logits)
    miss = probability * (1 - wanted) + (1 - probability) * wanted
    loss = cross_entropy * miss**gamma
    if alpha >= 0:
        loss = loss * (alpha * wanted + (1 - alpha) * (1 - wanted))
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.mean()


def task_loss(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], *, focal: bool) -> Tensor:
    """Sum over tasks, in float32: focal loss summed over batch and classes, or mean cross-entropy.

    A label that is not below a task's number of classes (one that only validation has) adds nothing to that task.
    """
    return torch.stack([_loss(values.float(), labels[task], focal=focal) for task, values in logits.items()]).sum()


def jepa_loss(predicted: Tensor, future: Tensor) -> Tensor:
    """V-JEPA's loss of every clip, float32 [B]: mean absolute difference over tokens and channels.

    Args:
        predicted: tokens [B, N, D] of the predictor.
        future: tokens [B, N, D] of the frozen encoder for the true frames of the same positions; layer-normed here
            without weights, as facebookresearch/vjepa2 app/vjepa/train.py does before its loss (loss_exp 1).
    """
    wanted = functional.layer_norm(future.float(), future.shape[-1:])
    return (predicted.float() - wanted).abs().mean((1, 2))


def _loss(logits: Tensor, labels: Tensor, *, focal: bool) -> Tensor:
    known = labels < logits.shape[1]
    if not bool(known.all()):
        logits, labels = logits[known], labels[known]
    if focal:
        return sigmoid_focal_loss(logits, labels)
    return functional.cross_entropy(logits, labels) if len(labels) else logits.sum()
