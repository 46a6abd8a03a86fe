"""Losses: those of the probe, by name in LOSSES, and the JEPA loss of the predicted tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_optimization import LOSS_NAMES, OptimizationSettings


class ProbeLoss(Protocol):
    """Loss of the probe for one task, built once per model from `experiment.optimization`."""

    is_mean: bool  # True: a call gives the mean over clips, and a step follows the mean's gradient; False: sums

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar. Logits are float32 [B, classes], labels int64 [B] in 0..classes-1; B may be 0."""
        ...


@runtime_checkable
class WeighableLoss(ProbeLoss, Protocol):
    """A loss that can be weighed by class: it also gives the loss of each clip."""

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each clip, [B], from what a call receives."""
        ...


class FocalLoss:
    """Sigmoid focal loss, summed over clips and classes as in V-JEPA 2."""

    is_mean = False

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over clips and classes."""
        return sigmoid_focal_loss(logits, labels)

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over classes of each clip, [B]; weighed by the clip's class it is Cui et al.'s 2019 focal loss."""
        return sigmoid_focal_loss(logits, labels, reduction="none").sum(1)


class CrossEntropyLoss:
    """Cross-entropy over softmax."""

    is_mean = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over clips; 0 without any."""
        return functional.cross_entropy(logits, labels) if len(labels) else logits.sum()

    def each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of each clip, [B]."""
        return functional.cross_entropy(logits, labels, reduction="none")


LOSSES: dict[str, Callable[[OptimizationSettings], ProbeLoss]] = {
    "focal": lambda settings: FocalLoss(),
    "cross_entropy": lambda settings: CrossEntropyLoss(),
}
"""Name in `experiment.optimization.loss` -> what builds the loss. Its names are also listed in LOSS_NAMES of
gazetools.schemas.training_optimization."""


def register(name: str, build: Callable[[OptimizationSettings], ProbeLoss]) -> None:
    """Add a loss from outside the package. Raises ValueError where the name is taken."""
    LOSS_NAMES.add(name)
    LOSSES[name] = build


def build_loss(settings: OptimizationSettings) -> ProbeLoss:
    """The probe's loss: `loss`, or what `use_focal_loss` says where that is None.

    Raises UsageError where `class_weights` is set and the loss does not give the loss of each clip.
    """
    name = settings.loss or ("focal" if settings.use_focal_loss else "cross_entropy")
    loss = LOSSES[name](settings)
    if settings.class_weights is not None and not isinstance(loss, WeighableLoss):
        raise UsageError(
            f"experiment.optimization.class_weights needs the loss of each clip, which {name!r} does not give.",
            hint="Use focal or cross_entropy, or give the loss a method each(logits, labels) -> [B].",
        )
    return loss


def task_loss(
    loss: ProbeLoss,
    logits: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None = None,
    *,
    known: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The sum of a loss over tasks, a float32 scalar; `weights` [classes] by task multiply the loss of each clip.

    A label that is not below a task's number of classes (one that only validation has) adds nothing to that task.
    `known` has the places int64 [K] of the others for each task with such labels, so that nothing waits for the device
    to find them; None: they are looked for.
    """
    losses = []
    for task, values in logits.items():
        truth, scores = labels[task], values.float()
        chosen = truth < scores.shape[1] if known is None else known.get(task)
        if chosen is not None:
            scores, truth = scores[chosen], truth[chosen]
        if weights is None:
            losses.append(loss(scores, truth))
        else:
            assert isinstance(loss, WeighableLoss), "build_loss refuses others"
            summed = (loss.each(scores, truth) * weights[task][truth]).sum()
            losses.append(summed / max(len(truth), 1) if loss.is_mean else summed)
    return torch.stack(losses).sum()


def sigmoid_focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "sum"
) -> Tensor:
    """Focal loss of Lin et al. 2017 (arXiv 1708.02002, eq. 5) on one-hot targets, as V-JEPA 2 uses it.

    Logits are [B, classes], targets class indices int64 [B]. `alpha` is the weight of the positive class, 1 - alpha of
    the others; negative: no weights. `reduction` is `sum`, `mean` or `none`.
    """
    # Not one_hot, which reads the targets to check them: every model would wait for the device.
    wanted = torch.zeros_like(logits).scatter_(1, targets[:, None], 1.0)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = torch.sigmoid(logits)
    miss = probability * (1 - wanted) + (1 - probability) * wanted
    loss = cross_entropy * miss**gamma
    if alpha >= 0:
        loss = loss * (alpha * wanted + (1 - alpha) * (1 - wanted))
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.mean()


@dataclass(frozen=True, kw_only=True)
class FutureTokens:
    """The true future of a batch, which the JEPA loss compares predictions with."""

    tokens: Tensor  # [B, N, output_width] of the frozen encoder, for the positions that the predictor predicts
    known: Tensor  # int64 [K]: places of the clips whose video goes that far


def jepa_loss(predicted: Tensor, future: Tensor, *, levels: int = 1) -> Tensor:
    """V-JEPA's loss of every clip, float32 [B]: mean absolute difference over tokens and channels, both [B, N, D].

    `future`, the frozen encoder's tokens of the true frames, is layer-normed without weights, each of its `levels` by
    itself, as facebookresearch/vjepa2 app/vjepa/train.py and app/vjepa_2_1/train.py do before their loss (loss_exp 1).
    """
    parts = future.float().unflatten(-1, (levels, -1))
    wanted = functional.layer_norm(parts, parts.shape[-1:]).flatten(-2)
    return (predicted.float() - wanted).abs().mean((1, 2))
