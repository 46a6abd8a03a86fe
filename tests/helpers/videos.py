"""Videos made of arrays, for tests of code that reads frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np

from gazetools.schemas.video import Frame


class ArrayVideo:
    """Behaves as VideoReader for `frames` uint8 [T, H, W, 3] at `rate` per second; records decoded frames."""

    def __init__(self, frames: np.ndarray, rate: int = 30) -> None:
        self.pixels = frames
        self.pts_seconds = np.arange(len(frames)) / rate
        self.info = SimpleNamespace(height=frames.shape[1], width=frames.shape[2], rate=Fraction(rate))
        self.decoded: list[int] = []

    def frames(self, indices: Any) -> Iterator[Frame]:
        for index in indices:
            self.decoded.append(int(index))
            yield Frame(index=int(index), pts_seconds=float(self.pts_seconds[index]), rgb=self.pixels[index])

    def close(self) -> None:
        pass
