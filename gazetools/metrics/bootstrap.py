"""Percentile bootstrap (Efron 1979) that draws whole clusters: rows of one video, take or block are not independent.

Draws are seeded, so that `evaluate` gives the same intervals again.
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


def percentile_interval(values: Sequence[float] | Floats, *, tail: float = 0.025) -> tuple[float, float]:
    """(low, high): the share `tail` of the resampled `values` lies below, and as much above."""
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
