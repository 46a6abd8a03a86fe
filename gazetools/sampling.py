"""Choose frames by their true times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def nearest_indices(
    pts_seconds: npt.NDArray[np.float64], wanted_seconds: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Index of the frame whose pts is nearest to each wanted time; of two equally near the earlier.

    `pts_seconds` [T] ascending, T >= 1; the result has the shape of `wanted_seconds`.

    >>> nearest_indices(np.array([0.0, 0.1, 0.2]), np.array([-1.0, 0.15, 0.16, 9.0]))
    array([0, 1, 2, 2])
    """
    right = np.clip(np.searchsorted(pts_seconds, wanted_seconds, side="left"), 1, max(len(pts_seconds) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(pts_seconds) - 1)
    nearer_right = (pts_seconds[right] - wanted_seconds) < (wanted_seconds - pts_seconds[left])
    return np.where(nearer_right, right, left).astype(np.int64)


def choose_frames(
    pts_seconds: npt.NDArray[np.float64],
    *,
    fps: float | None = None,
    stride: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> npt.NDArray[np.int64]:
    """Frames to process, ascending and each once: those with start <= pts < end, then thinned.

    `stride` keeps every N-th of them. `fps` keeps the frame nearest to each of first pts + k / fps; asking for more
    than the video has keeps all of them, once.
    """
    low = 0 if start is None else int(np.searchsorted(pts_seconds, start, side="left"))
    high = len(pts_seconds) if end is None else int(np.searchsorted(pts_seconds, end, side="left"))
    chosen = np.arange(low, high, stride or 1, dtype=np.int64)
    if fps is None or not len(chosen):
        return chosen
    times = pts_seconds[chosen]
    steps = int(np.floor((times[-1] - times[0]) * fps + 1e-6)) + 1
    grid = times[0] + np.arange(steps) / fps
    return chosen[np.unique(nearest_indices(times, grid))]


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` positions of 0..count-1, evenly spread, with both ends; empty for a count of 0.

    >>> spread(9, 3)
    [0, 4, 8]
    """
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(wanted, count)).round())] if count else []
