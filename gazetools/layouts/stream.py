"""One video on its way into a dataset: the `MapStream` that a `VideoWriter` turns into files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int, int]
"""(T, H, W)"""


@dataclass(frozen=True, kw_only=True)
class MapStream:
    """One video on its way into a dataset."""

    shape: Shape
    dtype: np.dtype[Any]
    blocks: Iterator[npt.NDArray[np.generic]]
    """The maps in order, in blocks [n, H, W] of `dtype`; n sums to T."""
    member_names: tuple[str, ...]
    """Names of the arrays [T] next to the maps, keys of MEMBER_TYPES."""
    members: Callable[[], dict[str, npt.NDArray[Any]]]
    """Returns these arrays in this order; called once, after the last block. Where it raises, nothing is committed."""
    rows: Callable[[int, int], dict[str, npt.NDArray[Any]]]
    """Returns rows start to stop (not included) of these arrays, which `blocks` has passed already."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Checksum and size of a committed video."""

    sha256: str
    bytes: int


class VideoWriter(Protocol):
    """What writes the videos of one run."""

    def write(self, path: Path, stream: MapStream) -> Written:
        """Commit the video at `path`: the maps as `heatmap`, then the members; equal input gives equal bytes."""

    def keep(self, path: Path) -> bool:
        """Whether the video at `path`, written by an earlier run, can stay where it is."""

    def drop(self, path: Path) -> bool:
        """Remove what an earlier run wrote at `path`, whose video failed in this one; False: it stays."""

    def commit(self) -> None:
        """Called once, after the last video."""

    def close(self) -> None:
        """Remove what is not finished; called last, also after an error."""
