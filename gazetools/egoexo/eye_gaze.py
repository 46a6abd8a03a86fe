"""Eye-gaze CSVs of both generations: yaw, pitch and credible depths in the central pupil frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats
from gazetools.io.tables import Table, read_table
from gazetools.schemas.errors import DataFileError

Times = npt.NDArray[np.int64]

MAX_AGE_US = 60_000
"""Gaze has 10 Hz: a sample further than this from a frame is no sample of it."""
EYE_DISTANCE_M = 0.063
MIN_VERGENCE = np.deg2rad(0.75)
MAX_DEPTH_M = 6.0
"""Guardrails of the Aria Gen-2 reader: below 0.75 degrees of vergence or beyond 6 m the two eyes give no depth."""
_VERGENCE = ("left_yaw_rads_cpf", "right_yaw_rads_cpf")
_EYES = tuple(f"t{axis}_{side}_eye_cpf" for side in ("left", "right") for axis in "xyz")


class DepthQuality(IntEnum):
    """Where a row's target depth comes from."""

    MEASURED = 0
    """From the eye tracking, within the guardrails."""
    POINTS = 1
    """The ray met a semi-dense point."""
    FIXED = 2
    """Assumed."""
    UNKNOWN = 3
    """None: the map shows the whole segment on which the target lies."""


@dataclass(frozen=True, kw_only=True)
class EyeGaze:
    """Gaze samples in time order."""

    path: Path
    generation: str
    """`depth` (one yaw) or `vergence` (a yaw per eye)."""
    times_us: Times
    """[S] device clock."""
    yaw: Floats
    """[S] radians, NaN where the tracker lost the eyes."""
    pitch: Floats
    depth_m: Floats
    """[S] Distance from the origin of the central pupil frame (CPF); NaN where it is not credible."""
    counts: dict[str, int]
    """rows, and why samples or depths don't count: nan_gaze, diverging, small_vergence, far, no_depth, unsorted."""


def nearest_samples(sample_times_us: Times, times_us: Times) -> tuple[Times, Times]:
    """Index of the sample nearest to each time (-1: none within 60 ms, or a time below 0) and its signed age in us."""
    if not len(sample_times_us):
        return np.full(len(times_us), -1), np.zeros(len(times_us), np.int64)
    right = np.clip(np.searchsorted(sample_times_us, times_us), 0, len(sample_times_us) - 1)
    left = np.maximum(right - 1, 0)
    closer = np.abs(sample_times_us[left] - times_us) <= np.abs(sample_times_us[right] - times_us)
    index = np.where(closer, left, right)
    age = times_us - sample_times_us[index]
    return np.where((times_us >= 0) & (np.abs(age) <= MAX_AGE_US), index, -1), age


def vergence_to_gaze(
    left_yaw: Floats, right_yaw: Floats, pitch: Floats, *, eye_distance_m: Floats | float = EYE_DISTANCE_M
) -> tuple[Floats, Floats]:
    """(yaw, depth) of the point where the two eyes' rays meet; depth is its distance from the CPF's origin.

    With D the distance of the eyes: den = tan(right) - tan(left), Z = D / den, X = D/2 (tan(left) + tan(right)) / den,
    Y = Z tan(pitch). Depth is negative or infinite where the eyes diverge or are parallel; yaw stays right, as
    tan(yaw) = (tan(left) + tan(right)) / 2 needs no depth.
    """
    tan_left, tan_right = np.tan(left_yaw), np.tan(right_yaw)
    mean = (tan_left + tan_right) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        z = eye_distance_m / (tan_right - tan_left)
        depth = z * np.sqrt(mean**2 + np.tan(pitch) ** 2 + 1)
    return np.arctan(mean), depth


