"""Estimates whose chance has two crossed sources, trainings and participants, with intervals that hold both.

One formula per quantity, none resamples: the variance over trainings is that of their mean, the variance over clusters
(participants, takes or videos) is the delete-one-cluster jackknife with the weights of the classes held, and their sum
has Satterthwaite's degrees of freedom, capped at 1.5 (S - 1) because a small variance over few trainings may be luck.
docs/statistics.md explains the procedure and has the measured coverage.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mode = Literal["paired", "unpaired", "single"]

_NO_VARIANCE = 1e-12  # points squared: what rounding leaves of a variance that is zero
_NO_DIFFERENCE = 1e-9  # points
MIN_SEEDS_FOR_P = 3
"""Trainings without which no p-value is given: with two, t quantiles are 6 and more."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The N clips that all models of a comparison were measured on."""

    weight: Floats  # [N], sum 1
    cluster: Ints  # [N] in 0..clusters-1

    @property
    def clusters(self) -> int:
        """Number of clusters, G."""
        return int(self.cluster.max()) + 1

    def by_cluster(self, values: Floats) -> Floats:
        """Sum of `values` [N] in each cluster, [G]."""
        return np.bincount(self.cluster, values, minlength=self.clusters).astype(np.float64)

    @cached_property
    def cluster_weight(self) -> Floats:
        """Share of the whole weight in each cluster, [G]."""
        return self.by_cluster(self.weight)

    @cached_property
    def effective_clusters(self) -> float:
        """Number of clusters of equal size that would be worth as much, in 1..G."""
        squares = self.by_cluster(self.weight**2)
        return float(squares.sum() ** 2 / (squares**2).sum())

    @property
    def cluster_df(self) -> float:
        """Degrees of freedom of a variance over the clusters."""
        return max(1.0, self.effective_clusters - 1)


def clips_of(label: Ints, cluster: Sequence[Hashable], *, by_class: bool = True) -> Clips:
    """Clips with class `label` [N] and cluster names [N]; weights make the hits' mean that over classes, or over clips.

    By class, a clip weighs 1 / (classes x clips of its class), so that the weighted mean of hits is class-mean recall.
    """
    numbers = np.unique(np.asarray(cluster), return_inverse=True)[1].reshape(-1).astype(np.int64)
    count = len(label)
    if not by_class:
        return Clips(weight=np.full(count, 1 / count), cluster=numbers)
    classes, place, members = np.unique(label, return_inverse=True, return_counts=True)
    return Clips(weight=1 / (len(classes) * members[place.reshape(-1)]), cluster=numbers)


@dataclass(frozen=True, kw_only=True)
class ArmHits:
    """Hits of the S trainings of one arm."""

    seeds: Sequence[Hashable]  # identity of each training; equal ones of two arms are paired
    hits: Floats  # [S, N] in 0..1


@dataclass(frozen=True, kw_only=True)
class CrossedEstimate:
    """A value in points with what is known of its chance; None: not given.

    `low`, `high` and `low90`, `high90` are the 95 % and the 90 % interval. `p` is two-sided; `p_strict` has at most
    S - 1 degrees of freedom, for families of several contrasts.
    """

    value: float
    mode: Mode
    seeds: int
    clusters: int
    effective_clusters: float
    se: float | None = None
    df: float | None = None
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    p: float | None = None
    p_strict: float | None = None
    var_seeds: float | None = None
    df_seeds: float | None = None
    var_clusters: float | None = None
    df_clusters: float | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an estimate is made of: a value for each training, and each cluster's influence."""

    mode: Mode
    seeds: int  # S; of an unpaired contrast the smaller number
    value: float
    trainings: Sequence[Floats] = field(default_factory=tuple)  # paired: one array [S]; unpaired: one of each arm
    influence: Floats  # [G]: sum over a cluster's clips of weight x (own value - mean), over 1 - the cluster's weight
    clips: Clips

    @property
    def var_seeds(self) -> float | None:
        """Variance of the value over trainings; None for a single training."""
        if not self.trainings:
            return None
        return _cut(sum(float(np.var(values, ddof=1)) / len(values) for values in self.trainings))

    @property
    def df_seeds(self) -> float | None:
        """Degrees of freedom of `var_seeds`: S - 1, or Welch's for two arms without common trainings."""
        if not self.trainings:
            return None
        parts = [(float(np.var(values, ddof=1)) / len(values), len(values) - 1) for values in self.trainings]
        below = sum(part**2 / df for part, df in parts)
        return sum(part for part, _ in parts) ** 2 / below if below > 0 else float(min(df for _, df in parts))

    @property
    def var_clusters(self) -> float:
        """Delete-one-cluster jackknife variance of the value."""
        count = len(self.influence)
        return _cut((count - 1) / count * float((self.influence**2).sum()))


def _cut(variance: float) -> float:
    return 0.0 if variance < _NO_VARIANCE else variance


