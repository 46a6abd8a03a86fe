"""Measurements after an epoch and, with the chosen weights, at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gazetools.trainer.data.batch import WITHOUT_PARTNER
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.folder.predictions import PredictionLog, write_predictions
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.metrics import MetricSet
from gazetools.trainer.measure.split import validate
from gazetools.trainer.plan.arms import shuffled_source
from gazetools.trainer.plan.selection import HELD_OUT
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.processes.world import add_trees

WHOLE_TASKS = ("verb", "noun")  # all scores are kept: few classes, wanted by the EPIC-KITCHENS challenge


def split_key(dataset: ClipDataset) -> str:
    """Name of a split in metrics and files: `val_<anchor>`, `held_out`, `horizon_<seconds>` or `test`."""
    split = dataset.split
    if split.name == "horizon":
        return f"horizon_{split.anticipation_seconds[0]:g}"
    return split.name if split.name in (HELD_OUT, "test") else f"val_{split.anchor.name}"


def measure(loop: Loop, datasets: Sequence[ClipDataset]) -> dict[str, Any] | None:
    """Measure splits: `<split>_<metric>`, after `<learner>/` where there are several; None where a signal came.

    A learner whose loss is not finite is dropped and has no values. Raises FaultError where it is the last one.
    """
    measured: dict[str, Any] = {}
    for dataset in datasets:
        found = validate(loop, dataset)
        if found is None:
            return None
        key = split_key(dataset)
        for name, values in _finite(loop, found.values, key).items():
            measured |= {f"{prefix(loop, name)}{key}_{metric}": value for metric, value in values.items()}
        measured |= {f"{key}_{count}": value for count, value in found.counts.items()}
    return measured


def _finite(loop: Loop, values: Mapping[str, dict[str, float]], split: str) -> dict[str, dict[str, float]]:
    """The measures of the learners whose loss is finite; the others are dropped from the run."""
    kept = {}
    for learner in loop.learners:
        if learner.name not in values:
            continue
        loss = values[learner.name].get("loss", 0.0)
        if math.isfinite(loss):
            kept[learner.name] = values[learner.name]
        else:
            where = f"on {split} in epoch {loop.position.epoch + 1}"
            loop.drop(learner, f"loss {loss:g} {where}: not finite", state="The state after the last step is saved.")
    return kept


def training_values(loop: Loop) -> dict[str, Any]:
    """`train_*` of the epoch so far over all processes, and the learning rates. Every process must call it."""
    found: dict[str, Any] = {}
    parts = loop.world.gather({x.name: x.metrics.state() for x in loop.learners} | {"": loop.counts})
    for learner in loop.learners:
        if learner.learns:
            metrics = MetricSet.total(learner.num_classes, [part[learner.name] for part in parts])
            start = prefix(loop, learner.name)
            found |= {f"{start}train_{name}": value for name, value in metrics.values().items()}
            found |= {f"{start}{name}": value for name, value in learner.rates().items()}
    return found | {f"train_{name}": value for name, value in add_trees([part[""] for part in parts]).items()}


def without_failed(loop: Loop, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without those of learners that were dropped since they were counted."""
    gone = tuple(f"{learner.name}/" for learner in loop.learners if learner.failed is not None)
    return {name: value for name, value in values.items() if not name.startswith(gone)}


def flat_values(loop: Loop, final: Mapping[str, Any], *, start: str = "") -> dict[str, Any]:
    """The result of `final_evaluation` as `<model>/<start><split>_<metric>`."""
    return {
        f"{prefix(loop, name)}{start}{split}_{metric}": value
        for name, found in final.items()
        for split, values in found.items()
        for metric, value in values.items()
    }


def prefix(loop: Loop, name: str) -> str:
    """Prefix of a learner's metrics: empty in a run of one."""
    return f"{name}/" if len(loop.learners) > 1 else ""


def note_best(loop: Loop, entry: Mapping[str, Any], selecting: ClipDataset) -> list[str]:
    """Note every learner's best class-mean action recall on `selecting`, or its last epoch where that is to count.

    Returns the names of those that improved.
    """
    improved, split = [], split_key(selecting)
    for learner in loop.learners:
        if not learner.learns:
            continue
        start = prefix(loop, learner.name)
        metric = next(name for name in entry if name.startswith(f"{start}{split}_action_recall"))
        best = {"epoch": entry["epoch"], "metric": metric.removeprefix(start), "value": entry[metric]}
        best["loss"] = entry[f"{start}{split}_loss"]
        experiment = learner.spec.config.experiment
        if experiment.evaluation.choose == "last" or experiment.optimization.losses.classification == 0:
            # Without the probe's loss labels judge nothing that has trained.
            best |= {"metric": "epoch", "value": entry["epoch"]}
        # Equal recall, as with fewer classes than k, is decided by the loss.
        if learner.best is None or (best["value"], -best["loss"]) > (learner.best["value"], -learner.best["loss"]):
            learner.best = best
            improved.append(learner.name)
    return improved


def end_early(loop: Loop, entry: Mapping[str, Any], selecting: ClipDataset) -> list[str]:
    """End every model whose loss on `selecting` has not fallen for as long as it may wait; a sentence about each."""
    said, split = [], split_key(selecting)
    for learner in loop.learners:
        if learner.stop is None or not learner.learns:
            continue
        if learner.stop.ends(entry[f"{prefix(loop, learner.name)}{split}_loss"]):
            learner.ended = entry["epoch"]
            said.append(
                f"{learner.name} ends after epoch {learner.ended}: its loss on {split} has not fallen below "
                f"{learner.stop.lowest:.4f} for {learner.stop.waited} epoch(s) (early_stopping)."
            )
    return said


def final_evaluation(loop: Loop, datasets: Sequence[ClipDataset], plan: RunPlan) -> dict[str, dict[str, Any]] | None:
    """Measure every split and save predictions: learner -> split -> metrics and counts; None where a signal came."""
    final: dict[str, dict[str, Any]] = {learner.name: {} for learner in loop.learners if learner.failed is None}
    shuffled = {learner.name: shuffled_source(learner.spec) for learner in loop.learners}
    for dataset in datasets:
        key = split_key(dataset)
        top = loop.config.experiment.evaluation.save_top
        whole = WHOLE_TASKS if key.startswith("val_") or not dataset.split.labelled else ()
        names = [learner.name for learner in loop.learners if learner.failed is None]
        found = validate(loop, dataset, logs={name: PredictionLog(top=top, whole=whole) for name in names})
        if found is None:
            return None
        for name, values in _finite(loop, found.values, key).items():
            final[name][key] = {**values, **_own_counts(found.counts, shuffled[name])}
            if loop.world.leads:
                write_predictions(plan.folder.predictions(name, key), found.logs[name], dataset.split, plan.data)
    return {learner.name: final[learner.name] for learner in loop.learners if learner.failed is None}


def _own_counts(counts: Mapping[str, int], shuffled: str | None) -> dict[str, int]:
    """The data's counts, with `without_partner` of the source that the model sees shuffled."""
    shared = {name: value for name, value in counts.items() if not name.startswith(WITHOUT_PARTNER)}
    own = counts.get(f"{WITHOUT_PARTNER}{shuffled}") if shuffled else None
    return shared if own is None else {**shared, "without_partner": own}
