"""Stored numbers to float32 and back to float16, exactly and fast, and maps to another size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.arrays import AnyArray
from gazetools.schemas.dataset import PackDtype
from gazetools.schemas.errors import DataFileError

Maps = npt.NDArray[np.float32]
UINT8_SCALE = 1 / 255
UINT8_MAX_ERROR = 1 / 510
"""Largest error of a map value in 0..1 that is stored as round(255 x): half a step."""
_MAX_LOST_MASS = 0.01
_HALF_RELATIVE, _HALF_ABSOLUTE = 2.0**-11, 2.0**-25
"""Rounding to float16 moves a number by at most this share of it, below 2**-14 by at most this much."""
_HALF_INFINITY = 0x7C00
_ONE = 0x3F800000
_SMALLEST_NORMAL_HALF = 0x38800000  # bits of the float32 2**-14
_REBIAS = np.float32(2.0**112)
_SUBNORMAL = np.full(1, 2.0**-140, dtype=np.float32)


def to_float32(maps: AnyArray, scale: float) -> Maps:
    """`maps * scale` as a new float32 array of the same shape; exact for float16 with scale 1."""
    if maps.dtype == np.uint8:
        return (np.arange(256) * scale).astype(np.float32)[maps]
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which validate reports
        converted = _half_to_float32(maps) if maps.dtype == np.float16 else maps.astype(np.float32)
    if scale != 1.0:
        converted *= np.float32(scale)
    return converted


def to_float16(maps: Maps) -> npt.NDArray[np.float16]:
    """float32 -> float16 as `astype` rounds (to nearest, ties to even), up to four times faster for values in 0..1.

    A normal half is the float's bits with the exponent moved by 127-15 and 13 bits rounded away; adding half of the
    last kept bit, less one where that bit is even, rounds as IEEE 754 asks. Below 2**-14 a half counts steps of 2**-24,
    which is what a float32 in 0.5..1 counts in its last bit: adding 0.5 makes the FPU round.
    """
    bits = np.ascontiguousarray(maps).view(np.uint32)
    if not bits.size or int(bits.max()) > _ONE:  # signs, NaN and what is above 1 have larger bit patterns
        with np.errstate(over="ignore"):
            return maps.astype(np.float16)
    rounded = bits >> 13
    rounded &= 1
    rounded += bits
    rounded += np.uint32((0xFFF - (112 << 23)) % 2**32)
    rounded >>= 13
    small = bits < _SMALLEST_NORMAL_HALF
    if small.any():
        np.copyto(rounded, (bits.view(np.float32) + np.float32(0.5)).view(np.uint32) - 0x3F000000, where=small)
    return rounded.astype(np.uint16).view(np.float16)


def to_stored(maps: Maps, dtype: PackDtype, *, sums_to_one: bool, where: str) -> npt.NDArray[np.generic]:
    """Maps in 0..1 in the dataset's type; uint8 is round(255 x), at most UINT8_MAX_ERROR off.

    Raises DataFileError where float16 would move more than 1 % of the mass of a map with the sum 1 (`sums_to_one`).
    """
    if dtype == "float32":
        return np.ascontiguousarray(maps, dtype=np.float32)
    if dtype == "uint8":
        return np.rint(np.clip(maps, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    stored = to_float16(maps)
    # small maps can't lose that much, whatever their values
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


def scale_of(dtype: np.dtype[Any], where: object) -> float:
    """Factor of stored numbers without a manifest: 1/255 for uint8, else 1. DataFileError for other integers."""
    if dtype.kind not in "fb" and dtype != np.uint8:
        raise DataFileError(
            f"{where} holds {dtype} maps, whose scale is unknown.",
            hint="Store them as float16, float32 or uint8 (0..255 for 0..1).",
        )
    return UINT8_SCALE if dtype == np.uint8 else 1.0


def resize(maps: Maps, size_hw: tuple[int, int]) -> Maps:
    """Maps [n, h, w] resized to [n, H, W], bilinear with antialiasing and pixel centres at .5 (torch's interpolate)."""
    if maps.shape[1:] == size_hw:
        return maps
    if not len(maps):
        return np.zeros((0, *size_hw), dtype=np.float32)
    import torch

    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(maps))[:, None],
        size=size_hw,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return resized[:, 0].numpy()


def _half_to_float32(maps: AnyArray) -> Maps:
    """float16 -> float32, five times faster than numpy's cast for numbers that are finite and >= 0.

    A half's exponent and fraction, shifted into a float's place, give the number over 2^(127-15); the product is exact.
    """
    bits = np.ascontiguousarray(maps).view(np.uint16)
    # signs, infinities and NaN have other bit patterns; a thread that flushes subnormals would lose the smallest ones
    if not bits.size or int(bits.max()) >= _HALF_INFINITY or float((_SUBNORMAL * _REBIAS)[0]) == 0.0:
        return maps.astype(np.float32)
    shifted = bits.astype(np.uint32)
    shifted <<= 13
    converted = shifted.view(np.float32)
    converted *= _REBIAS
    return converted