def read_eye_gaze(path: Path) -> EyeGaze:
    """Read `general_eye_gaze.csv` or `personalized_eye_gaze.csv` of either generation; the header says which.

    A depth counts where it is > 0 and <= 6 m; with two yaws it is computed, for eyes that converge by 0.75 degrees.
    Raises DataFileError naming file and row for cells that are no numbers, angles in degrees, and missing columns.
    """
    table = read_table(
        path,
        required=("tracking_timestamp_us",),
        optional=("yaw_rads_cpf", "pitch_rads_cpf", "depth_m", *_VERGENCE, *_EYES),
    )
    two_eyes = all(name in table for name in _VERGENCE)
    if not two_eyes and "yaw_rads_cpf" not in table:
        raise DataFileError(
            f"{path} has neither yaw_rads_cpf nor left_yaw_rads_cpf and right_yaw_rads_cpf.",
            hint="Pass an eye-gaze file of the machine perception services.",
            path=str(path),
        )
    times = table.integers("tracking_timestamp_us", empty=-1)
    pitch = _angles(table, "pitch_rads_cpf")
    counts = {"rows": len(table)}
    if two_eyes:
        left, right = (_angles(table, name) for name in _VERGENCE)
        yaw, depth = vergence_to_gaze(left, right, pitch, eye_distance_m=_eye_distance(table))
        seen = np.isfinite(yaw) & np.isfinite(pitch)
        diverging = seen & (right <= left)
        weak = seen & ~diverging & (right - left < MIN_VERGENCE)
        depth[diverging | weak] = np.nan
        counts |= {"diverging": int(diverging.sum()), "small_vergence": int(weak.sum())}
    else:
        yaw = _angles(table, "yaw_rads_cpf")
        depth = table.floats("depth_m") if "depth_m" in table else np.full(len(table), np.nan)
        seen = np.isfinite(yaw) & np.isfinite(pitch)
        none = seen & ~(np.isfinite(depth) & (depth > 0))
        depth[none] = np.nan
        counts["no_depth"] = int(none.sum())
    far = seen & (depth > MAX_DEPTH_M)
    depth[far] = np.nan
    counts |= {"far": int(far.sum()), "nan_gaze": int((~seen).sum())}
    kept = times >= 0
    order = np.argsort(times, kind="stable")[int((~kept).sum()) :]
    counts["unsorted"] = int((np.diff(times[kept]) < 0).sum())
    return EyeGaze(
        path=path,
        generation="vergence" if two_eyes else "depth",
        times_us=times[order],
        yaw=np.where(seen, yaw, np.nan)[order],
        pitch=np.where(seen, pitch, np.nan)[order],
        depth_m=depth[order],
        counts=counts,
    )


def _angles(table: Table, name: str) -> Floats:
    if name not in table:
        raise DataFileError(f"{table.path} lacks the column {name}.", path=str(table.path))
    angles = table.floats(name)
    if (wrong := np.flatnonzero(np.abs(angles) >= np.pi / 2)).size:
        what = f"{angles[wrong[0]]} is no gaze angle in radians (below pi/2); are these degrees?"
        raise table.error(int(wrong[0]), name, what)
    return angles


def _eye_distance(table: Table) -> Floats | float:
    """Per row from the eyes' positions where the file has them, else 63 mm."""
    if not all(name in table for name in _EYES):
        return EYE_DISTANCE_M
    left, right = (np.stack([table.floats(name) for name in names], axis=1) for names in (_EYES[:3], _EYES[3:]))
    distance = np.linalg.norm(left - right, axis=1)
    return np.where((distance > 0.04) & (distance < 0.09), distance, EYE_DISTANCE_M)


def gaze_samples_hint(gaze: EyeGaze, frame_times_us: Times) -> str:
    """Both clocks, for the error that no gaze sample is near any frame."""
    stamps = gaze.times_us
    if not len(stamps):
        return f"{gaze.path} has no samples."
    alike = 0.05 < stamps[0] / max(int(frame_times_us[0]), 1) < 20
    unit = "" if alike else " One clock seems to be in another unit: microseconds are expected."
    return (
        f"{gaze.path}: no sample lies within {MAX_AGE_US // 1000} ms of a frame. Its samples are at {stamps[0]} .. "
        f"{stamps[-1]} us, the frames at {frame_times_us.min()} .. {frame_times_us.max()} us.{unit}"
    )
