"""The loss of a batch of heads: heatmap cells of in-frame heads, and in/out of all heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from gazetools.schemas.finetune_learning import GazeLossSettings


@dataclass(frozen=True, kw_only=True)
class GazeAnswer:
    """What a network in training says about N heads."""

    maps: torch.Tensor
    """[N, h, w], probabilities or logits, as the loss settings ask."""
    inout: torch.Tensor | None
    """[N], likewise: whether the target is in the picture; None for a network without in/out head."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Heads by which the means of a batch are formed; those of all processes where several share a step."""

    inside: float
    """Heads with a target in the picture."""
    heads: float


@dataclass(frozen=True, kw_only=True)
class GazeLoss:
    """Loss of a batch and its parts."""

    total: torch.Tensor
    heatmap: torch.Tensor
    inout: torch.Tensor | None


def gaze_loss(
    answer: GazeAnswer,
    targets_nhw: torch.Tensor,
    inside_n: torch.Tensor,
    settings: GazeLossSettings,
    counts: Counts | None = None,
    *,
    inout_targets_n: torch.Tensor | None = None,
) -> GazeLoss:
    """Binary cross-entropy: mean over all cells of in-frame heads, plus `inout_weight` times the mean over all heads.

    As fkryan/gazelle scripts/train_gazefollow.py and train_vat.py, PINTO0309/gazelle-dinov3 and OctopusWen/PaGE
    train_all.py. A batch without an in-frame head has heatmap loss 0, as in gazelle-dinov3; the others give NaN there.

    Args:
        answer: maps and in/out scores of N heads.
        targets_nhw: float32 [N, h, w] in 0..1; rows of heads with a target outside are not read.
        inside_n: bool [N].
        settings: weights, and whether `answer` holds probabilities or logits.
        counts: denominators of the means; None: the numbers of this batch.
        inout_targets_n: float32 [N] in 0..1, a teacher's scores; None: `inside_n`.
    """
    losses = _of_probabilities if settings.domain == "probabilities" else F.binary_cross_entropy_with_logits
    counts = counts or Counts(inside=float(inside_n.sum()), heads=float(len(inside_n)))
    cells = targets_nhw.shape[1] * targets_nhw.shape[2]
    maps = answer.maps[inside_n].float()
    heatmap = losses(maps, targets_nhw[inside_n], reduction="sum") / max(counts.inside * cells, 1)
    if answer.inout is None or settings.inout_weight == 0:
        return GazeLoss(total=heatmap, heatmap=heatmap, inout=None)
    wanted = inside_n.float() if inout_targets_n is None else inout_targets_n
    inout = losses(answer.inout.float(), wanted.to(answer.maps.device), reduction="sum")
    inout = inout / max(counts.heads, 1)
    return GazeLoss(total=heatmap + settings.inout_weight * inout, heatmap=heatmap, inout=inout)


def _of_probabilities(values: torch.Tensor, targets: torch.Tensor, *, reduction: str) -> torch.Tensor:
    """As `F.binary_cross_entropy`; NaN gives NaN, where torch raises, on CUDA by a fault that ends the process."""
    return F.binary_cross_entropy(values.nan_to_num(0.5), targets, reduction=reduction) + 0 * values.sum()
