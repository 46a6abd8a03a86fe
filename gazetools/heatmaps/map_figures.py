"""Figures of single heatmaps: sum, peak, centre of mass and spread, for a block of maps at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MapFigures:
    """Figures of n heatmaps; x to the right, y down, both in fractions of the frame's sides, cells at their centres.

    The mass of a map is its values divided by their sum. A map of zeros has no mass: sum and maximum are 0, all else
    is NaN, its peak has 0 cells. A broken map, with NaN, infinite or negative values, has NaN everywhere and 0 cells.
    """

    total: Floats
    """[n] sum of the values."""
    largest: Floats
    """[n]"""
    peak_xy: Floats
    """[n, 2] centre of the first cell, row by row, with the largest value."""
    peak_cells: npt.NDArray[np.int32]
    """[n] cells with the largest value; above 1 the peak is a tie."""
    centre_xy: Floats
    """[n, 2] centre of mass."""
    spread_xy: Floats
    """[n, 2] standard deviation of the mass along x and y, 0 for one cell; the extent of a cell is not added."""
    broken: npt.NDArray[np.bool_]

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """[n] whether a map is zero everywhere."""
        return np.asarray(self.total == 0)


def map_figures(maps: Maps) -> MapFigures:
    """The figures of float32 maps [n, H, W], n may be 0; sums are taken in float32 along one axis, then in float64.

    The figures of a map do not depend on the others of the block, not in the last bit.
    """
    count, height, width = maps.shape
    flat = maps.reshape(count, height * width)
    with np.errstate(invalid="ignore", over="ignore"):
        along_x = maps.sum(axis=1).astype(np.float64)
        along_y = maps.sum(axis=2).astype(np.float64)
    total = along_x.sum(axis=1)
    first = flat.argmax(axis=1)
    peak = flat[np.arange(count), first]
    broken = ~(np.isfinite(total) & (flat.min(axis=1, initial=np.inf) >= 0))
    usable = ~broken & (total > 0)
    cells = np.count_nonzero(flat == peak[:, None], axis=1).astype(np.int32)
    row, column = np.divmod(first, width)
    peak_xy = np.stack([(column + 0.5) / width, (row + 0.5) / height], axis=1)
    centre_x, spread_x = _moments(along_x, usable)
    centre_y, spread_y = _moments(along_y, usable)
    return MapFigures(
        total=np.where(broken, np.nan, total),
        largest=np.where(broken, np.nan, peak.astype(np.float64)),
        peak_xy=np.where(usable[:, None], peak_xy, np.nan),
        peak_cells=np.where(usable, cells, 0).astype(np.int32),
        centre_xy=np.stack([centre_x, centre_y], axis=1),
        spread_xy=np.stack([spread_x, spread_y], axis=1),
        broken=broken,
    )


def _moments(marginal: Floats, usable: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean and standard deviation [n] of marginal masses [n, k] over cell centres in 0..1; NaN where not `usable`."""
    places = (np.arange(marginal.shape[1]) + 0.5) / marginal.shape[1]
    share = np.full_like(marginal, np.nan)
    share[usable] = marginal[usable] / marginal[usable].sum(axis=1, keepdims=True)
    mean = np.einsum("nk,k->n", share, places)
    variance = np.einsum("nk,nk->n", share, (places - mean[:, None]) ** 2)
    return mean, np.sqrt(variance)
