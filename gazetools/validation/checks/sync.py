"""Check of Ego-Exo4D: an exo video and the wearer's trajectory are in step, as measured from head boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.exo_view import ExoView, exo_view
from gazetools.egoexo.takes import take_of_video
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding
from gazetools.validation.subject import Floats, Ints, StoreColumns, Subject

MAX_OFFSET_FRAMES = 15
_MIN_FRAMES = 30
_MIN_MOTION = 0.05  # Motion in head heights; where the head moves less in the picture, no offset can be measured
_MAX_UNEXPLAINED = 0.5
"""Share of the expected motion; boxes with a larger mismatch at every offset do not follow the wearer."""
_GAIN = 0.75  # An offset is reported where it leaves less than this share of the mismatch at offset 0


@dataclass(frozen=True, kw_only=True)
class Offset:
    """The offset at which boxes and trajectory fit best."""

    frames: int
    """k: frame i of the video shows the head where the trajectory has it at frame i + k."""
    mismatch: float
    """Distance at this offset, in head heights, after a constant displacement is taken out (see `_spread`)."""
    mismatch_at_zero: float
    mismatch_at_one: float
    """As `mismatch`, at the offset 1: frame 0 is the row after timesync_start_idx."""
    motion: float
    """Spread of the expected motion itself: the mismatch of boxes that stand still."""

    @property
    def at_edge(self) -> bool:
        """Whether the best offset is the last one tried, so that the true one may be larger."""
        return abs(self.frames) == MAX_OFFSET_FRAMES


def measure_offset(frame: Ints, centre_xy: Floats, height: Floats, expected_xy: Floats) -> Offset | None:
    """The shift between boxes ([N], [N, 2] and [N] pixels) and expected head centres ([F, 2], NaN where unknown).

    A constant displacement (in head heights) is taken out first: detectors frame a head in their own way. None where
    fewer than 30 boxes have an expected place at every offset.
    """
    shifts = range(-MAX_OFFSET_FRAMES, MAX_OFFSET_FRAMES + 1)
    at = frame[:, None] + np.array(shifts)
    inside = (at >= 0) & (at < len(expected_xy))
    expected = np.where(inside[..., None], expected_xy[np.clip(at, 0, len(expected_xy) - 1)], np.nan)
    usable = np.isfinite(expected).all(axis=(1, 2)) & (height > 0)
    if usable.sum() < _MIN_FRAMES:
        return None
    apart = (centre_xy[usable, None] - expected[usable]) / height[usable, None, None]
    costs = [_spread(apart[:, column]) for column in range(len(shifts))]
    best = int(np.argmin(costs))
    return Offset(
        frames=shifts[best],
        mismatch=costs[best],
        mismatch_at_zero=costs[MAX_OFFSET_FRAMES],
        mismatch_at_one=costs[MAX_OFFSET_FRAMES + 1],
        motion=_spread(expected[usable, best] / height[usable, None]),
    )


def _spread(apart_xy: Floats) -> float:
    """Root mean square distance of points [N, 2] from their median, with outliers cut at 3 median distances."""
    distance = np.linalg.norm(apart_xy - np.median(apart_xy, axis=0), axis=1)
    return float(np.sqrt(np.mean(np.minimum(distance, 3 * np.median(distance)) ** 2)))


def check_sync(subject: Subject) -> Iterator[Finding]:
    """In Ego-Exo4D, boxes not made from the trajectory are where it puts the wearer's head; the best track counts."""
    columns, provenance = subject.columns, subject.provenance
    if columns is None or provenance is None or not len(columns.row_frame):
        return
    if subject.is_ground_truth or not provenance.heads.spec.startswith(("file:", "detect")):
        return
    path = subject.video.path if subject.video is not None else Path(provenance.video.path)
    try:
        take_of_video(path)
    except UsageError:
        return  # no Ego-Exo4D video: there is no trajectory to compare with
    facts = provenance.video
    try:
        view = exo_view(
            path,
            width=facts.width,
            height=facts.height,
            frame_count=facts.frame_count,
            rotation_degrees=facts.rotation_degrees,
        )
    except UsageError as error:
        yield subject.finding("sync-unknown", f"The offset to the trajectory can't be measured: {error.message}")
        return
    code, message = _judge(_best_track(columns, view, np.array([facts.width, facts.height] * 2, np.float64)))
    yield subject.finding(code, message)


def _judge(offset: Offset | None) -> tuple[str, str]:
    """(code, message) of the finding for a measured offset."""
    if offset is None:
        return "sync-unknown", "Too few head boxes lie where the trajectory is known."
    if offset.motion < _MIN_MOTION:
        return "sync-unknown", "The wearer's head moves too little in this view to tell an offset."
    clear = offset.mismatch < _GAIN * offset.mismatch_at_zero
    explained = offset.mismatch <= _MAX_UNEXPLAINED * offset.motion
    falls = f"the mismatch falls from {offset.mismatch_at_zero:.3f} to {offset.mismatch:.3f} head heights"
    if offset.at_edge and clear:
        # the true offset is not among those tried, so that even the best one may explain little
        code = "sync-offset" if explained else "sync-unknown"
        return code, (
            f"The best offset, {offset.frames:+d} frames, is at the edge of the search ({MAX_OFFSET_FRAMES} frames "
            f"either way), so that the true one may be larger: {falls}."
        )
    if not explained:
        best = f"the best is {offset.mismatch:.2f} head heights off where the head moves by {offset.motion:.2f}"
        return "sync-unknown", f"No track follows the wearer: {best}."
    if offset.frames and clear:
        row = " This is what `--first-row start+1` takes for frame 0." if offset.frames == 1 else ""
        return "sync-offset", (
            f"Frame i shows the wearer's head where the trajectory has it at frame i {offset.frames:+d}: {falls}.{row}"
        )
    return "sync-first-row", _supported_row(offset)


def _supported_row(offset: Offset) -> str:
    """Which row of timesync.csv the boxes support as that of frame 0, timesync_start_idx or the next one."""
    zero, one = offset.mismatch_at_zero, offset.mismatch_at_one
    facts = f"the mismatch is {zero:.3f} head heights with `start` and {one:.3f} with `start+1`"
    if min(zero, one) > _GAIN * max(zero, one):
        return f"Neither reading of timesync.csv's first row is clearly better: {facts}."
    better = "start" if zero < one else "start+1"
    return f"The boxes support `--first-row {better}`: {facts}."


def _best_track(columns: StoreColumns, view: ExoView, size: Floats) -> Offset | None:
    expected = (view.boxes.box_xyxy[:, :2] + view.boxes.box_xyxy[:, 2:]) / 2
    boxes: npt.NDArray[np.float64] = columns.row_box.astype(np.float64) * size
    found = []
    for track in np.unique(columns.row_track).tolist():
        rows = columns.row_track == track
        own = boxes[rows]
        offset = measure_offset(columns.row_frame[rows], (own[:, :2] + own[:, 2:]) / 2, own[:, 3] - own[:, 1], expected)
        if offset is not None:
            found.append(offset)
    return min(found, key=lambda one: one.mismatch / max(one.motion, 1e-9), default=None)
