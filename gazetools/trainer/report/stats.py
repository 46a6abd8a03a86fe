"""Statistics over saved predictions: recall with cluster bootstrap intervals, paired contrasts, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.metrics.bootstrap import drawn_counts, percentile_interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its percentile interval, in percent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The difference of two arms on the same clips, in percentage points."""

    difference: Interval
    p_value: float  # two-sided, by exchanging the two arms' predictions of whole videos


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Hits of one arm on the N clips of one split."""

    hit: Floats  # [N] in 0..1: whether the true class was among the k best, as the mean over seeds
    label: Ints  # [N]: class of each clip
    cluster: Ints  # [N]: number of each clip's video (or take), in 0..clusters-1

    def tables(self) -> tuple[Floats, Floats]:
        """Hits and clips by cluster and class, [clusters, classes] each, of the classes that occur."""
        classes, column = np.unique(self.label, return_inverse=True)
        shape = (int(self.cluster.max()) + 1, len(classes))
        hits, totals = np.zeros(shape), np.zeros(shape)
        np.add.at(hits, (self.cluster, column), self.hit)
        np.add.at(totals, (self.cluster, column), 1.0)
        return hits, totals


def class_mean_recall(hits: Hits) -> float:
    """Mean over the classes that occur of the share of their clips that were hit, in percent (V-JEPA 2's figure)."""
    by_class, totals = (table.sum(0) for table in hits.tables())
    return float(100 * (by_class / totals).mean())


def _recalls(weights: Floats, hits: Floats, totals: Floats) -> Floats:
    """Class-mean recall of each resample, [resamples], over the classes that occur in it."""
    drawn = weights @ totals
    seen = drawn > 0
    shares = np.divide(weights @ hits, drawn, out=np.zeros_like(drawn), where=seen)
    return 100 * shares.sum(1) / np.maximum(seen.sum(1), 1)


def _interval(value: float, resampled: Floats) -> Interval:
    # The tail is not written 0.025, which differs in the last bit: the intervals are those of earlier versions.
    low, high = percentile_interval(resampled, tail=(1 - 0.95) / 2)
    return Interval(value=value, low=low, high=high)


def recall_interval(hits: Hits, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Class-mean recall with a 95 % interval from resampling whole clusters: clips of a video are not independent.

    Percentile bootstrap over clusters (Cameron, Gelbach & Miller 2008, section II).
    """
    by_class, totals = hits.tables()
    drawn = _recalls(drawn_counts(len(totals), resamples, seed=seed), by_class, totals)
    return _interval(class_mean_recall(hits), drawn)


def accuracy_interval(hits: Hits, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Share of clips that were hit, with a 95 % interval from resampling whole clusters."""
    by_class, totals = hits.tables()
    weights = drawn_counts(len(totals), resamples, seed=seed)
    drawn = 100 * (weights @ by_class.sum(1)) / (weights @ totals.sum(1))
    return _interval(float(100 * hits.hit.mean()), drawn)


def paired_contrast(first: Hits, second: Hits, *, resamples: int = 2000, seed: int = 0) -> Contrast:
    """Class-mean recall of `first` minus that of `second` on the same clips.

    The 95 % interval resamples clusters, the same ones for both. The p-value is that of a sign-flip test over clusters
    (scipy.stats.permutation_test, exact for few of them): a cluster's share of the difference changes its sign when
    the two arms' predictions on it are exchanged.
    """
    from scipy.stats import permutation_test

    if not (np.array_equal(first.label, second.label) and np.array_equal(first.cluster, second.cluster)):
        raise ValueError("a paired contrast needs the same clips in the same order")
    (hits, totals), (others, _) = first.tables(), second.tables()
    weights = drawn_counts(len(totals), resamples, seed=seed)
    drawn = _recalls(weights, hits, totals) - _recalls(weights, others, totals)
    value = class_mean_recall(first) - class_mean_recall(second)
    shares = 100 * ((hits - others) / totals.sum(0)).sum(1) / hits.shape[1]
    p_value = 1.0
    if shares.any() and len(shares) > 1:
        random = np.random.default_rng(seed)
        found = permutation_test((shares,), np.sum, permutation_type="samples", n_resamples=9999, rng=random)
        p_value = float(found.pvalue)
    return Contrast(difference=_interval(value, drawn), p_value=p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): the k-th smallest of m is multiplied by m - k + 1, kept monotone.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.zeros(len(p_values))
    scaled = np.arange(len(p_values), 0, -1) * np.asarray(p_values, np.float64)[order]
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, scaled))
    return adjusted.tolist()
