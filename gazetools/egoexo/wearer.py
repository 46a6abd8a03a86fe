"""Where the wearer's eyes are at every frame of a take: frames -> timesync.csv -> trajectory -> central pupil frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import DEVICE_CPF, Poses
from gazetools.egoexo.take import RGB_STREAM, Take
from gazetools.egoexo.trajectory import MAX_GAP_US, DevicePoses, read_device_poses
from gazetools.io.byte_chunks import read_byte_chunks
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError


@dataclass(frozen=True, kw_only=True)
class FrameTimes:
    """Device times of the first N frames of a take's frame-aligned videos."""

    times_us: npt.NDArray[np.int64]
    """[N] microseconds of the device clock; -1 where timesync.csv has an empty cell or no row."""
    end_bound: str
    """The reading of timesync_end_idx that agrees with the video's frame count."""
    counts: dict[str, int]
    """`timesync_empty`, `timesync_no_row`: frames without a time, by reason."""


@dataclass(frozen=True, kw_only=True)
class WearerTrack:
    """Poses T_world_cpf of the wearer at the frames of one video."""

    times: FrameTimes
    cpf: Poses
    known: npt.NDArray[np.bool_]
    counts: dict[str, int]
    """Frames without a pose, by reason."""


def frame_times(take: Take, frame_count: int) -> FrameTimes:
    """Row `timesync_start_idx + i` is frame i; DataFileError: no file or column, or over 1 frame from `end - start`."""
    start, end = take.timesync_start, take.timesync_end
    if start is None or end is None or not 0 <= start < end:
        raise DataFileError(
            f"Take {take.name}: takes.json gives the timesync rows [{start}, {end}), which is no range.",
            hint=f"Get the current metadata with: egoexo -o {take.root} --parts metadata",
        )
    excess = frame_count - (end - start)
    if abs(excess) > 1:  # published sources disagree on which of the three counts is right
        raise DataFileError(
            f"Take {take.name}: the video has {frame_count} frames, takes.json gives it {end - start} rows of "
            f"timesync.csv ([{start}, {end}), at most 1 more or less): which frame belongs to which row is unknown.",
            hint="Download the video again; if it stays so, leave this camera out.",
        )
    bound = {0: "N = end - start", 1: "N = end - start + 1 (end included)", -1: "N = end - start - 1"}[excess]
    if not take.arias:
        raise DataFileError(f"Take {take.name}: takes.json lists no Aria glasses, so nobody's pose is known.")
    path = take.require(take.timesync, "captures")
    columns = [f"{aria}_{RGB_STREAM}_capture_timestamp_ns" for aria in take.arias]
    table = read_table(path, required=(), optional=columns, rows=(start, start + frame_count))
    present = [name for name in columns if name in table]
    if not present:
        raise DataFileError(
            f"{path} has none of the columns {', '.join(columns)}.", hint="Download the capture again.", path=str(path)
        )
    nanoseconds = table.integers(present[0], empty=-1000)
    times = np.full(frame_count, -1, np.int64)
    times[: len(nanoseconds)] = np.where(nanoseconds >= 0, (nanoseconds + 500) // 1000, -1)
    counts = {"timesync_empty": int((nanoseconds < 0).sum()), "timesync_no_row": frame_count - len(nanoseconds)}
    return FrameTimes(times_us=times, end_bound=bound, counts=counts)


def wearer_track(take: Take, frame_count: int, *, graph_uid: str) -> WearerTrack:
    """The wearer's poses in the world `graph_uid`; DataFileError: a bad file, other worlds, times that don't meet."""
    path = take.require(take.trajectory, "take_trajectory")
    take.require(take.timesync, "captures")
    stamps = (path.stat().st_mtime_ns, path.stat().st_size, take.timesync.stat().st_mtime_ns)
    return _wearer_track(take, frame_count, graph_uid, path, stamps)


@lru_cache(maxsize=2)  # the cameras of a take share one track; reading a 10-minute trajectory takes a second
def _wearer_track(take: Take, frame_count: int, graph_uid: str, path: Path, _stamps: tuple[int, ...]) -> WearerTrack:
    times = frame_times(take, frame_count)
    device = read_device_poses(path, times.times_us, graph_uid=graph_uid)
    if not device.known.any():
        raise _no_pose(take, path, times, device, graph_uid)
    counts = {**times.counts, **{name: n for name, n in device.counts.items() if name != "no_time"}}
    return WearerTrack(times=times, cpf=device.poses.compose(DEVICE_CPF), known=device.known, counts=counts)


def _no_pose(take: Take, path: Path, times: FrameTimes, device: DevicePoses, graph_uid: str) -> DataFileError:
    """The error for a track without a single pose, with the reason."""
    if device.counts["graph_mismatch"]:
        return DataFileError(
            f"{path} is of the world(s) {', '.join(device.graph_uids)}, but {take.calibration.name} is of {graph_uid}: "
            "coordinates of different worlds can't be mixed.",
            hint=f"Get both again with: {take.download('take_trajectory')}",
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
