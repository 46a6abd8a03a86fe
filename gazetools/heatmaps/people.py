"""From the people of a frame to its one map, and the gate: how the in/out probability acts on maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gazetools.schemas.dataset import InOut

INSIDE = 0.5
"""Gaze-LLE's in/out probability from which on a gaze target counts as inside the frame."""
Maps = npt.NDArray[np.float32]
FloatT = TypeVar("FloatT", np.float32, np.float64)


def gate(inout: npt.NDArray[FloatT]) -> npt.NDArray[np.bool_]:
    """bool [n]: the target is inside the frame. False where `inout` is unknown (NaN)."""
    return inout >= INSIDE


def weight(inout: npt.NDArray[FloatT], rule: InOut) -> npt.NDArray[FloatT] | None:
    """Factor [n] of each map in 0..1 under `rule`; None for `keep`. An unknown `inout` (NaN) counts as 1."""
    if rule == "keep":
        return None
    known = np.nan_to_num(inout, nan=1.0)
    return gate(known).astype(inout.dtype) if rule == "gate" else known


def chosen_tracks(tracks: Mapping[int, str], people: str) -> list[int] | None:
    """Ids in `tracks` (id -> role) that the rule `PackOptions.people` names, maybe none; None: all (`max`, `mean`)."""
    if people in ("max", "mean"):
        return None
    if people == "wearer":
        return [track for track, role in tracks.items() if role == "wearer"]
    return [track for track in tracks if track == int(people)]


def combine_people(
    maps: Maps, first_of_frame: npt.NDArray[np.int64], weights: npt.NDArray[np.float32] | None, *, rule: str
) -> tuple[Maps, npt.NDArray[np.float32] | None]:
    """One map per frame from one map per person, [n, H, W] and weights [n] in 0..1, by the `mean` or the maximum.

    `first_of_frame` [f], ascending, says where each frame's people begin; every frame has at least one. Returns maps
    [f, H, W] combined with weights relative to the frame's largest, and that largest weight [f]. The caller multiplies
    by it *after* normalising: multiplied before, a division by max or sum would cancel it.
    """
    counts = np.diff(np.append(first_of_frame, len(maps)))
    largest = None
    if weights is not None:
        largest = np.maximum.reduceat(weights, first_of_frame)
        per_row = np.repeat(largest, counts)
        relative = np.divide(weights, per_row, out=np.zeros_like(weights), where=per_row > 0)
        maps = maps * relative[:, None, None]
    if len(first_of_frame) == len(maps):
        return maps, largest
    combined = (np.add if rule == "mean" else np.maximum).reduceat(maps, first_of_frame, axis=0)
    if rule == "mean":
        combined /= counts.astype(np.float32)[:, None, None]
    return combined, largest
