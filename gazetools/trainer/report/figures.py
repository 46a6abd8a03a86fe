"""The tables of a report: figures of arms, contrasts, horizons, groups and classes as rows of plain values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.metrics.crossed import Floats
from gazetools.metrics.verdicts import saturation_of
from gazetools.schemas.report import ReportOptions
from gazetools.trainer.folder.predictions import Predictions, class_text
from gazetools.trainer.report.compare import Comparison, known_clips, participants
from gazetools.trainer.report.load import ModelOfRun, Study

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Tables of a study; `recall@k` is the figure that contrasts, horizons and groups are about, in percent."""

    study: Study
    split: str  # the split whose figures lead
    options: ReportOptions

    @property
    def figure(self) -> str:
        """Name of the leading figure, such as `recall@5`."""
        return f"recall@{self.options.k}"

    @cached_property
    def comparison(self) -> Comparison:
        """Estimates of the study at the chosen k and clusters."""
        return Comparison(study=self.study, k=self.options.k, cluster=self.options.cluster)

    def saturation(self) -> dict[str, dict[str, Any]]:
        """Task -> `saturation` (`full`: recall@k is 100 % whatever a model does; `near`; `none`), classes, and what
        a random ranking gets in percent.
        """
        arrays, found = self.study.predictions(self.split).arrays, {}
        for task in self._tasks(self.split):
            classes = len(arrays[f"classes_{task}"])
            random = 100 * min(1.0, self.options.k / classes)
            found[task] = {
                "classes": classes, "saturation": saturation_of(classes, self.options.k), "random": random,
                "largest_k": max((classes - 1) // 2, 1),
            }  # fmt: skip
        return found

    def arms(self) -> Rows:
        """Per arm and task all trainings together with their interval, then each one singly."""
        measures = ((self.figure, self.options.k, True), ("top-1", 1, False), ("top-5", 5, False))
        rows = []
        for arm in self.study.arms:
            models = self.study.of(arm, self.split)
            groups = [("all", models)] if len(models) > 1 else []
            for seed, group in [*groups, *((self.study.label(model), [model]) for model in models)]:
                for task in self._tasks(self.split):
                    row: dict[str, Any] = {
                        "arm": arm, "seed": seed, "task": task, **self.comparison.counts(self.split)
                    }  # fmt: skip
                    for title, best, by_class in measures:
                        found = self.comparison.recall(group, self.split, task, k=best, by_class=by_class)
                        row |= {title: found.value, f"{title} low": found.low, f"{title} high": found.high}
                    value = float(np.mean([model.chosen_by.get("value", np.nan) for model in group]))
                    there = value if np.isfinite(value) else None
                    rows.append({**row, "chosen on": str(group[0].chosen_by.get("metric", "-")), "value there": there})
        return rows

    def horizons(self) -> Rows:
        """Recall@k of every arm and task at every horizon; the intervals are those of single points."""
        rows = []
        for split, seconds in horizons_of(self.study):
            for arm in self.study.arms:
                models = self.study.of(arm, split)
                for task in self._tasks(split) if models else ():
                    found = self.comparison.recall(models, split, task)
                    row = {"seconds": seconds, "arm": arm, "task": task, self.figure: found.value}
                    rows.append({**row, "low": found.low, "high": found.high})
        return rows

    def groups(self) -> Rows:
        """Recall@k over classes by their training clips, and over participants that training lacks."""
        few, many = self.options.few_shot, self.options.many_shot
        rows = []
        for arm in self.study.arms:
            models = self.study.of(arm, self.split)
            first = models[0].splits[self.split]
            unseen = unseen_participants(first)
            for task in first.tasks:
                counts, labels = first.arrays[f"train_count_{task}"], first.arrays[f"label_{task}"]
                shots = np.where(labels < len(counts), counts[np.minimum(labels, len(counts) - 1)], 0)
                groups = {
                    f"many-shot (> {many})": shots > many,
                    "medium-shot": (shots >= few) & (shots <= many),
                    f"few-shot (< {few})": shots < few,
                    "unseen participants": unseen,
                }
                for name, members in groups.items():
                    counted = int((members & known_clips(first)).sum())
                    value = self.comparison.group_recall(models, self.split, task, members)
                    rows.append({"arm": arm, "task": task, "group": name, "clips": counted, self.figure: value})
        return rows

    def class_gains(self, arm: str, baseline: str) -> Rows:
        """Recall@k of one arm minus another's, class by class, for every task; the largest first."""
        mine, theirs = self.study.of(arm, self.split), self.study.of(baseline, self.split)
        if not mine or not theirs:
            return []
        rows: Rows = []
        for task in self._tasks(self.split):
            gains = 100 * (self._mean_hits(mine, task) - self._mean_hits(theirs, task))
            first = theirs[0].splits[self.split]
            labels = first.arrays[f"label_{task}"][known_clips(first)]
            for label in np.unique(labels):
                chosen = labels == label
                named = class_text(first, task, label)
                row = {"arm": arm, "task": task, "class": named, "clips": int(chosen.sum())}
                rows.append({**row, "gain": float(gains[chosen].mean())})
        return sorted(rows, key=lambda row: -abs(row["gain"]))

    def curves(self) -> Rows:
        """Training and selection curves: loss and action recall of every reported model by epoch."""
        study = self.study
        return [{"arm": m.arm, "seed": study.label(m), **entry} for m in study.models for entry in study.history_of(m)]

    def data(self) -> Rows:
        """Clips of every model and split, and how many lacked what."""
        keys = ("clips", "unreadable", "heatmap_missing", "heatmap_invalid_frames", "without_partner")
        return [
            {
                "arm": model.arm,
                "seed": self.study.label(model),
                "split": split,
                **{key: values.get(key, 0) for key in keys},
            }
            for model in self.study.models
            for split, values in model.final.items()
        ]

    def _tasks(self, split: str) -> list[str]:
        return self.study.predictions(split).tasks

    def _mean_hits(self, models: list[ModelOfRun], task: str) -> Floats:
        """Share of an arm's models that hit each clip, [N]."""
        mean: Floats = np.mean(list(self.comparison.hits(models, self.split, task).values()), axis=0)
        return mean


def horizons_of(study: Study) -> list[tuple[str, float]]:
    """(split, seconds before the action) of each horizon, ascending."""
    names = [name for name in study.splits if name.startswith("horizon_")]
    return sorted(((name, float(name.removeprefix("horizon_"))) for name in names), key=lambda item: item[1])


def unseen_participants(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Whether training has no video of a clip's participant (where unknown: of its take), bool [N]."""
    trained = set(participants(predictions, training=True))
    unseen = np.array([who not in trained for who in participants(predictions)], dtype=bool)
    return unseen[predictions.arrays["video"]]
