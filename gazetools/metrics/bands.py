"""Simultaneous bands: intervals of one contrast at several horizons that hold all true values at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gazetools.metrics.crossed import MIN_SEEDS_FOR_P, Floats, Parts, total_variance

_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Band:
    """The band of a contrast at H horizons, in points; None where a horizon's value has no variance."""

    critical: float
    correlation: Floats  # [H', H'] of the horizons that have a variance
    df: float
    low: Sequence[float | None]
    high: Sequence[float | None]
    p: Sequence[float | None]  # share of draws whose largest deviation is at least this horizon's


def simultaneous_band(horizons: Sequence[Parts]) -> Band | None:
    """The 95 % band of contrasts that were measured on the same clips; None for fewer than 3 trainings or 2 clusters.

    The critical value is a quantile of the largest of correlated t values, drawn with a fixed seed.
    """
    if min(parts.seeds for parts in horizons) < MIN_SEEDS_FOR_P or horizons[0].clips.clusters < 2:
        return None
    variances = [total_variance(parts) for parts in horizons]
    varying = [place for place, (variance, _) in enumerate(variances) if variance > 0]
    if not varying:
        return None
    df = min(variances[place][1] for place in varying)
    covariance = _covariance([horizons[place] for place in varying])
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviation, deviation)
    largest = _largest_deviations(correlation, df)
    critical = float(np.quantile(largest, 0.95))
    low: list[float | None] = [None] * len(horizons)
    high, p = list(low), list(low)
    for place in varying:
        value, se = horizons[place].value, float(np.sqrt(variances[place][0]))
        low[place], high[place] = value - critical * se, value + critical * se
        p[place] = float((largest >= abs(value) / se).mean())
    return Band(critical=critical, correlation=correlation, df=df, low=low, high=high, p=p)


def _covariance(horizons: Sequence[Parts]) -> Floats:
    """Covariance [H, H] of the horizons' values over trainings and over clusters."""
    found = np.zeros((len(horizons), len(horizons)))
    for arm in zip(*(parts.trainings for parts in horizons), strict=True):
        found += np.atleast_2d(np.cov(np.stack(arm), ddof=1)) / len(arm[0])
    influence = np.stack([parts.influence for parts in horizons])
    count = influence.shape[1]
    return found + (count - 1) / count * influence @ influence.T


def _largest_deviations(correlation: Floats, df: float) -> Floats:
    """Largest absolute value of each drawn vector of correlated t values, [draws]."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    random = np.random.default_rng(0)
    normal = random.standard_normal((_DRAWS, len(correlation))) @ root.T
    return np.abs(normal).max(1) / np.sqrt(random.chisquare(df, _DRAWS) / df)
