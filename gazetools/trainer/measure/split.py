"""One pass over a split without learning: every learner's metrics over every clip, each counted once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gazetools.trainer.data.batch import Batch, Unreadable
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.order import epoch_order
from gazetools.trainer.folder.predictions import PredictionLog
from gazetools.trainer.learn.feed import count_batch, explained_out_of_memory, validation_batches
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.metrics import MetricSet
from gazetools.trainer.learn.unread import read_tensors
from gazetools.trainer.processes.world import add_trees

_VALIDATION_EPOCH = 2**31  # an order that no training epoch has


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of one pass over a split."""

    values: dict[str, dict[str, float]]  # learner -> metrics; without labels `clips` alone
    counts: dict[str, int]  # counts of the data: unreadable clips, missing heatmaps and the like
    logs: dict[str, list[PredictionLog]]  # learner -> one log per process; empty where none were passed


def validate(loop: Loop, dataset: ClipDataset, *, logs: Mapping[str, PredictionLog] | None = None) -> Measured | None:
    """Measure the weights in `loop` on `dataset`; None where a signal stopped it. `logs` collect predictions.

    Without `logs`, as after an epoch, models that ended early are left out: nothing of theirs has changed.
    """
    left_out = {learner.name for learner in loop.learners if learner.failed or not (logs or learner.learns)}
    logs = logs or {}
    batch_size = loop.config.experiment.optimization.batch_size
    order = epoch_order(len(dataset), seed=loop.config.seed, epoch=_VALIDATION_EPOCH)
    chosen = validation_batches(order, batch_size=batch_size, world=loop.world)
    split = dataset.split
    ahead = f" {split.anticipation_seconds[0]:g} s" if split.name == "horizon" else ""
    when = "chosen weights" if logs else f"epoch {loop.position.epoch + 1}"
    task = f"{when} {split.name}{ahead} ({split.anchor.name})"
    measured = [x for x in loop.learners if x.name not in left_out and split.labelled]
    metrics = {learner.name: MetricSet(learner.num_classes) for learner in measured}
    counts: dict[str, int] = {}
    unreadable: list[Unreadable] = []
    loop.progress.start(task, len(chosen), unit="steps")
    try:
        with torch.no_grad():
            for batch in loop.loaders.load(dataset, chosen):
                count_batch(batch, counts, loop.progress.say)
                unreadable += batch.unreadable
                if batch.clips:
                    with explained_out_of_memory(f"measuring {dataset.split.name}", len(batch.clips)):
                        _judge(loop, batch, dataset, metrics, logs)
                loop.progress.advance(task)
                if loop.world.size == 1 and loop.interruption.requested():
                    return None
    finally:
        loop.progress.finish(task)
    if loop.stop_requested():
        return None
    parts = loop.world.gather({name: m.state() for name, m in metrics.items()} | {"": counts})
    counts = add_trees([part.pop("") for part in parts])
    loop.refuse_unreadable(counts.get("unreadable", 0), unreadable)
    gathered = loop.world.gather(dict(logs))
    values: dict[str, dict[str, float]] = {
        learner.name: MetricSet.total(learner.num_classes, [part[learner.name] for part in parts]).values()
        for learner in measured
    }
    if not split.labelled:
        for name in logs:
            values[name] = {"clips": sum(part[name].clips for part in gathered)}
            if not all(part[name].finite for part in gathered):
                values[name]["loss"] = math.nan  # what a loss would be
    return Measured(values=values, counts=counts, logs={name: [part[name] for part in gathered] for name in logs})


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one learner made of a batch, on the device."""

    learner: str
    numbers: dict[str, Tensor]  # `loss` and the judged tasks; empty without labels
    logits: dict[str, Tensor]  # empty where nobody logs them

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.numbers.values(), *self.logits.values()]


def _judge(
    loop: Loop, batch: Batch, dataset: ClipDataset, metrics: Mapping[str, MetricSet], logs: Mapping[str, PredictionLog]
) -> None:
    """Count a batch in the metrics and logs of every learner, waiting for the device once for all of them."""
    answers = _answers(loop, batch, dataset, metrics, logs)
    values = read_tensors([tensor for answer in answers for tensor in answer.tensors])
    for answer in answers:
        found = {name: next(values) for name in answer.numbers}
        if found:
            loss = float(found.pop("loss"))
            metrics[answer.learner].count(loss, {task: judged.astype(np.int64) for task, judged in found.items()})
        if answer.logits:
            logits = {task: torch.from_numpy(next(values)).float() for task in answer.logits}
            logs[answer.learner].add(batch.clips, logits, batch.labels)


def _answers(
    loop: Loop, batch: Batch, dataset: ClipDataset, metrics: Mapping[str, MetricSet], logs: Mapping[str, PredictionLog]
) -> list[_Answer]:
    """The answers of all learners that are measured or logged; nothing waits for the device."""
    seen, answers = loop.forward.encode(batch, dataset), []
    known = _known_places(batch.labels, loop.learners[0].num_classes, loop.device)
    with loop.forward.autocast():
        for trunk in loop.trunks:
            judged = [learner for learner in trunk.alive if learner.name in metrics or learner.name in logs]
            if not judged:
                continue
            context = trunk.context(seen.tokens, batch.anticipation_seconds, seen.sources, training=False)
            for learner in judged:
                learner.probe.eval()
                numbers = {}
                if dataset.split.labelled:
                    logits, loss = learner.judge(context, seen.labels, known=known)
                    numbers = {"loss": loss} | metrics[learner.name].judge(logits, seen.labels)
                else:
                    logits = learner.predict(context)
                logged = logits if learner.name in logs else {}
                answers.append(_Answer(learner=learner.name, numbers=numbers, logits=logged))
    return answers


def _known_places(
    labels: Mapping[str, Tensor], num_classes: Mapping[str, int], device: torch.device
) -> dict[str, Tensor]:
    """Places int64 [K] of the labels [B] that are classes of training, for tasks with others; found on the CPU."""
    known = {task: values < num_classes[task] for task, values in labels.items()}
    return {
        task: mask.nonzero().flatten().to(device, non_blocking=True) for task, mask in known.items() if not mask.all()
    }
