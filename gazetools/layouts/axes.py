"""Orders of the axes of arrays that hold heatmaps, and how they become [T, H, W]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gazetools.io.arrays import AnyArray

ORDERS = ("HW", "THW", "T1HW", "THW1")
"""Orders of whole arrays that are read without `axes`, the first that fits; T1HW is torch's, THW1 TensorFlow's."""
FRAME_ORDERS = ("HW", "1HW", "HW1", "11HW", "1HW1")
"""Orders of the one map in each file of a folder of frames."""


@dataclass(frozen=True)
class AxisOrder:
    """An order such as `THW`."""

    letters: str
    """Each axis: T, H, W, or 1 for one of length 1. Without T the array is one map."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether `shape` has as many axes, those of the letter 1 with length 1, and none of length 0."""
        sizes = list(zip(self.letters, shape, strict=False))
        return len(shape) == len(self.letters) and all(n == 1 if c == "1" else n > 0 for c, n in sizes)

    def thw(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(T, H, W) of an array of a shape that fits."""
        sizes = dict(zip(self.letters, shape, strict=True))
        return sizes.get("T", 1), sizes["H"], sizes["W"]

    @property
    def in_order(self) -> bool:
        """Whether the elements lie in the order of [T, H, W], so that no axis must move."""
        return self.letters.replace("1", "") in ("THW", "HW")

    def arranged(self, array: AnyArray) -> AnyArray:
        """The array, whose shape fits, as [T, H, W] in C order."""
        letters = self.letters.replace("1", "")
        array = array.reshape([n for c, n in zip(self.letters, array.shape, strict=True) if c != "1"])
        if "T" not in letters:
            letters, array = "T" + letters, array[None]
        return np.ascontiguousarray(array.transpose([letters.index(axis) for axis in "THW"]))

    def __str__(self) -> str:
        return f"[{','.join(self.letters)}]"
