"""The tables of a report: figures of arms, contrasts, horizons, groups and classes as rows of plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gazetools.schemas.report import ReportOptions
from gazetools.trainer.report.load import ModelOfRun, Study, hits_of, known_clips
from gazetools.trainer.report.stats import (
    Hits,
    accuracy_interval,
    class_mean_recall,
    holm,
    paired_contrast,
    recall_interval,
)
from gazetools.trainer.report.summary import PRIMARY_ARM, PRIMARY_TASK, Rows


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

    def saturated(self) -> list[str]:
        """Tasks for which recall@k is 100 % whatever a model does."""
        first = self.study.predictions(self.split)
        return [task for task in first.tasks if len(first.arrays[f"classes_{task}"]) <= self.options.k]

    def arms(self) -> Rows:
        """Per arm and task the mean over seeds with its interval, then each seed singly."""
        recall = (self.figure, recall_interval, self.options.k)
        measures = (recall, ("top-1", accuracy_interval, 1), ("top-5", accuracy_interval, 5))
        rows = []
        for arm in self.study.arms:
            models = self.study.of(arm, self.split)
            groups = [("all", models)] if len(models) > 1 else []
            for seed, group in [*groups, *((str(model.seed), [model]) for model in models)]:
                for task in self._tasks(self.split):
                    row: dict[str, Any] = {"arm": arm, "seed": seed, "task": task, **group[0].counts(self.split)}
                    for title, measure, best in measures:
                        found = measure(hits_of(group, self.split, task, best), resamples=self.options.resamples)
                        row |= {title: found.value, f"{title} low": found.low, f"{title} high": found.high}
                    value = float(np.mean([model.chosen_by.get("value", np.nan) for model in group]))
                    there = value if np.isfinite(value) else None
                    rows.append({**row, "chosen on": str(group[0].chosen_by.get("metric", "-")), "value there": there})
        return rows

    def contrasts(self, split: str | None = None) -> Rows:
        """Recall@k of every arm minus the baseline's on one split, Holm-corrected over the arms of each task."""
        split, baseline = split or self.split, self.options.baseline
        others = self.study.of(baseline, split)
        if not others:
            return []
        rows = []
        for task in self._tasks(split):
            arms = [arm for arm in self.study.arms if arm != baseline and self.study.of(arm, split)]
            reference = self._hits(others, split, task)
            hits = [self._hits(self.study.of(arm, split), split, task) for arm in arms]
            found = [paired_contrast(own, reference, resamples=self.options.resamples) for own in hits]
            corrected = holm([contrast.p_value for contrast in found])
            rows += [
                {
                    "contrast": f"{arm} - {baseline}",
                    "arm": arm,
                    "baseline": baseline,
                    "primary": arm == PRIMARY_ARM and task == PRIMARY_TASK,
                    "task": task,
                    "difference": contrast.difference.value,
                    "low": contrast.difference.low,
                    "high": contrast.difference.high,
                    "p": contrast.p_value,
                    "p (Holm)": holm_p,
                }
                for arm, contrast, holm_p in zip(arms, found, corrected, strict=True)
            ]
        return rows

    def horizons(self) -> Rows:
        """Recall@k of every arm and task at every horizon."""
        rows = []
        for split, seconds in self._horizons():
            for arm in self.study.arms:
                models = self.study.of(arm, split)
                for task in self._tasks(split) if models else ():
                    found = recall_interval(self._hits(models, split, task), resamples=self.options.resamples)
                    row = {"seconds": seconds, "arm": arm, "task": task, self.figure: found.value}
                    rows.append({**row, "low": found.low, "high": found.high})
        return rows

    def horizon_contrasts(self) -> Rows:
        """The contrasts at every horizon; Holm's correction is over the arms of one horizon and task."""
        return [{"seconds": seconds, **row} for split, seconds in self._horizons() for row in self.contrasts(split)]

    def groups(self) -> Rows:
        """Recall@k over classes by their training clips, and over participants that training lacks."""
        few, many = self.options.few_shot, self.options.many_shot
        rows = []
        for arm in self.study.arms:
            models = self.study.of(arm, self.split)
            first = models[0].splits[self.split]
            trained = {participant(name) for name in first.train_video_ids}
            unseen = np.array([participant(name) not in trained for name in first.video_ids])[first.arrays["video"]]
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
                    keep = members & known_clips(first)
                    row = {"arm": arm, "task": task, "group": name, "clips": int(keep.sum()), self.figure: None}
                    if keep.any():
                        row[self.figure] = class_mean_recall(self._hits(models, self.split, task, keep=keep))
                    rows.append(row)
        return rows

    def class_gains(self) -> Rows:
        """Recall@k of the primary arm minus the baseline's, class by class, for every task; the largest first."""
        study, baseline = self.study, self.options.baseline
        arm = PRIMARY_ARM if PRIMARY_ARM in study.arms else next((a for a in study.arms if a != baseline), None)
        others = study.of(baseline, self.split)
        if arm is None or not others or not study.of(arm, self.split):
            return []
        rows: Rows = []
        for task in self._tasks(self.split):
            mine, theirs = (self._hits(models, self.split, task) for models in (study.of(arm, self.split), others))
            known = others[0].splits[self.split].arrays[f"classes_{task}"]
            for label in np.unique(mine.label):
                chosen = mine.label == label
                shown = known[label].tolist() if label < len(known) else "unknown in training"
                gain = 100 * float(mine.hit[chosen].mean() - theirs.hit[chosen].mean())
                rows.append({"arm": arm, "task": task, "class": str(shown), "clips": int(chosen.sum()), "gain": gain})
        return sorted(rows, key=lambda row: -abs(row["gain"]))

    def curves(self) -> Rows:
        """Training and selection curves: loss and action recall of every reported model by epoch."""
        models = self.study.models
        return [{"arm": m.arm, "seed": m.seed, **entry} for m in models for entry in self.study.history_of(m)]

    def data(self) -> Rows:
        """Clips of every model and split, and how many lacked what."""
        keys = ("clips", "unreadable", "heatmap_missing", "heatmap_invalid_frames", "without_partner")
        return [
            {"arm": model.arm, "seed": model.seed, "split": split, **{key: values.get(key, 0) for key in keys}}
            for model in self.study.models
            for split, values in model.final.items()
        ]

    def _tasks(self, split: str) -> list[str]:
        return self.study.predictions(split).tasks

    def _hits(self, models: list[ModelOfRun], split: str, task: str, *, keep: Any = None) -> Hits:
        return hits_of(models, split, task, self.options.k, keep=keep)

    def _horizons(self) -> list[tuple[str, float]]:
        """(split, seconds before the action) of each horizon, ascending."""
        names = [name for name in self.study.splits if name.startswith("horizon_")]
        return sorted(((name, float(name.removeprefix("horizon_"))) for name in names), key=lambda item: item[1])


def participant(video_id: str) -> str:
    """Who is recorded: PXX of EPIC-KITCHENS' PXX_YY, the take of take/camera."""
    return video_id.split("/", maxsplit=1)[0] if "/" in video_id else video_id.split("_", maxsplit=1)[0]
