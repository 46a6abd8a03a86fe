"""Where the wearer's eyes are at every frame of a take: frames -> timesync.csv -> trajectory -> central pupil frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import DEVICE_CPF, Poses
from gazetools.egoexo.glasses import wearer_glasses
from gazetools.egoexo.take import Take
from gazetools.egoexo.trajectory import MAX_GAP_US, DevicePoses, read_device_poses
from gazetools.io.byte_chunks import read_byte_chunks
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.heads import FirstRow

FIRST_ROW_SHIFT: dict[FirstRow, int] = {"start": 0, "start+1": 1}
"""Row of timesync.csv of frame 0, counted from timesync_start_idx. The dataset's metadata docs call that index the
take's first row; its gaze and EgoPose tutorials (facebookresearch/Ego4d, notebooks/egoexo) begin one row later."""
_NO_TIMES = np.zeros(0, np.int64)
_ROWS_TO_SPARE = 2
"""Frames at the end that may lack a row: the sources differ by one about the first row, and about the last."""


@dataclass(frozen=True, kw_only=True)
class FrameTimes:
    """Device times of the first N frames of a take's frame-aligned videos."""

    times_us: npt.NDArray[np.int64]
    """[N] microseconds of the device clock; -1 where timesync.csv has an empty cell or no row."""
    end_bound: str
    """The reading of timesync_end_idx that agrees with the video's frame count."""
    counts: dict[str, int]
    """`timesync_empty`, `timesync_no_row`: frames without a time, by reason."""
    glasses: str
    """Name of the wearer's glasses, such as `aria01`."""
    notes: tuple[str, ...]
    """How the glasses were chosen where there are several, and what timesync.csv lacks."""


@dataclass(frozen=True, kw_only=True)
class WearerTrack:
    """Poses T_world_cpf of the wearer at the frames of one video, and at gaze samples."""

    times: FrameTimes
    cpf: Poses
    known: npt.NDArray[np.bool_]
    counts: dict[str, int]
    """Frames without a pose, by reason."""
    sample_cpf: Poses
    """Poses at the times that were asked for in addition to the frames'."""
    sample_known: npt.NDArray[np.bool_]


def frame_times(take: Take, frame_count: int, *, first_row: FirstRow = "start") -> FrameTimes:
    """Frame i is row `timesync_start_idx + i`, or one later with `first_row` "start+1".

    Raises DataFileError: no file or column, or a frame count over 1 from `end - start`.
    """
    start, end = take.timesync_start, take.timesync_end
    if start is None or end is None or not 0 <= start < end:
        raise DataFileError(
            f"Take {take.name}: takes.json gives the timesync rows [{start}, {end}), which is no range.",
            hint=f"Get the current metadata with: {take.download('metadata')}",
        )
    excess = frame_count - (end - start)
    if abs(excess) > 1:  # published sources disagree on which of the three counts is right
        raise DataFileError(
            f"Take {take.name}: the video has {frame_count} frames, takes.json gives it {end - start} rows of "
            f"timesync.csv ([{start}, {end}), at most 1 more or less): which frame belongs to which row is unknown.",
            hint="Download the video again; if it stays so, leave this camera out.",
        )
    bound = {0: "N = end - start", 1: "N = end - start + 1 (end included)", -1: "N = end - start - 1"}[excess]
    first = start + FIRST_ROW_SHIFT[first_row]
    glasses = wearer_glasses(take, (first, first + frame_count))
    times = np.full(frame_count, -1, np.int64)
    times[: len(glasses.times_us)] = glasses.times_us
    empty, missing = int((glasses.times_us < 0).sum()), frame_count - len(glasses.times_us)
    notes = glasses.notes
    if missing > _ROWS_TO_SPARE:
        lacks = f"timesync.csv has no row for the last {missing} of {frame_count} frames; it seems to be cut."
        notes = (*notes, f"{lacks} Get it again with: {take.download('captures')}")
    return FrameTimes(
        times_us=times,
        end_bound=bound,
        counts={"timesync_empty": empty, "timesync_no_row": missing},
        glasses=glasses.name,
        notes=notes,
    )


