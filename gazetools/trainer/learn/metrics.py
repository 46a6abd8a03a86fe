"""Top-1 and top-5 accuracy and class-mean recall@5 per task, accumulated over batches without loops over samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazetools.metrics.ranks import ranks


@dataclass
class _Tally:
    """Numbers of samples: answered right by the best score, and per class among the k best scores and in all."""

    top1: int
    hits: Tensor
    totals: Tensor

    @staticmethod
    def empty(classes: int) -> _Tally:
        return _Tally(0, torch.zeros(classes, dtype=torch.int64), torch.zeros(classes, dtype=torch.int64))

    def count(self, truth: npt.NDArray[np.int64], hit: npt.NDArray[np.bool_], first: npt.NDArray[np.bool_]) -> None:
        """Add samples by label, whether the label is among the k best scores, and whether it is the best."""
        # A batch is small: numpy on the shared memory of the counts costs a tenth of torch's dispatch.
        self.top1 += int(first.sum())
        np.add.at(self.hits.numpy(), truth[hit], 1)
        np.add.at(self.totals.numpy(), truth, 1)

    def plus(self, top1: int, hits: Tensor, totals: Tensor) -> _Tally:
        return _Tally(self.top1 + top1, self.hits + hits, self.totals + totals)


class TaskMetrics:
    """Counts for one task.

    Class-mean recall@k is the mean, over the classes that occurred as a label, of the share of their samples whose
    label is among the k best scores, in percent (as facebookresearch/vjepa2's ClassMeanRecall, which leaves out
    validation samples of classes that training lacks; it ranks sigmoid scores, which saturate). A label that is not
    below `num_classes` is such a class: no score answers it, so it counts as wrong, in the unfiltered figures only.
    `num_classes` is that of training; classes not in `valid_classes` come last (None: every class competes).
    """

    def __init__(self, num_classes: int, *, k: int = 5, valid_classes: Collection[int] | None = None) -> None:
        self.num_classes = num_classes
        self.k = min(k, num_classes)
        self.valid: Tensor | None = None
        if valid_classes is not None:
            self.valid = torch.zeros(num_classes, dtype=torch.bool)
            self.valid[sorted(valid_classes)] = True
        self.counted = _Tally.empty(num_classes)
        self.left_out = _Tally.empty(num_classes)  # a class of any task is unseen in training: unfiltered figures only
        self.unseen: Counter[int] = Counter()  # samples by label that is no class of training

    def update(self, logits: Tensor, labels: Tensor, *, counted: Tensor | None = None) -> None:
        """Count a batch: logits [B, classes], labels int64 [B]; False in `counted` [B]: unfiltered figures only."""
        judged = self.judge(logits, labels).cpu().numpy()
        self.count(judged, counted=None if counted is None else counted.cpu().numpy())

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Rank of the true class and label, int64 [2, B], on the device of the logits, without waiting for it."""
        scores = logits.detach().float()
        if self.valid is not None:
            scores = scores.masked_fill(~self.valid.to(scores.device), -torch.inf)
        truth = labels.to(scores.device)
        return torch.stack([ranks(scores, truth), truth])

    def count(self, judged: npt.NDArray[np.int64], *, counted: npt.NDArray[np.bool_] | None = None) -> None:
        """Count what `judge` returned, on the CPU; `counted` as in `update`."""
        place, truth = judged
        hit, first, known = place < self.k, place == 0, truth < self.num_classes
        used = known if counted is None else counted & known
        self.counted.count(truth[used], hit[used], first[used])
        if not used.all():
            others = known & ~used
            self.left_out.count(truth[others], hit[others], first[others])
            self.unseen.update(truth[~known].tolist())

    def values(self) -> dict[str, float]:
        """top1, top5 and recall5 in percent, and `unfiltered_` ones where samples were left out; 0 for no samples."""
        result = self._figures(self.counted, Counter())
        if self.unseen or int(self.left_out.totals.sum()):
            unfiltered = self._figures(self.counted.plus(**vars(self.left_out)), self.unseen)
            result |= {f"unfiltered_{name}": value for name, value in unfiltered.items()}
        return result

    def _figures(self, tally: _Tally, unseen: Counter[int]) -> dict[str, float]:
        samples, right = tally.totals.numpy(), tally.hits.numpy()
        count = int(samples.sum()) + unseen.total()
        seen = np.flatnonzero(samples)
        recalls = right[seen] / samples[seen]
        classes = len(recalls) + len(unseen)
        return {
            "top1": 100.0 * tally.top1 / max(count, 1),
            f"top{self.k}" if self.k < 5 else "top5": 100.0 * int(right.sum()) / max(count, 1),
            f"recall{self.k}" if self.k < 5 else "recall5": 100.0 * float(recalls.sum()) / max(classes, 1),
        }

    def state(self) -> dict[str, Any]:
        """Counts as plain values and tensors; the sum of several states, entry by entry, is that of all samples."""
        left_out = {f"left_out_{name}": value for name, value in vars(self.left_out).items()}
        return {**vars(self.counted), **left_out, "unseen": dict(self.unseen)}

    def add(self, state: Mapping[str, Any]) -> None:
        """Add another's counts, such as those of another process or of before an interruption."""
        self.counted = self.counted.plus(**{name: state[name] for name in vars(self.counted)})
        self.left_out = self.left_out.plus(**{name: state[f"left_out_{name}"] for name in vars(self.left_out)})
        self.unseen.update(state["unseen"])


