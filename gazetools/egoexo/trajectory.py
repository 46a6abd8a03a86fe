"""closed_loop_trajectory.csv (1 kHz): the device pose nearest to each wanted time, of one world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats, Poses, rotation_from_quaternion
from gazetools.io.byte_chunks import read_byte_chunks
from gazetools.schemas.errors import DataFileError

MAX_GAP_US = 5000
"""Largest distance of a pose from the wanted time; at 1 kHz the nearest one lies within 0.5 ms."""
_POSE = tuple(f"{name}_world_device" for name in ("tx", "ty", "tz", "qx", "qy", "qz", "qw"))


@dataclass(frozen=True, kw_only=True)
class DevicePoses:
    """T_world_device at N wanted times."""

    poses: Poses
    known: npt.NDArray[np.bool_]
    """[N] False: no time, no row within 5 ms, an empty pose, or one of another world; translation is NaN there."""
    counts: dict[str, int]
    """Why poses are unknown: `no_time`, `gap`, `empty_pose`, `graph_mismatch`."""
    graph_uids: tuple[str, ...]
    """Worlds that occur in the whole file."""


def read_device_poses(
    path: Path, times_us: npt.NDArray[np.int64], *, graph_uid: str | None = None, counted: int | None = None
) -> DevicePoses:
    """Poses of `graph_uid` nearest to `times_us` (device clock, us; < 0: unknown); DataFileError: empty or unsorted.

    Only the first `counted` times enter `counts`; None: all.
    """
    places, chunks = read_byte_chunks(path, required=("graph_uid", "tracking_timestamp_us", *_POSE))
    count = len(times_us)
    order = np.argsort(times_us, kind="stable")
    wanted = times_us[order]
    distance = np.full(count, np.iinfo(np.int64).max)
    values = np.full((count, len(_POSE)), np.nan)
    of_graph = np.zeros(count, np.bool_)
    uids: dict[str, None] = {}
    last_time = np.zeros(1, np.int64)
    rows = 0
    for chunk in chunks:
        stamps = chunk.integers(places["tracking_timestamp_us"], "tracking_timestamp_us")
        if not len(stamps):
            continue
        previous = np.concatenate([last_time if rows else stamps[:1], stamps[:-1]])
        if (back := np.flatnonzero(stamps < previous)).size:
            message = f"{path}, line {chunk.lines[back[0]]}: tracking_timestamp_us goes backwards."
            raise DataFileError(message, hint="Download it again.", path=str(path))
        last_time = stamps[-1:]
        rows += len(stamps)
        names = chunk.text(places["graph_uid"])
        for name in names[:1].tolist() if (names == names[0]).all() else np.unique(names).tolist():
            uids.setdefault(name.decode("utf-8", "replace"))
        # wanted times whose nearest row may be in this chunk
        low = int(np.searchsorted(wanted, stamps[0] - MAX_GAP_US))
        high = int(np.searchsorted(wanted, stamps[-1] + MAX_GAP_US, side="right"))
        if low == high:
            continue
        part = wanted[low:high]
        right = np.clip(np.searchsorted(stamps, part), 1, max(len(stamps) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(stamps) - 1)
        nearest = np.where(np.abs(stamps[left] - part) <= np.abs(stamps[right] - part), left, right)
        gap = np.abs(stamps[nearest] - part)
        better = np.flatnonzero(gap < distance[low:high])
        if not better.size:
            continue
        chosen, place = nearest[better], better + low
        for column, name in enumerate(_POSE):
            values[place, column] = chunk.floats(places[name], name, chosen)
        distance[place] = gap[better]
        of_graph[place] = graph_uid is None or names[chosen] == graph_uid.encode()
    if not rows:
        raise DataFileError(f"{path} has no rows below its header.", hint="Download it again.", path=str(path))
    in_counts = order < (count if counted is None else counted)
    return _assemble(order, wanted, distance, values, of_graph, in_counts, tuple(uids))


def _assemble(
    order: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    distance: npt.NDArray[np.int64],
    values: Floats,
    of_graph: npt.NDArray[np.bool_],
    in_counts: npt.NDArray[np.bool_],
    uids: tuple[str, ...],
) -> DevicePoses:
    known = np.ones(len(wanted), np.bool_)
    counts = {}
    for reason, fault in (
        ("no_time", wanted < 0),
        ("gap", distance > MAX_GAP_US),
        ("empty_pose", ~(np.isfinite(values).all(axis=1) & (np.abs(values[:, 3:]).max(axis=1) > 1e-9))),
        ("graph_mismatch", ~of_graph),
    ):  # only the first reason of each time counts
        counts[reason] = int((known & fault & in_counts).sum())
        known &= ~fault
    back = np.argsort(order, kind="stable")
    values, known = values[back], known[back]
    quaternions = np.where(known[:, None], values[:, 3:], np.array([0.0, 0.0, 0.0, 1.0]))
    translation = np.where(known[:, None], values[:, :3], np.nan)
    poses = Poses(rotation=rotation_from_quaternion(quaternions), translation=translation)
    return DevicePoses(poses=poses, known=known, counts=counts, graph_uids=uids)
