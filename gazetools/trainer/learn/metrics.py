"""Top-1 and top-5 accuracy and class-mean recall@5 per task, accumulated over batches without loops over samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

_COUNTS = ("top1", "hits", "totals", "left_out_top1", "left_out_hits", "left_out_totals")


class TaskMetrics:
    """Counts for one task.

    Class-mean recall@k is the mean, over the classes that occurred as a label, of the share of their samples whose
    label is among the k best scores, in percent (as facebookresearch/vjepa2's ClassMeanRecall, which ranks sigmoid
    scores and leaves out validation samples of classes that training lacks). A label that is not below `num_classes`
    is such a class: no score answers it, so it counts as wrong, in the unfiltered figures only.

    Args:
        num_classes: classes of the training set.
        k: of recall@k and top-k accuracy.
        valid_classes: the scores of all others are set to 0 before ranking; None: every class competes.
    """

    def __init__(self, num_classes: int, *, k: int = 5, valid_classes: Collection[int] | None = None) -> None:
        self.k = min(k, num_classes)
        self.valid: Tensor | None = None
        if valid_classes is not None:
            self.valid = torch.zeros(num_classes, dtype=torch.bool)
            self.valid[sorted(valid_classes)] = True
        self.top1 = 0
        self.hits = torch.zeros(num_classes, dtype=torch.int64)
        self.totals = torch.zeros(num_classes, dtype=torch.int64)
        # Samples that the figures above leave out, because this or another task's class is unseen in training.
        self.left_out_top1 = 0
        self.left_out_hits = torch.zeros(num_classes, dtype=torch.int64)
        self.left_out_totals = torch.zeros(num_classes, dtype=torch.int64)
        self.unseen: Counter[int] = Counter()
        """Samples by label that is no class of training."""

    def update(self, logits: Tensor, labels: Tensor, *, counted: Tensor | None = None) -> None:
        """Count a batch: logits [B, classes], labels int64 [B]; False in `counted` [B]: unfiltered figures only."""
        classes = len(self.hits)
        scores = torch.sigmoid(logits.detach().float())
        if self.valid is not None:
            scores = scores * self.valid.to(scores.device)
        # A batch is small: numpy on the shared memory of the counts costs a tenth of torch's dispatch.
        truth = labels.cpu().numpy()
        right = scores.topk(self.k, dim=1).indices.cpu().numpy() == truth[:, None]
        hit, first, known = right.any(1), right[:, 0], truth < classes
        used = known if counted is None else counted.cpu().numpy() & known
        self.top1 += int((first & used).sum())
        np.add.at(self.hits.numpy(), truth[hit & used], 1)
        np.add.at(self.totals.numpy(), truth[used], 1)
        if used.all():
            return
        left_out = known & ~used
        self.left_out_top1 += int((first & left_out).sum())
        np.add.at(self.left_out_hits.numpy(), truth[hit & left_out], 1)
        np.add.at(self.left_out_totals.numpy(), truth[left_out], 1)
        self.unseen.update(truth[~known].tolist())

    def values(self) -> dict[str, float]:
        """top1, top5 and recall5 in percent, and `unfiltered_` ones where samples were left out; 0 for no samples."""
        result = self._figures(self.top1, self.hits, self.totals, Counter())
        if self.unseen or int(self.left_out_totals.sum()):
            unfiltered = self._figures(
                self.top1 + self.left_out_top1,
                self.hits + self.left_out_hits,
                self.totals + self.left_out_totals,
                self.unseen,
            )
            result |= {f"unfiltered_{name}": value for name, value in unfiltered.items()}
        return result

    def _figures(self, top1: int, hits: Tensor, totals: Tensor, unseen: Counter[int]) -> dict[str, float]:
        samples, right = totals.numpy(), hits.numpy()
        count = int(samples.sum()) + unseen.total()
        seen = np.flatnonzero(samples)
        recalls = right[seen] / samples[seen]
        classes = len(recalls) + len(unseen)
        return {
            "top1": 100.0 * top1 / max(count, 1),
            f"top{self.k}" if self.k < 5 else "top5": 100.0 * int(right.sum()) / max(count, 1),
            f"recall{self.k}" if self.k < 5 else "recall5": 100.0 * float(recalls.sum()) / max(classes, 1),
        }

    def state(self) -> dict[str, object]:
        """Counts only, as plain values and tensors: the sum of several states, entry by entry, is their union's."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "unseen": dict(self.unseen)}

    def add(self, state: Mapping[str, object]) -> None:
        """Add another's counts (of another rank, or of before a stop)."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + state[name])
        self.unseen.update(state["unseen"])  # type: ignore[call-overload]


class MetricSet:
    """The metrics of all tasks, with the loss; can be saved and restored in the middle of an epoch."""

    def __init__(self, num_classes: Mapping[str, int]) -> None:
        self.tasks = {task: TaskMetrics(count) for task, count in num_classes.items()}
        self.loss_sum = 0.0
        self.clips = 0
        self.counts: dict[str, int] = {}
        self.parts: dict[str, dict[str, float]] = {}
        """Sum and number of clips of single parts of the loss."""

    def update(self, loss: float, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Count a batch; `loss` is the batch's (summed) loss.

        As V-JEPA 2 does, a clip counts in no task's figures if any of its classes is unseen in training.
        """
        counted = torch.stack([labels[task].cpu() < len(one.hits) for task, one in self.tasks.items()]).all(0)
        for task, metrics in self.tasks.items():
            metrics.update(logits[task], labels[task], counted=counted)
        self.loss_sum += loss
        self.clips += len(next(iter(labels.values())))

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to the named counters (missing heatmaps and the like)."""
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def part(self, name: str, total: float, clips: int) -> None:
        """Add `total` over `clips` clips to a named part of the loss."""
        old = self.parts.get(name, {"sum": 0.0, "clips": 0.0})
        self.parts[name] = {"sum": old["sum"] + total, "clips": old["clips"] + clips}

    def values(self) -> dict[str, float]:
        """Flat: loss (mean per clip), its parts as `<part>_loss`, clips, `<task>_<metric>` in percent, the counters."""
        result: dict[str, float] = {"loss": self.loss_sum / max(self.clips, 1), "clips": self.clips}
        for task, metrics in self.tasks.items():
            result |= {f"{task}_{name}": value for name, value in metrics.values().items()}
        result |= {f"{name}_loss": part["sum"] / max(part["clips"], 1) for name, part in self.parts.items()}
        return result | self.counts

    def state(self) -> dict[str, object]:
        """Plain values and tensors."""
        return {
            "loss_sum": self.loss_sum,
            "clips": self.clips,
            "counts": dict(self.counts),
            "parts": {name: dict(part) for name, part in self.parts.items()},
            "tasks": {task: metrics.state() for task, metrics in self.tasks.items()},
        }

    def add(self, state: Mapping[str, object]) -> None:
        """Add what another rank counted: the sum of all ranks' states is what one process would have counted."""
        self.loss_sum += float(state["loss_sum"])  # type: ignore[arg-type]
        self.clips += int(state["clips"])  # type: ignore[call-overload]
        self.count(state["counts"])  # type: ignore[arg-type]
        for name, part in state["parts"].items():  # type: ignore[attr-defined]
            self.part(name, part["sum"], part["clips"])
        for task, values in state["tasks"].items():  # type: ignore[attr-defined]
            self.tasks[task].add(values)

    def restore(self, state: Mapping[str, object]) -> None:
        """The inverse of `state` on a fresh set."""
        self.__init__({task: len(one.hits) for task, one in self.tasks.items()})  # type: ignore[misc]
        self.add(state)
