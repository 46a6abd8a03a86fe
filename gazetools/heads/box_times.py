"""Box files whose rows have times instead of frame numbers: each time must be that of a decoded frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heads.box_file import NEEDED, BoxFile, is_number
from gazetools.sampling import nearest_indices
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

_ROUNDING = 0.0015
"""Seconds that a time written with three decimals, and a pts, may be off by rounding."""
_SCALE = {"ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9}


def microseconds_of(file: BoxFile, line: int, name: str, cell: str) -> int:
    """A cell of the column `name` in microseconds: seconds, `HH:MM:SS.ss`, or as the end of the name says (`_ms`)."""
    parts = cell.split(":")
    signed = len(parts) > 1 and "-" in cell  # the sign of one part would be lost in the sum
    if signed or not 1 <= len(parts) <= 3 or not all(map(is_number, parts)):
        raise file.error(line, f"{excerpt(name)} is {excerpt(cell)}, no time such as 1.25 or 00:00:01.25")
    seconds = sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))
    ending = next((word for word in _SCALE if re.search(f"{word}$", name.lower().strip(" )]"))), "")
    if len(parts) == 1:
        seconds *= _SCALE.get(ending, 1.0)
    if abs(seconds) > 1e7:
        raise file.error(line, f"{excerpt(name)} is {excerpt(cell)}, no time in a video", hint=NEEDED)
    return round(seconds * 1e6)


def frames_at(
    path: Path, microseconds: npt.NDArray[np.int64], pts_seconds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], str]:
    """The frames [N] that the times [N] are those of, and what the times count from.

    They may count from the first frame, or be the container's own times; one of both must put every row within half a
    frame of one of `pts_seconds`. HeadsError where neither does, or both do with different frames.
    """
    seconds = microseconds / 1e6
    allowed = (float(np.median(np.diff(pts_seconds))) / 2 if len(pts_seconds) > 1 else 0.02) + _ROUNDING
    found: dict[str, npt.NDArray[np.int64]] = {}
    distances = []
    for words, start in (("times from the first frame", pts_seconds[0]), ("the container's times", 0.0)):
        frames = nearest_indices(pts_seconds, seconds + start)
        distance = np.abs(pts_seconds[frames] - seconds - start)
        distances.append(float(distance.max(initial=0.0)))
        if distances[-1] <= allowed and not any(np.array_equal(frames, other) for other in found.values()):
            found[words] = frames
    if not found:
        raise HeadsError(
            f"{path}: its times are not those of frames: one is {min(distances):.3f} s from the nearest; the video's "
            f"frames are at {pts_seconds[0]:.3f} to {pts_seconds[-1]:.3f} s.",
            hint=f"Are they in another unit (name the column time_ms), or of another video? {NEEDED}",
        )
    if len(found) > 1:
        raise HeadsError(
            f"{path}: its times fit the frames both from the first frame on and as the container's own times, which "
            f"begin at {pts_seconds[0]:.3f} s.",
            hint=NEEDED,
        )
    return next((frames, words) for words, frames in found.items())
