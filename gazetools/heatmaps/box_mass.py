"""Mass of heatmaps in boxes: a cell that a box covers in part counts by the covered share of its area."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
_AT_ONCE = 256
"""Maps that are gathered at once: 4 MiB at 64x64, which stay in the cache."""


def covered_cells(low: Floats, high: Floats, cells: int) -> Maps:
    """Share [m, cells] of each of `cells` equal parts of 0..1 that the intervals [low, high] cover, [m] each.

    >>> covered_cells(np.array([0.25]), np.array([1.0]), 2)
    array([[0.5, 1. ]], dtype=float32)
    """
    edges = np.arange(cells, dtype=np.float64)
    upper, lower = (np.clip(end[:, None] * cells - edges, 0.0, 1.0) for end in (high, low))
    return np.maximum(upper - lower, 0.0).astype(np.float32)


def mass_in_boxes(maps: Maps, row: npt.NDArray[np.int64], boxes: Floats, total: Floats) -> Floats:
    """Share [m] of the mass of `maps[row]` in boxes [m, 4] (xmin, ymin, xmax, ymax in 0..1); `total` [n] of each map.

    NaN where the total is 0 or NaN. What of a box lies outside the frame has no mass.
    """
    sums = np.empty(len(row), np.float64)
    height, width = maps.shape[1:]
    for start in range(0, len(row), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        along_y = covered_cells(boxes[part, 1], boxes[part, 3], height)
        along_x = covered_cells(boxes[part, 0], boxes[part, 2], width)
        columns = np.matmul(along_y[:, None, :], maps[row[part]])[:, 0]
        sums[part] = np.einsum("mw,mw->m", columns, along_x, dtype=np.float64)
    return divided(sums, total[row])


def cell_weights(boxes: Floats, size_hw: tuple[int, int]) -> Maps:
    """Covered share [H, W] of each cell by the union of boxes [k, 4]."""
    parts = disjoint(boxes)
    along_y = covered_cells(parts[:, 1], parts[:, 3], size_hw[0])
    along_x = covered_cells(parts[:, 0], parts[:, 2], size_hw[1])
    return np.einsum("kh,kw->hw", along_y, along_x)


def disjoint(boxes: Floats) -> Floats:
    """Boxes [r, 4] that do not overlap and cover what boxes [k, 4] cover together; one box is returned as it is."""
    if len(boxes) < 2:
        return boxes
    rows = []
    for low, high in pairwise(np.unique(boxes[:, [1, 3]])):
        inside = boxes[(boxes[:, 1] <= low) & (boxes[:, 3] >= high)]
        end = -np.inf
        for left, right in inside[np.argsort(inside[:, 0], kind="stable")][:, [0, 2]]:
            if right > max(end, left):
                rows.append((max(end, left), low, right, high))
            end = max(end, right)
    return np.array(rows, np.float64).reshape(-1, 4)


def divided(sums: Floats, total: Floats) -> Floats:
    """`sums / total`; NaN where the total is 0 or NaN."""
    with np.errstate(invalid="ignore"):
        return np.divide(sums, total, out=np.full(np.broadcast(sums, total).shape, np.nan), where=total > 0)
