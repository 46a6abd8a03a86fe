"""Rows of gaze targets, as both views make them for the store, and how to draw them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats

Frames = npt.NDArray[np.int64]
"""[N] indices of frames, ascending."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Gaze targets of one person at some frames of one video; N rows in frame order."""

    frame: Frames
    track_id: int
    box_xyxy: Floats
    """[N, 4] in 0..1; the whole frame where the head is not in the picture."""
    prompt: npt.NDArray[np.integer[Any]]
    """[N] a `Prompt` each: NONE where the head is not in the picture."""
    inout: Floats
    """[N] 1 inside the picture, 0 outside, NaN unknown."""
    maps: Callable[[int, int], npt.NDArray[np.float16]]
    """Heatmaps [n, 64, 64] of rows [start, stop); drawn when asked for, so that memory stays bounded."""
    extras: dict[str, npt.NDArray[Any]]
    """Further columns of the store, one entry per row."""
    counts: dict[str, float]
    notes: list[str]
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    """Those of `notes` that are choices which the user should see."""
    sources: dict[str, str]
    """Role -> sha256 of the recordings."""
    geometry: dict[str, Any]
    """Facts of the camera for the provenance; empty where unknown."""
