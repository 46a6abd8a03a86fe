"""Heatmaps of known targets: one blob per target, or a blob along every cell of a segment."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats

SIZE = 64
SIGMA = 3
"""Sigma in cells of exp(-d^2 / 2 sigma^2), cut at 3 sigma, peak 1, as in Gaze-LLE's `get_heatmap`."""
_REACH = 3 * SIGMA
_FAR = 255 - _REACH**2
"""Larger than any squared distance within reach (162); 81 more still fits a byte."""
_BATCH = 32
"""Segments drawn at a time: their distances (200 KB) stay in the cache."""

Cells = npt.NDArray[np.int64]


def cells_of(xy: Floats) -> Cells:
    """Cell number row * 64 + column of targets [..., 2] given as fractions of the frame; -1 outside it or for NaN."""
    inside = np.logical_and.reduce((xy >= 0) & (xy < 1), axis=-1)
    cell = (np.where(inside[..., None], xy, 0.0) * SIZE).astype(np.int64)
    return np.where(inside, cell[..., 1] * SIZE + cell[..., 0], -1)


@lru_cache(maxsize=1)
def blobs() -> npt.NDArray[np.float16]:
    """float16 [4097, 64, 64]: the blob around each cell, and an empty map as the last (cell -1); 33 MB, made once."""
    offset = np.arange(SIZE)[None, :] - np.arange(SIZE)[:, None]  # [centre, place]
    squared = offset**2
    near = np.abs(offset) <= _REACH
    maps = np.zeros((SIZE * SIZE + 1, SIZE, SIZE), np.float16)
    for row in range(SIZE):
        both = near[row][None, :, None] & near[:, None, :]
        distance = squared[row][None, :, None] + squared[:, None, :]
        value = np.take(_value_of_distance(), distance, mode="clip")
        maps[row * SIZE : (row + 1) * SIZE] = np.where(both, value, np.float16(0))
    maps.flags.writeable = False
    return maps


def render(cells: Cells) -> npt.NDArray[np.float16]:
    """Maps [N, 64, 64] of one target each; `cells` [N] as from `cells_of`."""
    return blobs()[cells]


def render_segments(owner: Cells, cells: Cells, count: int) -> npt.NDArray[np.float16]:
    """Maps [count, 64, 64]: at every place the highest of the blobs around a map's cells.

    The highest blob is that of the nearest cell: squared distances, first down the columns, then along the rows
    (Felzenszwalb and Huttenlocher's separable distance transform). `owner` [M] is the map of each cell, ascending from
    0; `cells` [M] as from `cells_of`, none of them -1.
    """
    out = np.empty((count, SIZE, SIZE), np.float16)
    value = _value_of_distance()
    bounds = np.searchsorted(owner, range(0, count + _BATCH, _BATCH))
    for number, start in enumerate(range(0, count, _BATCH)):
        part = slice(bounds[number], bounds[number + 1])
        near = _squared_distances(owner[part] - start, cells[part], min(_BATCH, count - start))
        np.take(value, near, out=out[start : start + _BATCH], mode="clip")
    return out


@lru_cache(maxsize=1)
def _value_of_distance() -> npt.NDArray[np.float16]:
    """float16 [256]: the blob's height by squared distance in cells, 0 for numbers that mean out of reach."""
    squared = np.arange(256)
    value = np.exp(-squared / (2 * SIGMA**2)).astype(np.float16)
    value[squared > 2 * _REACH**2] = 0
    return value


def _squared_distances(owner: Cells, cells: Cells, count: int) -> npt.NDArray[np.uint8]:
    """uint8 [count, 64, 64]: squared distance to the nearest of a map's cells; over 162: none within reach."""
    y, x = np.divmod(cells, SIZE)
    down = np.full((count, SIZE + 2 * _REACH, SIZE + 2 * _REACH), _FAR, np.uint8)
    flat, stride = down.reshape(-1), SIZE + 2 * _REACH
    centre = (owner * stride + y + _REACH) * stride + x + _REACH
    for step in range(_REACH, -1, -1):  # nearer ones overwrite farther ones
        flat[centre - step * stride] = step * step
        flat[centre + step * stride] = step * step
    down = down[:, _REACH:-_REACH]
    near = down[:, :, _REACH:-_REACH].copy()
    for step in range(1, _REACH + 1):
        left, right = (down[:, :, place : place + SIZE] for place in (_REACH - step, _REACH + step))
        side = np.minimum(left, right) + np.uint8(step * step)
        np.minimum(near, side, out=near)
    return near
