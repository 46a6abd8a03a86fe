"""Percentile bootstrap (Efron 1979) that draws whole clusters: rows of one video, take or block are not independent.

Both ways to draw are seeded, with different streams: `evaluate` and `report` give the intervals of earlier versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def drawn_clusters(clusters: int, resamples: int, *, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """The clusters of each resample, int64 [clusters], drawn with replacement; none for fewer than two clusters."""
    random = np.random.default_rng(seed)
    for _ in range(resamples if clusters > 1 else 0):
        yield random.integers(0, clusters, clusters)


def drawn_counts(clusters: int, resamples: int, *, seed: int = 0) -> Floats:
    """How often each cluster is drawn in each resample, float64 [resamples, clusters]; the rows sum to `clusters`."""
    random = np.random.default_rng(seed)
    return random.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


def percentile_interval(values: Sequence[float] | Floats, *, tail: float = 0.025) -> tuple[float, float]:
    """(low, high): the share `tail` of the resampled `values` lies below, and as much above."""
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