def contrast_parts(first: ArmHits, second: ArmHits, clips: Clips) -> Parts:
    """Parts of the mean difference of two arms in points, over the trainings that both have, else over all of each."""
    common = [seed for seed in first.seeds if seed in set(second.seeds)]
    if len(common) >= 2 or (len(common) == 1 and min(len(first.seeds), len(second.seeds)) < 2):
        mine = first.hits[[list(first.seeds).index(seed) for seed in common]]
        theirs = second.hits[[list(second.seeds).index(seed) for seed in common]]
        differences = 100 * (mine - theirs)
        if len(common) == 1:
            return _parts("single", 1, differences.mean(0), (), clips)
        return _parts("paired", len(common), differences.mean(0), (differences @ clips.weight,), clips)
    values = 100 * (first.hits.mean(0) - second.hits.mean(0))
    seeds = min(len(first.seeds), len(second.seeds))
    if seeds < 2:
        return _parts("single", 1, values, (), clips)
    recalls = tuple(100 * arm.hits @ clips.weight for arm in (first, second))
    return _parts("unpaired", seeds, values, recalls, clips)


def _parts(mode: Mode, seeds: int, values: Floats, trainings: tuple[Floats, ...], clips: Clips) -> Parts:
    """`values` [N] in points are those of each clip, averaged over trainings."""
    value = float(clips.weight @ values)
    rest = 1 - clips.cluster_weight
    deviation = clips.by_cluster(clips.weight * values) - clips.cluster_weight * value
    influence = np.divide(deviation, rest, out=np.zeros_like(rest), where=rest > _NO_VARIANCE)
    return Parts(mode=mode, seeds=seeds, value=value, trainings=trainings, influence=influence, clips=clips)


def contrast(first: ArmHits, second: ArmHits, clips: Clips) -> CrossedEstimate:
    """The gain of `first` over `second` for a new training and a new participant's videos, in points."""
    return estimate(contrast_parts(first, second, clips))


def level(arm: ArmHits, clips: Clips) -> CrossedEstimate:
    """Recall (or accuracy) of an arm in percent; its interval is clipped to 0..100."""
    count = len(arm.hits)
    trainings = (100 * arm.hits @ clips.weight,) if count > 1 else ()
    found = estimate(_parts("paired" if count > 1 else "single", count, 100 * arm.hits.mean(0), trainings, clips))
    if found.low is None or found.high is None:
        return found
    return _without_test(found, low=max(0.0, found.low), high=min(100.0, found.high))


def _without_test(found: CrossedEstimate, *, low: float, high: float) -> CrossedEstimate:
    values = {**found.__dict__, "low": low, "high": high, "p": None, "p_strict": None, "low90": None, "high90": None}
    return CrossedEstimate(**values)


def estimate(parts: Parts) -> CrossedEstimate:
    """The estimate with its intervals and p-values; a single cluster gives the value alone."""
    from scipy.stats import t as student

    clips, value, seeds = parts.clips, parts.value, parts.seeds
    known: dict[str, float | None] = {}
    if clips.clusters > 1:
        df_clusters, variance, df = clips.cluster_df, *total_variance(parts)
        se = float(np.sqrt(variance))
        half, half90 = (float(student.ppf(q, df)) * se for q in (0.975, 0.95))
        known = {
            "se": se, "df": df, "low": value - half, "high": value + half, "low90": value - half90,
            "high90": value + half90, "var_seeds": parts.var_seeds, "df_seeds": parts.df_seeds,
            "var_clusters": parts.var_clusters, "df_clusters": df_clusters,
        }  # fmt: skip
        if seeds >= MIN_SEEDS_FOR_P:
            known |= {"p": two_sided_p(value, se, df), "p_strict": two_sided_p(value, se, min(df, seeds - 1.0))}
    return CrossedEstimate(
        value=value, mode=parts.mode, seeds=seeds, clusters=clips.clusters,
        effective_clusters=clips.effective_clusters, **known,
    )  # fmt: skip


def total_variance(parts: Parts) -> tuple[float, float]:
    """Variance over trainings and clusters together, and its degrees of freedom."""
    var_seeds, df_seeds = parts.var_seeds, parts.df_seeds
    var_clusters, df_clusters = parts.var_clusters, parts.clips.cluster_df
    if var_seeds is None or df_seeds is None:
        return var_clusters, df_clusters
    return var_seeds + var_clusters, combined_df((var_seeds, df_seeds), (var_clusters, df_clusters), parts.seeds)


def combined_df(over_seeds: tuple[float, float], over_clusters: tuple[float, float], seeds: int) -> float:
    """Satterthwaite's degrees of freedom of the sum of two (variance, degrees of freedom), at most 1.5 (S - 1)."""
    cap = 1.5 * (seeds - 1)
    below = sum(variance**2 / df for variance, df in (over_seeds, over_clusters))
    return min((over_seeds[0] + over_clusters[0]) ** 2 / below, cap) if below > 0 else cap


def two_sided_p(value: float, se: float, df: float) -> float:
    """p of Student's t for `value`; without any variance 1 for no difference, else 0."""
    from scipy.stats import t as student

    if se == 0:
        return 1.0 if abs(value) < _NO_DIFFERENCE else 0.0
    return float(2 * student.sf(abs(value) / se, df))