class MetricSet:
    """The metrics of all tasks, with the loss; can be saved and restored in the middle of an epoch."""

    def __init__(self, num_classes: Mapping[str, int]) -> None:
        self.tasks = {task: TaskMetrics(count) for task, count in num_classes.items()}
        self.loss_sum = 0.0
        self.clips = 0
        self.parts: dict[str, dict[str, float]] = {}  # sum and number of clips of single parts of the loss

    @classmethod
    def total(cls, num_classes: Mapping[str, int], states: Iterable[Mapping[str, Any]]) -> MetricSet:
        """The sum of the states of all processes: what one process would have counted."""
        metrics = cls(num_classes)
        for state in states:
            metrics.add(state)
        return metrics

    def update(self, loss: float, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Count a batch; `loss` is the batch's (summed) loss."""
        self.count(loss, {task: values.cpu().numpy() for task, values in self.judge(logits, labels).items()})

    def judge(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ranks and labels of a batch, int64 [2, B] by task, on the device and without waiting for it."""
        return {task: one.judge(logits[task], labels[task]) for task, one in self.tasks.items()}

    def count(self, loss: float, judged: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Count a batch that `judge` has judged; `loss` is the batch's (summed) loss.

        As V-JEPA 2 does, a clip counts in no task's figures if any of its classes is unseen in training.
        """
        counted = np.logical_and.reduce([judged[task][1] < one.num_classes for task, one in self.tasks.items()])
        for task, metrics in self.tasks.items():
            metrics.count(judged[task], counted=counted)
        self.loss_sum += loss
        self.clips += next(iter(judged.values())).shape[1]

    def part(self, name: str, total: float, clips: float) -> None:
        """Add `total` over `clips` clips to a named part of the loss."""
        old = self.parts.get(name, {"sum": 0.0, "clips": 0.0})
        self.parts[name] = {"sum": old["sum"] + total, "clips": old["clips"] + clips}

    def values(self) -> dict[str, float]:
        """Flat: loss (mean per clip), its parts as `<part>_loss`, clips, and `<task>_<metric>` in percent."""
        result: dict[str, float] = {"loss": self.loss_sum / max(self.clips, 1), "clips": self.clips}
        for task, metrics in self.tasks.items():
            result |= {f"{task}_{name}": value for name, value in metrics.values().items()}
        return result | {f"{name}_loss": part["sum"] / max(part["clips"], 1) for name, part in self.parts.items()}

    def state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {
            "loss_sum": self.loss_sum,
            "clips": self.clips,
            "parts": {name: dict(part) for name, part in self.parts.items()},
            "tasks": {task: metrics.state() for task, metrics in self.tasks.items()},
        }

    def add(self, state: Mapping[str, Any]) -> None:
        """Add another set's state."""
        self.loss_sum += float(state["loss_sum"])
        self.clips += int(state["clips"])
        for name, part in state["parts"].items():
            self.part(name, part["sum"], part["clips"])
        for task, values in state["tasks"].items():
            self.tasks[task].add(values)
