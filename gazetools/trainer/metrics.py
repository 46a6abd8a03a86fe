"""Top-1 and top-5 accuracy and class-mean recall@5 per task, accumulated over batches without loops over samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class TaskMetrics:
    """Counts for one task.

    Class-mean recall@k is the mean, over the classes that occurred as a label, of the share of their samples whose
    label is among the k best scores, in percent (as facebookresearch/vjepa2's ClassMeanRecall).
    """

    def __init__(self, num_classes: int, *, k: int = 5) -> None:
        self.k = min(k, num_classes)
        self.top1 = 0
        self.hits = torch.zeros(num_classes, dtype=torch.int64)
        self.totals = torch.zeros(num_classes, dtype=torch.int64)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits [B, classes], labels int64 [B]."""
        best = logits.detach().topk(self.k, dim=1).indices.cpu()
        labels = labels.cpu()
        right = best == labels[:, None]
        self.top1 += int(right[:, 0].sum())
        self.hits += torch.bincount(labels[right.any(1)], minlength=len(self.hits))
        self.totals += torch.bincount(labels, minlength=len(self.totals))

    def values(self) -> dict[str, float]:
        """top1, top5 and recall5 in percent; NaN-free: 0 where nothing was counted."""
        count = int(self.totals.sum())
        seen = self.totals > 0
        recalls = self.hits[seen].double() / self.totals[seen].double()
        return {
            "top1": 100.0 * self.top1 / max(count, 1),
            f"top{self.k}" if self.k < 5 else "top5": 100.0 * int(self.hits.sum()) / max(count, 1),
            f"recall{self.k}" if self.k < 5 else "recall5": 100.0 * float(recalls.mean()) if count else 0.0,
        }


class MetricSet:
    """The metrics of all tasks, with the loss; can be saved and restored in the middle of an epoch."""

    def __init__(self, num_classes: Mapping[str, int]) -> None:
        self.tasks = {task: TaskMetrics(count) for task, count in num_classes.items()}
        self.loss_sum = 0.0
        self.clips = 0
        self.counts: dict[str, int] = {}

    def update(self, loss: float, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Count a batch; `loss` is the batch's (summed) loss."""
        for task, metrics in self.tasks.items():
            metrics.update(logits[task], labels[task])
        self.loss_sum += loss
        self.clips += len(next(iter(labels.values())))

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to the named counters (missing heatmaps and the like)."""
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def values(self) -> dict[str, float]:
        """Flat: loss (mean per clip), clips, `<task>_<metric>` in percent, and the counters."""
        result: dict[str, float] = {"loss": self.loss_sum / max(self.clips, 1), "clips": self.clips}
        for task, metrics in self.tasks.items():
            result |= {f"{task}_{name}": value for name, value in metrics.values().items()}
        return result | self.counts

    def state(self) -> dict[str, object]:
        """Plain values and tensors."""
        return {
            "loss_sum": self.loss_sum,
            "clips": self.clips,
            "counts": dict(self.counts),
            "tasks": {t: {"top1": m.top1, "hits": m.hits, "totals": m.totals} for t, m in self.tasks.items()},
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """The inverse of state."""
        self.loss_sum, self.clips = float(state["loss_sum"]), int(state["clips"])  # type: ignore[arg-type,call-overload]
        self.counts = dict(state["counts"])  # type: ignore[call-overload]
        for task, values in state["tasks"].items():  # type: ignore[attr-defined]
            metrics = self.tasks[task]
            metrics.top1, metrics.hits, metrics.totals = (
                values["top1"],
                values["hits"].clone(),
                values["totals"].clone(),
            )
