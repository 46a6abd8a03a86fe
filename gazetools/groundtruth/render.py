"""Heatmaps of known targets: one blob per target, or a blob along every cell of a segment."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats

SIZE = 64
SIGMA = 3
"""In cells; exp(-d^2 / 2 sigma^2) cut at 3 sigma, peak 1, as Gaze-LLE's `get_heatmap`."""


def cells_of(xy: Floats) -> npt.NDArray[np.int64]:
    """Cell number row * 64 + column of targets [..., 2] given as fractions of the frame; -1 outside it or for NaN."""
    inside = np.logical_and.reduce((xy >= 0) & (xy < 1), axis=-1)
    cell = (np.where(inside[..., None], xy, 0.0) * SIZE).astype(np.int64)
    return np.where(inside, cell[..., 1] * SIZE + cell[..., 0], -1)


@lru_cache(maxsize=1)
def blobs() -> npt.NDArray[np.float16]:
    """float16 [4097, 64, 64]: the blob around each cell, and an empty map as the last (cell -1); 33 MB, made once."""
    offset = np.arange(SIZE)[None, :] - np.arange(SIZE)[:, None]  # [centre, place]
    squared = offset**2
    near = np.abs(offset) <= 3 * SIGMA
    # exp is taken of the few squared distances that occur, not of 16 million cells
    value = np.exp(-np.arange(2 * (SIZE - 1) ** 2 + 1) / (2 * SIGMA**2)).astype(np.float16)
    maps = np.zeros((SIZE * SIZE + 1, SIZE, SIZE), np.float16)
    for row in range(SIZE):
        both = near[row][None, :, None] & near[:, None, :]
        distance = squared[row][None, :, None] + squared[:, None, :]
        maps[row * SIZE : (row + 1) * SIZE] = np.where(both, value[distance], np.float16(0))
    maps.flags.writeable = False
    return maps


def render(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Maps [N, 64, 64] of one target each; `cells` [N] as from `cells_of`."""
    return blobs()[cells]


def render_segment(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """One map [64, 64]: at every place the highest blob of the `cells` [K] (at least one); -1 adds nothing."""
    # float16 numbers >= 0 have the order of their bits, which compare many times faster
    bits = blobs().view(np.uint16)[cells]
    merged: npt.NDArray[np.uint16] = np.maximum.reduce(bits, axis=0)
    return merged.view(np.float16)