def wearer_track(
    take: Take,
    frame_count: int,
    *,
    graph_uid: str,
    first_row: FirstRow = "start",
    sample_times_us: npt.NDArray[np.int64] = _NO_TIMES,
) -> WearerTrack:
    """The wearer's poses in the world `graph_uid`, at the frames and at `sample_times_us`.

    Raises DataFileError: a bad file, other worlds, times that don't meet.
    """
    path = take.require(take.trajectory, "take_trajectory")
    take.require(take.timesync, "captures")
    stamps = (path.stat().st_mtime_ns, path.stat().st_size, take.timesync.stat().st_mtime_ns)
    samples = np.ascontiguousarray(sample_times_us, np.int64).tobytes()
    return _wearer_track(take, frame_count, graph_uid, path, first_row, samples, stamps)


@lru_cache(maxsize=2)  # the cameras of a take share one track; reading a 10-minute trajectory takes a second
def _wearer_track(
    take: Take,
    frame_count: int,
    graph_uid: str,
    path: Path,
    first_row: FirstRow,
    samples: bytes,
    _stamps: tuple[int, ...],
) -> WearerTrack:
    times = frame_times(take, frame_count, first_row=first_row)
    wanted = np.concatenate([times.times_us, np.frombuffer(samples, np.int64)])
    device = read_device_poses(path, wanted, graph_uid=graph_uid, counted=frame_count)
    if not device.known[:frame_count].any():
        raise _no_pose(take, path, times, device, graph_uid)
    counts = {**times.counts, **{name: n for name, n in device.counts.items() if name != "no_time"}}
    cpf = device.poses.compose(DEVICE_CPF)
    return WearerTrack(
        times=times,
        cpf=cpf[:frame_count],
        known=device.known[:frame_count],
        counts=counts,
        sample_cpf=cpf[frame_count:],
        sample_known=device.known[frame_count:],
    )


def _no_pose(take: Take, path: Path, times: FrameTimes, device: DevicePoses, graph_uid: str) -> DataFileError:
    """The error for a track without a single pose, with the reason."""
    if device.counts["graph_mismatch"]:
        return DataFileError(
            f"{path} is of the world(s) {', '.join(device.graph_uids)}, but {take.calibration.name} is of {graph_uid}: "
            "coordinates of different worlds can't be mixed.",
            hint=f"Get both again with: {take.download('take_trajectory')}",
            path=str(path),
        )
    if device.counts["empty_pose"] and not device.counts["gap"]:
        return DataFileError(
            f"{path} has rows at the frames of take {take.name}, but no pose in them ({device.counts['empty_pose']} "
            "rows with an empty cell, or without a rotation).",
            hint=f"Get it again with: {take.download('take_trajectory')}",
            path=str(path),
        )
    wanted = times.times_us[times.times_us >= 0]
    if not wanted.size:
        return DataFileError(f"{take.timesync} has no time for any frame of take {take.name}.", path=str(take.timesync))
    places, chunks = read_byte_chunks(path, required=("tracking_timestamp_us",))
    stamps = np.concatenate([c.integers(places["tracking_timestamp_us"], "tracking_timestamp_us") for c in chunks])
    first, last = stamps.min(), stamps.max()
    unit = "" if 0.05 < wanted[0] / max(first, 1) < 20 else " One clock seems to be in another unit."
    return DataFileError(
        f"Take {take.name}: no pose lies within {MAX_GAP_US / 1000:g} ms of a frame. timesync.csv says frames are at "
        f"{wanted.min()} .. {wanted.max()} us, the trajectory has {first} .. {last} us.{unit}",
        hint=f"Get both again with: {take.download('captures', 'take_trajectory')}",
        path=str(path),
    )
