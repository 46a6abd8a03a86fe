"""What a layout writes for one video: blocks of maps, the arrays that lie next to them, and what was committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Blocks = Iterator[npt.NDArray[np.generic]]
MEMBER_TYPES: dict[str, np.dtype[Any]] = {
    "valid": np.dtype(np.bool_),
    "inout": np.dtype(np.float32),
    "pts_seconds": np.dtype(np.float64),
    "norm_scale": np.dtype(np.float32),
    "norm_offset": np.dtype(np.float32),
}


@dataclass(frozen=True, kw_only=True)
class Members:
    """The arrays [T] beside the maps."""

    names: tuple[str, ...]
    collect: Callable[[], dict[str, npt.NDArray[Any]]]
    """Called once, after the last block; gives the arrays of `names` in this order, typed as in MEMBER_TYPES."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was committed."""

    sha256: str
    bytes: int
