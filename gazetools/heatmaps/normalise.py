"""Normalisations: rules that bring each map to a common scale by itself, and the numbers that undo them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.schemas.dataset import INVERSE_MEMBERS, NORMALISATION_NAMES, SUM_TO_ONE, Normalise

Maps = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating]


class Normalisation:
    """A rule for maps float32 [n, H, W], n > 0, values >= 0; this class is the rule `none`, others override it."""

    sentence = "as the model gave them (0..1)"
    """Description of the values in the dataset's README; `{temperature}` stands for the option."""
    members: tuple[str, ...] = ()
    """INVERSE_MEMBERS, or none where nothing can or need be undone."""
    formula = "raw = stored * norm_scale + norm_offset"
    """How to compute the raw map from the stored map and the members."""
    total: float | None = None
    peak: float | None = None
    low: float | None = None
    """Sum, largest and smallest value of each map that is not zero; None: any."""
    promise = ""
    """`total`, `peak` and `low` in words, as the end of a sentence "Maps ..."."""

    def apply(self, maps: Maps, temperature: float) -> Maps:
        """The normalised maps [n, H, W]; a map of zeros stays zeros."""
        return maps

    def inverse(self, maps: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        """(scale [n], offset [n]) that undo `apply` of `maps`, exact up to the stored type; see `formula`."""
        return np.ones(len(maps), np.float32), np.zeros(len(maps), np.float32)

    def weighted(self, scale: Numbers, offset: Numbers, weight: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        """The inverse of maps that were multiplied by `weight` [n] after normalising; NaN where it is 0."""
        known = weight > 0
        return np.where(known, scale / np.where(known, weight, 1), np.nan), np.where(known, offset, np.nan)


class _Max(Normalisation):
    """x / max(x)."""

    sentence, members = "each map divided by its maximum", INVERSE_MEMBERS
    peak, promise = 1.0, "have the peak 1"

    def apply(self, maps: Maps, temperature: float) -> Maps:
        peak = maps.max(axis=(1, 2), keepdims=True)
        # maps of zeros are divided by 1, which is faster than leaving them out
        return np.divide(maps, np.where(peak > 0, peak, np.float32(1)))

    def inverse(self, maps: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        return maps.max(axis=(1, 2)), np.zeros(len(maps), np.float32)


class _Sum(Normalisation):
    """x / sum(x)."""

    sentence, members = "each map divided by its sum", INVERSE_MEMBERS
    total, promise = 1.0, "sum to 1"

    def apply(self, maps: Maps, temperature: float) -> Maps:
        # float64: a subnormal sum in float32 would lose the digits that make the result sum to 1
        total = maps.sum(axis=(1, 2), keepdims=True, dtype=np.float64)
        return np.divide(maps, np.where(total > 0, total, 1.0)).astype(np.float32)

    def inverse(self, maps: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        total = maps.reshape(len(maps), -1).sum(axis=1, dtype=np.float64)
        return total.astype(np.float32), np.zeros(len(maps), np.float32)


class _MinMax(Normalisation):
    """(x - min) / (max - min); zeros where a map is constant."""

    sentence, members = "each map as (x - min) / (max - min)", INVERSE_MEMBERS
    peak, low, promise = 1.0, 0.0, "reach from 0 to 1"

    def apply(self, maps: Maps, temperature: float) -> Maps:
        peak, low = maps.max(axis=(1, 2), keepdims=True), maps.min(axis=(1, 2), keepdims=True)
        shifted = maps - low
        return np.divide(shifted, np.where(peak > low, peak - low, np.float32(1)), out=shifted)

    def inverse(self, maps: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        low = maps.min(axis=(1, 2))
        return maps.max(axis=(1, 2)) - low, low


class _Softmax(Normalisation):
    """exp((x - max) / temperature) / sum of the same."""

    sentence = "each map as softmax(x / temperature), temperature {temperature:g}"
    members, formula = INVERSE_MEMBERS, "raw = temperature * ln(stored) + norm_offset"
    total, promise = 1.0, "sum to 1"

    def apply(self, maps: Maps, temperature: float) -> Maps:
        peak = maps.max(axis=(1, 2), keepdims=True)
        powers = _powers(maps, peak, temperature)
        return np.where(peak > 0, powers / powers.sum(axis=(1, 2), keepdims=True), 0.0).astype(np.float32)

    def inverse(self, maps: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        flat = maps.reshape(len(maps), -1)
        peak = flat.max(axis=1, keepdims=True).astype(np.float64)
        offset = peak[:, 0] + temperature * np.log(_powers(flat, peak, temperature).sum(axis=1))
        return np.full(len(maps), temperature, np.float32), offset.astype(np.float32)

    def weighted(self, scale: Numbers, offset: Numbers, weight: Maps, temperature: float) -> tuple[Numbers, Numbers]:
        # the scale is no factor here: a weight moves the offset
        known = weight > 0
        return scale, np.where(known, offset - temperature * np.log(np.where(known, weight, 1)), np.nan)


NORMALISATIONS: dict[str, Normalisation] = {
    "none": Normalisation(), "max": _Max(), "sum": _Sum(), "minmax": _MinMax(), "softmax": _Softmax()
}  # fmt: skip
"""The rules by name; `schemas.dataset.NORMALISATION_NAMES` has the same names for settings."""


def register(name: str, rule: Normalisation) -> None:
    """Add a rule from outside the package for `pack --normalize NAME`. Raises ValueError where the name is taken."""
    NORMALISATION_NAMES.add(name)
    NORMALISATIONS[name] = rule
    if rule.total == 1:
        SUM_TO_ONE.add(name)


def normalise(maps: Maps, rule: Normalise, *, temperature: float = 1.0) -> Maps:
    """Maps [n, H, W] (values >= 0), each normalised by itself by the rule of this name; zeros stay zeros."""
    return NORMALISATIONS[rule].apply(maps, temperature) if len(maps) else maps


def _powers(maps: Maps, peak: Numbers, temperature: float) -> Numbers:
    """exp((x - peak) / temperature) in float64; far below the peak of a cold softmax exp(-inf) = 0 is right."""
    with np.errstate(over="ignore"):
        return np.exp((maps.astype(np.float64) - peak) / temperature)
