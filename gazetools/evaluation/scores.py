"""One row per scored head, and what is estimated from many of them: means, average precision, bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gazetools.metrics.gaze import inout_average_precision
from gazetools.schemas.evaluation import Estimate, Scored

MEANS = ("auc", "avg_l2", "min_l2", "angle_deg")
_INTERVAL = (2.5, 97.5)
_AP_RESAMPLES = 200
"""Average precision is no mean: every resample is sorted anew, so fewer are drawn."""


@dataclass
class Scores:
    """Columns of equal length; NaN where a metric is not defined for a row."""

    auc: list[float] = field(default_factory=list)
    avg_l2: list[float] = field(default_factory=list)
    min_l2: list[float] = field(default_factory=list)
    angle_deg: list[float] = field(default_factory=list)
    inout_true: list[float] = field(default_factory=list)
    inout_score: list[float] = field(default_factory=list)
    block: list[str] = field(default_factory=list)
    """Rows of one block are drawn together, because neighbouring frames are nearly copies of each other."""
    video_id: list[str] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Kind of group -> the row's group."""

    def __len__(self) -> int:
        return len(self.frame)

    def add(
        self,
        *,
        video_id: str,
        frame: int,
        block: str,
        groups: dict[str, str],
        auc: float = math.nan,
        avg_l2: float = math.nan,
        min_l2: float = math.nan,
        angle_deg: float = math.nan,
        inout_true: float = math.nan,
        inout_score: float = math.nan,
    ) -> None:
        """Append one row; every row must have the same kinds of groups."""
        self.auc.append(auc)
        self.avg_l2.append(avg_l2)
        self.min_l2.append(min_l2)
        self.angle_deg.append(angle_deg)
        self.inout_true.append(inout_true)
        self.inout_score.append(inout_score)
        self.block.append(block)
        self.video_id.append(video_id)
        self.frame.append(frame)
        for kind, name in groups.items():
            self.groups.setdefault(kind, []).append(name)

    def estimates(self, chosen: npt.NDArray[np.bool_] | None = None, *, resamples: int) -> dict[str, Estimate]:
        """Every metric that is defined for at least one of the `chosen` rows."""
        keep = np.ones(len(self), np.bool_) if chosen is None else chosen
        _, block = np.unique(np.array(self.block, dtype=object).astype(str), return_inverse=True)
        found = {}
        for name in MEANS:
            values = np.array(getattr(self, name), np.float64)
            rows = keep & np.isfinite(values)
            if rows.any():
                found[name] = _mean(values[rows], block[rows], resamples)
        truth, score = np.array(self.inout_true), np.array(self.inout_score)
        rows = keep & np.isfinite(truth) & np.isfinite(score)
        if rows.any() and 0 < truth[rows].mean() < 1:  # with one class only, precision says nothing
            found["inout_ap"] = _average_precision(truth[rows], score[rows], block[rows], resamples)
        return found

    def group_estimates(self, *, resamples: int) -> dict[str, dict[str, dict[str, Estimate]]]:
        """`estimates` of every group of every kind, sorted by name; kinds with a single group are left out."""
        out = {}
        for kind, names in self.groups.items():
            column = np.array(names, dtype=object)
            members = sorted(set(names))
            if len(members) > 1:
                out[kind] = {name: self.estimates(column == name, resamples=resamples) for name in members}
        return out

    def extremes(self, count: int) -> tuple[list[Scored], list[Scored]]:
        """The `count` best and worst rows by average L2, at most one per block, so that they differ."""
        values = np.array(self.avg_l2, np.float64)
        order = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
        order = order[np.isfinite(values[order])]
        return self._distinct(order, count), self._distinct(order[::-1], count)

    def _distinct(self, order: Sequence[int] | npt.NDArray[np.intp], count: int) -> list[Scored]:
        seen: set[str] = set()
        out: list[Scored] = []
        for row in order:
            if len(out) == count:
                break
            if self.block[row] not in seen:
                seen.add(self.block[row])
                auc = self.auc[row]
                out.append(
                    Scored(
                        video_id=self.video_id[row],
                        frame=self.frame[row],
                        avg_l2=self.avg_l2[row],
                        auc=auc if math.isfinite(auc) else None,
                    )
                )
        return out


def _mean(values: npt.NDArray[np.float64], block: npt.NDArray[np.intp], resamples: int) -> Estimate:
    """Mean and its interval from resampling whole blocks with replacement (seeded: equal calls give equal numbers)."""
    _, block = np.unique(block, return_inverse=True)
    sums, counts = np.bincount(block, values), np.bincount(block)
    low = high = None
    if resamples and len(counts) > 1:
        rng = np.random.default_rng(0)
        means = []
        for _ in range(resamples):
            drawn = np.bincount(rng.integers(0, len(counts), len(counts)), minlength=len(counts))
            means.append(float(drawn @ sums) / float(drawn @ counts))
        low, high = (float(value) for value in np.percentile(means, _INTERVAL))
    return Estimate(value=float(values.mean()), low=low, high=high, count=len(values))


def _average_precision(
    truth: npt.NDArray[np.float64], score: npt.NDArray[np.float64], block: npt.NDArray[np.intp], resamples: int
) -> Estimate:
    low = high = None
    blocks = np.unique(block)
    if resamples and len(blocks) > 1:
        rng = np.random.default_rng(0)
        rows_of = [np.flatnonzero(block == one) for one in blocks]
        drawn_values = []
        for _ in range(min(resamples, _AP_RESAMPLES)):
            rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(blocks), len(blocks))])
            if 0 < truth[rows].mean() < 1:
                drawn_values.append(inout_average_precision(truth[rows].tolist(), score[rows].tolist()))
        if drawn_values:
            low, high = (float(value) for value in np.percentile(drawn_values, _INTERVAL))
    value = inout_average_precision(truth.tolist(), score.tolist())
    return Estimate(value=value, low=low, high=high, count=len(truth))
