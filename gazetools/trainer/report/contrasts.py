"""Differences between arms: the primary contrast, the family of the others, the control, horizons, the noise floor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gazetools.metrics.bands import Band, simultaneous_band
from gazetools.metrics.verdicts import holm, noise_floor
from gazetools.trainer.report.compare import Comparison, Contrast
from gazetools.trainer.report.figures import Rows, horizons_of
from gazetools.trainer.report.load import Study
from gazetools.trainer.report.primary import ContrastKey, Primary

_ESTIMATE = ("se", "df", "low", "high", "low90", "high90", "p", "p_strict", "var_seeds", "var_clusters")


@dataclass(frozen=True, kw_only=True)
class Contrasts:
    """Contrasts of a study in points of recall@k."""

    study: Study
    comparison: Comparison
    primary: Primary
    baseline: str  # arm that all others are compared with
    split: str  # the split whose figures lead

    def rows(self) -> Rows:
        """Recall@k of every arm minus the baseline's on the leading split, and the primary contrast wherever it is.

        All but the primary contrast are one family: Holm's correction is over their `p_strict`.
        """
        found = self._contrasts(self.split)
        if not any(key == self.primary.key for key in found):
            found = {**self.primary_contrast(), **found}
        family = [key for key in found if key != self.primary.key or not self.primary.declared]
        p_values = {key: found[key].estimate.p_strict for key in family}
        corrected = {key: p for key, p in p_values.items() if p is not None}
        holm_p = dict(zip(corrected, holm(list(corrected.values())), strict=True))
        return [self._contrast_row(key, contrast, holm_p.get(key)) for key, contrast in found.items()]

    def primary_contrast(self) -> dict[ContrastKey, Contrast]:
        """The primary contrast under its key (arm, baseline, split, task); empty where the study lacks it."""
        first, second, split, task = self.primary.key
        there = all(self.study.of(arm, split) for arm in (first, second)) and split in self.study.splits
        if not there or task not in self._tasks(split):
            return {}
        return {self.primary.key: self.comparison.contrast(first, second, split, task)}

    def control_contrast(self) -> tuple[str, Contrast] | None:
        """The primary arm against the arm of maps without gaze, `shuffled` or else `zeros`; None without either."""
        first, second, split, task = self.primary.key
        for name in ("shuffled", "zeros"):
            if name not in (first, second) and self.study.of(name, split) and self.study.of(first, split):
                return name, self.comparison.contrast(first, name, split, task)
        return None

    def _contrasts(self, split: str) -> dict[ContrastKey, Contrast]:
        """(arm, baseline, split, task) -> the contrast, for every other arm that was measured on `split`."""
        baseline = self.baseline
        if not self.study.of(baseline, split):
            return {}
        arms = [arm for arm in self.study.arms if arm != baseline and self.study.of(arm, split)]
        return {
            (arm, baseline, split, task): self.comparison.contrast(arm, baseline, split, task)
            for task in self._tasks(split)
            for arm in arms
        }

    def _contrast_row(self, key: ContrastKey, contrast: Contrast, holm_p: float | None) -> dict[str, Any]:
        first, second, split, task = key
        estimate = contrast.estimate
        return {
            "contrast": f"{first} - {second}",
            "arm": first,
            "baseline": second,
            "primary": key == self.primary.key,
            "task": task,
            "metric": f"recall@{self.comparison.k}",
            "split": split,
            "difference": estimate.value,
            **{name: getattr(estimate, name) for name in _ESTIMATE},
            "p_holm": holm_p,
            "seeds": estimate.seeds,
            "paired": estimate.mode == "paired",
            "varies": contrast.varies,
            "clusters": estimate.clusters,
            "effective_clusters": estimate.effective_clusters,
            "scope": scope_of(contrast),
        }

    def horizon_rows(self) -> Rows:
        """The contrasts at every horizon, with the band that holds all horizons of one contrast at once."""
        at = {seconds: self._contrasts(split) for split, seconds in horizons_of(self.study)}
        members: dict[tuple[str, str, str], list[tuple[float, ContrastKey, Contrast]]] = {}
        for seconds, contrasts in at.items():
            for key, contrast in contrasts.items():
                members.setdefault((key[0], key[1], key[3]), []).append((seconds, key, contrast))
        rows = []
        for own in members.values():
            verdictless = any(contrast.varies == "initialisation" for *_, contrast in own)
            band = None if verdictless else simultaneous_band([contrast.parts for *_, contrast in own])
            rows += [
                {"seconds": seconds, **self._contrast_row(key, contrast, None), **_band_at(band, place)}
                for place, (seconds, key, contrast) in enumerate(own)
            ]
        return sorted(rows, key=lambda row: row["seconds"])

    def noise_floors(self) -> Rows:
        """Per arm and task how far its trainings lie apart that differ in nothing but the seed, in points."""
        rows: Rows = []
        for arm in self.study.arms:
            for task in self._tasks(self.split):
                floor = noise_floor(self.comparison.recall_by_training(arm, self.split, task))
                if floor is not None:
                    rows.append({"arm": arm, "task": task, **dataclasses.asdict(floor)})
        return rows

    def _tasks(self, split: str) -> list[str]:
        return self.study.predictions(split).tasks


def scope_of(contrast: Contrast) -> str:
    """What a contrast speaks of: `method`, `one_data_order` where only initialisations vary, or `these_models`."""
    if contrast.estimate.seeds < 2:
        return "these_models"
    return "one_data_order" if contrast.varies == "initialisation" else "method"


def _band_at(band: Band | None, place: int) -> dict[str, float | None]:
    if band is None:
        return {"band_low": None, "band_high": None, "p_band": None}
    return {"band_low": band.low[place], "band_high": band.high[place], "p_band": band.p[place]}
