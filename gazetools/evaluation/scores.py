"""One row per scored head, and what is estimated from many of them: means, average precision, bootstrap intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gazetools.metrics.bootstrap import drawn_clusters, percentile_interval
from gazetools.metrics.gaze import inout_average_precision
from gazetools.schemas.evaluation import Estimate, Scored

Floats = npt.NDArray[np.float64]
MEANS = ("auc", "avg_l2", "min_l2", "angle_deg")
"""Metrics that every kind of truth may have; their estimates are means over heads."""


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """Scores of one head; NaN where a metric is not defined for it."""

    video_id: str
    frame: int
    track_id: int | None = None  # the person in the prediction; None: a picture of a benchmark
    true_track_id: int | None = None  # the same person in the ground truth
    block: str  # rows of one block are drawn together, because neighbouring frames are nearly copies of each other
    groups: dict[str, str] = field(default_factory=dict)  # kind of group -> group; all rows have the same kinds
    auc: float = math.nan
    avg_l2: float = math.nan
    min_l2: float = math.nan
    angle_deg: float = math.nan
    inout_true: float = math.nan  # 1 inside the frame, 0 outside
    inout_score: float = math.nan  # predicted probability of 1
    more: Mapping[str, float] = field(default_factory=dict)  # metrics of one benchmark alone; a missing one is NaN
    person: str = ""
    place: str = ""  # file and row of the annotation

    def value(self, metric: str) -> float:
        """One metric of this head; NaN where it is not defined."""
        return float(getattr(self, metric)) if metric in MEANS else self.more.get(metric, math.nan)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Rows and counts of an evaluation in progress."""

    rows: list[HeadScore] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # rows scored, and rows left out by reason
    failed: dict[str, str] = field(default_factory=dict)  # video id -> why it could not be scored


def estimates(rows: Sequence[HeadScore], *, resamples: int) -> dict[str, Estimate]:
    """Every metric that is defined for at least one row, with its interval over blocks."""
    block = blocks_of(rows)
    found = {}
    for name in (*MEANS, *sorted({name for row in rows for name in row.more})):
        values = np.array([row.value(name) for row in rows], np.float64)
        defined = np.isfinite(values)
        if defined.any():
            found[name] = mean_estimate(values[defined], block[defined], resamples)
    truth, score = np.array([(row.inout_true, row.inout_score) for row in rows], np.float64).T
    defined = np.isfinite(truth) & np.isfinite(score)
    if defined.any() and 0 < truth[defined].mean() < 1:  # with one class only, precision says nothing
        found["inout_ap"] = _average_precision(truth[defined], score[defined], block[defined], resamples)
    return found


def blocks_of(rows: Sequence[HeadScore]) -> npt.NDArray[np.intp]:
    """The number of each row's block, [N]."""
    return np.unique(np.array([row.block for row in rows], dtype=str), return_inverse=True)[1]


def group_estimates(rows: Sequence[HeadScore], *, resamples: int) -> dict[str, dict[str, dict[str, Estimate]]]:
    """`estimates` of every group of every kind, sorted by name, except kinds with a single group."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for kind in rows[0].groups:
        members: dict[str, list[HeadScore]] = {}
        for row in rows:
            members.setdefault(row.groups[kind], []).append(row)
        if len(members) > 1:
            found[kind] = {name: estimates(members[name], resamples=resamples) for name in sorted(members)}
    return found


def extremes(rows: Sequence[HeadScore], count: int) -> tuple[list[Scored], list[Scored]]:
    """The `count` best and worst rows by average L2, at most one per block, so that they differ."""
    ordered = sorted((row for row in rows if math.isfinite(row.avg_l2)), key=lambda row: row.avg_l2)
    return _distinct(ordered, count), _distinct(reversed(ordered), count)


def scored(row: HeadScore) -> Scored:
    """The entry of a row in the lists of best and worst."""
    auc = row.auc if math.isfinite(row.auc) else None
    return Scored(
        video_id=row.video_id,
        frame=row.frame,
        track_id=row.track_id,
        true_track_id=row.true_track_id,
        avg_l2=row.avg_l2,
        auc=auc,
        person=row.person,
        place=row.place,
    )


def l2_percentiles(rows: Sequence[HeadScore]) -> dict[str, float]:
    """The 80, 90, 95 and 99 % percentiles of average L2, interpolated linearly; empty where no row has one."""
    values = np.array([row.avg_l2 for row in rows], np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return {}
    return {str(share): float(np.percentile(values, share)) for share in (80, 90, 95, 99)}


def _distinct(rows: Iterable[HeadScore], count: int) -> list[Scored]:
    """The first `count` rows of different blocks."""
    chosen: dict[str, Scored] = {}
    for row in rows:
        if len(chosen) == count:
            break
        if row.block not in chosen:
            chosen[row.block] = scored(row)
    return list(chosen.values())


def mean_estimate(values: Floats, block: npt.NDArray[np.intp], resamples: int) -> Estimate:
    """The mean of `values` [N] with its interval over blocks [N]."""
    _, block = np.unique(block, return_inverse=True)
    sums, counts = np.bincount(block, values), np.bincount(block)
    means = []
    for drawn in drawn_clusters(len(counts), resamples):
        weights = np.bincount(drawn, minlength=len(counts))
        means.append(float(weights @ sums) / float(weights @ counts))
    return estimate(float(values.mean()), means, len(values))


def _average_precision(truth: Floats, score: Floats, block: npt.NDArray[np.intp], resamples: int) -> Estimate:
    """The average precision; its resamples weight the rows of drawn blocks, which are sorted once."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # the last row of each run of equal scores
    _, block = np.unique(block, return_inverse=True)
    blocks, inside = int(block.max()) + 1, truth[order] == 1
    precisions = []
    for drawn in drawn_clusters(blocks, min(resamples, 200)):
        weights = np.bincount(drawn, minlength=blocks)[block[order]]
        hits, all_rows = np.cumsum(weights * inside)[last], np.cumsum(weights)[last]
        if 0 < hits[-1] < all_rows[-1]:
            recall = np.diff(hits, prepend=0) / hits[-1]
            precisions.append(float(recall @ (hits / np.maximum(all_rows, 1))))
    return estimate(inout_average_precision(truth.tolist(), score.tolist()), precisions, len(truth))


def estimate(value: float, resampled: list[float], count: int) -> Estimate:
    """A value of `count` rows with the interval of its resamples; without any, none."""
    low, high = percentile_interval(resampled) if resampled else (None, None)
    return Estimate(value=value, low=low, high=high, count=count)
