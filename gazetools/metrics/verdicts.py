"""What a contrast may be called: verdicts, saturation, the noise floor, Holm's correction, and trainings needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gazetools.metrics.crossed import MIN_SEEDS_FOR_P, CrossedEstimate, combined_df
from gazetools.schemas.report import Verdict

Varies = Literal["training", "initialisation"]
"""What differs between the trainings of an arm: all that a run's seed decides, or the initial weights alone."""
Saturation = Literal["full", "near", "none"]

MIN_CLUSTERS = 5
MIN_EFFECTIVE_CLUSTERS = 3
MAX_PLANNED_SEEDS = 64
_POWER = 0.8


def verdict_of(found: CrossedEstimate, *, margin: float | None, saturated: bool, varies: Varies) -> Verdict:
    """The verdict of a contrast; the first that applies, in the order of `Verdict`.

    `margin`: points within which a difference does not matter, declared before training; None: not declared.
    """
    if saturated:
        return "saturated"
    if found.clusters < MIN_CLUSTERS or found.effective_clusters < MIN_EFFECTIVE_CLUSTERS:
        return "too_few_clusters"
    if found.seeds < MIN_SEEDS_FOR_P or varies == "initialisation":
        return "too_few_seeds"
    if found.low is None or found.high is None or found.low90 is None or found.high90 is None:
        raise ValueError("a contrast of several clusters has intervals")
    if found.low > 0:
        return "gain"
    if found.high < 0:
        return "loss"
    if margin is not None and -margin < found.low90 and found.high90 < margin:
        return "equivalent"
    if margin is not None and found.high90 < margin:
        return "no_relevant_gain"
    return "no_evidence"


def saturation_of(classes: int, k: int) -> Saturation:
    """`full` where recall@k is 100 % whatever a model does; `near` where a random ranking has half of that or more."""
    if k >= classes:
        return "full"
    return "near" if 2 * k >= classes else "none"


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


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """How far trainings of one arm lie apart that differ in nothing but the seed, in points."""

    sd: float
    pairs: int
    mean_abs: float
    max_abs: float
    typical_95: float  # two new trainings differ by less in 95 %


def noise_floor(recall_by_seed: Sequence[float]) -> NoiseFloor | None:
    """The noise floor of an arm's recalls; None for fewer than two trainings."""
    from scipy.stats import t as student

    count = len(recall_by_seed)
    if count < 2:
        return None
    values = np.asarray(recall_by_seed, np.float64)
    first, second = np.triu_indices(count, 1)
    apart = np.abs(values[first] - values[second])
    sd = float(values.std(ddof=1))
    return NoiseFloor(
        sd=sd, pairs=len(apart), mean_abs=float(apart.mean()), max_abs=float(apart.max()),
        typical_95=float(student.ppf(0.975, count - 1)) * float(np.sqrt(2)) * sd,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Planning:
    """What a study of more trainings could find, from the variances of one that was run."""

    gain: float  # points that are to be found
    seed_sd: float  # of the paired difference between trainings, points
    var_clusters: float
    df_clusters: float

    def power(self, seeds: int) -> float:
        """Probability that the 95 % interval of `seeds` trainings lacks 0 where the true difference is `gain`."""
        from scipy.stats import nct
        from scipy.stats import t as student

        var_seeds = self.seed_sd**2 / seeds
        variance = var_seeds + self.var_clusters
        df = combined_df((var_seeds, seeds - 1), (self.var_clusters, self.df_clusters), seeds)
        if variance == 0:
            return 1.0 if self.gain else 0.05
        bound, shift = float(student.ppf(0.975, df)), abs(self.gain) / float(np.sqrt(variance))
        # scipy gives NaN for far tails on the other side of the shift, where the probability is below 1e-8.
        other_side = float(np.nan_to_num(nct.cdf(-bound, df, shift)))
        return float(nct.sf(bound, df, shift)) + other_side

    def seeds_needed(self) -> int | None:
        """Smallest number of trainings, 3 to 64, with a power of 80 %; None where 64 are too few."""
        candidates = range(MIN_SEEDS_FOR_P, MAX_PLANNED_SEEDS + 1)
        return next((seeds for seeds in candidates if self.power(seeds) >= _POWER), None)
