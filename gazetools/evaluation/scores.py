"""One row per scored head, and what is estimated from many of them: means, average precision, bootstrap intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gazetools.metrics.bootstrap import drawn_clusters, percentile_interval
from gazetools.metrics.gaze import inout_average_precision
from gazetools.schemas.evaluation import Estimate, Scored

Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Rows and counts of an evaluation in progress."""

    rows: list[HeadScore] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # rows scored, and rows left out by reason
    failed: dict[str, str] = field(default_factory=dict)  # video id -> why it could not be scored


def estimates(rows: Sequence[HeadScore], *, resamples: int) -> dict[str, Estimate]:
    """Every metric that is defined for at least one row, with its interval over blocks."""
    _, block = np.unique(np.array([row.block for row in rows], dtype=str), return_inverse=True)
    found = {}
    for name in ("auc", "avg_l2", "min_l2", "angle_deg"):
        values = np.array([getattr(row, name) for row in rows], np.float64)
        defined = np.isfinite(values)
        if defined.any():
            found[name] = _mean(values[defined], block[defined], resamples)
    truth, score = np.array([(row.inout_true, row.inout_score) for row in rows], np.float64).T
    defined = np.isfinite(truth) & np.isfinite(score)
    if defined.any() and 0 < truth[defined].mean() < 1:  # with one class only, precision says nothing
        found["inout_ap"] = _average_precision(truth[defined], score[defined], block[defined], resamples)
    return found


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


def _distinct(rows: Iterable[HeadScore], count: int) -> list[Scored]:
    """The first `count` rows of different blocks."""
    chosen: dict[str, Scored] = {}
    for row in rows:
        if len(chosen) == count:
            break
        if row.block not in chosen:
            auc = row.auc if math.isfinite(row.auc) else None
            chosen[row.block] = Scored(
                video_id=row.video_id,
                frame=row.frame,
                track_id=row.track_id,
                true_track_id=row.true_track_id,
                avg_l2=row.avg_l2,
                auc=auc,
            )
    return list(chosen.values())


def _mean(values: Floats, block: npt.NDArray[np.intp], resamples: int) -> Estimate:
    _, block = np.unique(block, return_inverse=True)
    sums, counts = np.bincount(block, values), np.bincount(block)
    means = []
    for drawn in drawn_clusters(len(counts), resamples):
        weights = np.bincount(drawn, minlength=len(counts))
        means.append(float(weights @ sums) / float(weights @ counts))
    return _estimate(float(values.mean()), means, len(values))


def _average_precision(truth: Floats, score: Floats, block: npt.NDArray[np.intp], resamples: int) -> Estimate:
    rows_of = [np.flatnonzero(block == one) for one in np.unique(block)]
    precisions = []
    for drawn in drawn_clusters(len(rows_of), min(resamples, 200)):  # it is no mean: every resample is sorted anew
        rows = np.concatenate([rows_of[i] for i in drawn])
        if 0 < truth[rows].mean() < 1:
            precisions.append(inout_average_precision(truth[rows].tolist(), score[rows].tolist()))
    return _estimate(inout_average_precision(truth.tolist(), score.tolist()), precisions, len(truth))


def _estimate(value: float, resampled: list[float], count: int) -> Estimate:
    low, high = percentile_interval(resampled) if resampled else (None, None)
    return Estimate(value=value, low=low, high=high, count=count)
