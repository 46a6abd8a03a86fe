"""What happens to the numbers of a map: people to one map, resize, normalise, store type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.values import resize, to_float16, to_float32
from gazetools.schemas.dataset import Normalise, PackDtype
from gazetools.schemas.errors import DataFileError

__all__ = ["combine_people", "inverse_of", "normalise", "resize", "to_stored"]

Maps = npt.NDArray[np.float32]
UINT8_SCALE = 1 / 255
UINT8_MAX_ERROR = 1 / 510
"""Of a map value in 0..1 stored as round(255 x): half a step."""
_MAX_LOST_MASS = 0.01
_HALF_RELATIVE, _HALF_ABSOLUTE = 2.0**-11, 2.0**-25
"""Rounding to float16 moves a number by at most this share of it, below 2**-14 by at most this much."""


def combine_people(
    maps: Maps, first_of_frame: npt.NDArray[np.int64], weights: npt.NDArray[np.float32] | None, *, rule: str
) -> tuple[Maps, npt.NDArray[np.float32] | None]:
    """One map per frame from one map per person.

    Args:
        maps: float32 [n, H, W], the people of a frame next to each other.
        first_of_frame: int64 [f], ascending: where each frame's people begin; every frame has at least one.
        weights: float32 [n] in 0..1 (`--inout gate|weight`) or None.
        rule: `mean`, or anything else for the maximum (which leaves a single person's map as it is).

    Returns:
        Maps [f, H, W] combined with weights relative to the frame's largest, and that largest weight [f]. The caller
        multiplies by it *after* normalising: multiplied before, a division by max or sum would cancel it.
    """
    combine = np.add if rule == "mean" else np.maximum
    largest = None
    if weights is not None:
        largest = np.maximum.reduceat(weights, first_of_frame)
        counts = np.diff(np.append(first_of_frame, len(maps)))
        per_row = np.repeat(largest, counts)
        relative = np.divide(weights, per_row, out=np.zeros_like(weights), where=per_row > 0)
        maps = maps * relative[:, None, None]
    if len(first_of_frame) == len(maps):
        return maps, largest
    combined = combine.reduceat(maps, first_of_frame, axis=0)
    if rule == "mean":
        combined /= np.diff(np.append(first_of_frame, len(maps))).astype(np.float32)[:, None, None]
    return combined, largest


def normalise(maps: Maps, rule: Normalise, *, temperature: float = 1.0) -> Maps:
    """Each map of [n, H, W] (values >= 0) by itself; a map of zeros stays zeros under every rule.

    max: x / max(x). sum: x / sum(x). minmax: (x - min) / (max - min), zeros where a map is constant.
    softmax: exp((x - max) / temperature) / sum of the same. none: x.
    """
    if rule == "none" or not len(maps):
        return maps
    peak = maps.max(axis=(1, 2), keepdims=True)
    seen = peak > 0
    # where nothing is to be divided the numbers are 0 already: dividing them by 1 is faster than leaving them out
    if rule == "max":
        return np.divide(maps, np.where(seen, peak, np.float32(1)))
    if rule == "sum":
        # float64: a subnormal sum in float32 would lose the digits that make the result sum to 1
        total = maps.sum(axis=(1, 2), keepdims=True, dtype=np.float64)
        return np.divide(maps, np.where(seen, total, 1.0)).astype(np.float32)
    if rule == "minmax":
        low = maps.min(axis=(1, 2), keepdims=True)
        shifted = maps - low
        return np.divide(shifted, np.where(peak > low, peak - low, np.float32(1)), out=shifted)
    with np.errstate(over="ignore"):  # far below the peak of a cold softmax: exp(-inf) = 0 is right
        exponent = (maps.astype(np.float64) - peak) / temperature
    powers = np.exp(exponent)
    return np.where(seen, powers / powers.sum(axis=(1, 2), keepdims=True), 0.0).astype(np.float32)


def inverse_of(
    maps: Maps, rule: Normalise, *, temperature: float = 1.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(scale [n], offset [n]) that undo `normalise` of `maps`, exact up to the stored type.

    raw = stored * scale + offset; for softmax raw = temperature * ln(stored) + offset and scale is the temperature.
    """
    flat = maps.reshape(len(maps), -1)
    zero = np.zeros(len(maps), np.float32)
    if rule == "none" or not len(maps):
        return np.ones(len(maps), np.float32), zero
    if rule == "sum":
        return flat.sum(axis=1, dtype=np.float64).astype(np.float32), zero
    peak = flat.max(axis=1)
    if rule == "max":
        return peak, zero
    if rule == "minmax":
        low = flat.min(axis=1)
        return peak - low, low
    flat, peak = flat.astype(np.float64), peak.astype(np.float64)
    with np.errstate(over="ignore"):
        total = np.exp((flat - peak[:, None]) / temperature).sum(axis=1)
    return np.full(len(maps), temperature, np.float32), (peak + temperature * np.log(total)).astype(np.float32)


def to_stored(maps: Maps, dtype: PackDtype, *, sums_to_one: bool, where: str) -> npt.NDArray[np.generic]:
    """Maps in 0..1 in the dataset's type; uint8 is round(255 x), at most 1/510 off.

    Raises DataFileError where rounding to float16 would move more than 1 % of the mass of a map that sums to 1
    (`sums_to_one`): the values of large ones come near its smallest step, 6e-8.
    """
    if dtype == "float32":
        return np.ascontiguousarray(maps, dtype=np.float32)
    if dtype == "uint8":
        return np.rint(np.clip(maps, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    stored = to_float16(maps)
    # small maps can't lose that much, whatever is in them
    can_lose = _HALF_RELATIVE + _HALF_ABSOLUTE * maps[:1].size
    if sums_to_one and len(maps) and can_lose > _MAX_LOST_MASS:
        lost = float(np.abs(maps - to_float32(stored, 1.0)).sum(axis=(1, 2), dtype=np.float64).max())
        if lost > _MAX_LOST_MASS:
            raise DataFileError(
                f"{where}: float16 would move {lost:.1%} of the mass of a map of {maps.shape[1]}x{maps.shape[2]} that "
                f"sums to 1; {_MAX_LOST_MASS:.0%} is allowed.",
                hint="Pack with --dtype float32, a smaller --size or --normalize max.",
            )
    return stored
