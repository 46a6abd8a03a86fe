"""Which Aria glasses are the wearer's, where a capture has several: those whose clock fits the take's recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.eye_gaze import nearest_samples
from gazetools.egoexo.take import RGB_STREAM, Take
from gazetools.egoexo.trajectory import read_device_poses
from gazetools.io.tables import read_header, read_table
from gazetools.schemas.errors import DataFileError

Times = npt.NDArray[np.int64]

_SUFFIX = f"_{RGB_STREAM}_capture_timestamp_ns"
_CLEAR_SHARE = 0.05
"""Glasses are chosen by their clock where it fits this share of the frames more than any other's."""


@dataclass(frozen=True, kw_only=True)
class Glasses:
    """The wearer's glasses, and what their clock says."""

    name: str
    """Such as `aria01`."""
    times_us: Times
    """[R] device time of the read rows of timesync.csv in microseconds; -1 for empty cells."""
    notes: tuple[str, ...]
    """How they were chosen from several; empty where there was no choice."""


def wearer_glasses(take: Take, rows: tuple[int, int]) -> Glasses:
    """The wearer's glasses and their times in the rows [first, end) of timesync.csv.

    Candidates are all glasses with a column in timesync.csv, whatever takes.json lists: the wearer's video may not be
    downloaded or released. Of several the one is taken whose clock fits trajectory or eye gaze at clearly more frames;
    if that is not clear, the one whose VRS file takes.json names, or the only one that it lists.

    Raises DataFileError for a file without such a column, or where nothing tells which glasses are the wearer's.
    """
    path = take.require(take.timesync, "captures")
    there = [name.removesuffix(_SUFFIX) for name in read_header(path) if name.endswith(_SUFFIX)]
    if not there:
        names = ", ".join(f"{aria}{_SUFFIX}" for aria in take.arias) or f"NAME{_SUFFIX}"
        raise DataFileError(
            f"{path} has none of the columns {names}, so that no clock of the wearer's glasses is known.",
            hint=f"Get it again with: {take.download('captures')}",
            path=str(path),
        )
    table = read_table(path, required=(), optional=[name + _SUFFIX for name in there], rows=rows)
    times = {name: _microseconds(table.integers(name + _SUFFIX, empty=-1000)) for name in there}
    if len(there) == 1:
        listed = f"glasses: takes.json lists {', '.join(take.arias)}, timesync.csv has {there[0]} alone: they count"
        other = bool(take.arias) and there[0] not in take.arias
        return Glasses(name=there[0], times_us=times[there[0]], notes=(listed,) if other else ())
    name, why = _choose(take, times)
    others = ", ".join(sorted(set(there) - {name}))
    note = (
        f"glasses: timesync.csv has {', '.join(sorted(there))}; {name} are taken as the wearer's, not {others}: {why}"
    )
    return Glasses(name=name, times_us=times[name], notes=(note,))


def _microseconds(nanoseconds: Times) -> Times:
    return np.where(nanoseconds >= 0, (nanoseconds + 500) // 1000, -1)


def _choose(take: Take, times: Mapping[str, Times]) -> tuple[str, str]:
    """(name, reason) of the wearer's glasses among several."""
    fits, against = _fits(take, times)
    rows = max(len(next(iter(times.values()))), 1)
    said = ", ".join(f"{name} {fits[name]}" for name in sorted(fits))
    best, second, *_ = sorted(fits, key=lambda name: -fits[name])
    if fits[best] - fits[second] > _CLEAR_SHARE * rows:
        return best, f"its clock fits {against} (of {rows} frames: {said})"
    alike = [name for name in sorted(fits) if fits[best] - fits[name] <= _CLEAR_SHARE * rows]
    for named, where in (([take.recorded_aria], "takes.json names its VRS file"), (take.arias, "takes.json lists it")):
        if len(chosen := [name for name in alike if name in named]) == 1:
            return chosen[0], f"{where}, and the clocks don't tell (of {rows} frames: {said})"
    raise DataFileError(
        f"Take {take.name}: {take.timesync} has the glasses {', '.join(sorted(times))}, and which of them are the "
        f"wearer's is unknown: as many frames fit {against} by either clock (of {rows} frames: {said}).",
        hint=f"Get the recordings of the take with: {take.download('take_trajectory', 'take_eye_gaze')}",
        path=str(take.timesync),
    )


def _fits(take: Take, times: Mapping[str, Times]) -> tuple[dict[str, int], str]:
    """Frames at which each clock meets a recording of the take, and that recording's name."""
    every = np.concatenate(list(times.values()))
    if take.trajectory.is_file():
        known, against = _near_poses(take.trajectory, every), "the trajectory"
    elif (gaze := take.eye_gaze() or take.eye_gaze(flat=True)) is not None:
        table = read_table(gaze, required=("tracking_timestamp_us",))
        stamps = np.sort(table.integers("tracking_timestamp_us", empty=-1))
        known, against = nearest_samples(stamps[stamps >= 0], every)[0] >= 0, "the eye gaze"
    else:
        known, against = np.zeros(len(every), np.bool_), "trajectory or eye gaze (both are missing)"
    ends = np.cumsum([len(one) for one in times.values()])[:-1]
    counts = [int(part.sum()) for part in np.split(known, ends)]
    return dict(zip(times, counts, strict=True)), against


def _near_poses(path: Path, times_us: Times) -> npt.NDArray[np.bool_]:
    return read_device_poses(path, times_us).known
