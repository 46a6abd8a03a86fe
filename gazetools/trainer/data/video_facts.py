"""`VideoFacts`: what a run must know of a video so that it need not be opened again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """Facts of a video that are kept so that it need not be opened again."""

    pts_seconds: npt.NDArray[np.float64]
    """[N] Times of all its frames."""
    frame_hw: tuple[int, int]
    rate: Any
    """Frames per second as a fraction."""
    decoded_by: tuple[Any, ...]
    """Size and modification time of the file, stream and decoder, on which its frames depend; () where not needed."""
