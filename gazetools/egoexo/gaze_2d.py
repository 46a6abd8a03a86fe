"""2-D gaze of Ego-Exo4D: the wearer's gaze in pixels of the wearer's own upright RGB picture, as released."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.eye_gaze import nearest_samples
from gazetools.egoexo.geometry import Floats
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError

Times = npt.NDArray[np.int64]

UPRIGHT_RGB = 1408
"""Side of the upright Aria RGB picture in pixels, which the released 2-D gaze refers to."""
SENSOR_RGB = 2880
"""Side of the sensor's full picture, to which the calibration in a VRS file may refer."""
_SPREAD = 0.17
"""Standard deviation of gaze around the middle of the picture, as a share of its side: half of it within 0.2."""
_MOST = 8.0
"""Largest part of one sample in the sum, so that a few glances aside do not decide."""


@dataclass(frozen=True, kw_only=True)
class Gaze2d:
    """2-D gaze in the wearer's own upright RGB picture."""

    times_us: Times
    """[S] -1 where the file has none."""
    uv: Floats
    """[S, 2] pixels of the 1408x1408 picture, beyond its edges too; NaN where unknown."""

    def of_frames(self, frame_count: int, times_us: Times | None) -> Floats:
        """Pixels [frame_count, 2]: by time (within 60 ms) where known, else row (i + 1) // 3, as the tutorial does."""
        if times_us is not None and (self.times_us >= 0).all() and len(self.times_us):
            rows, _ = nearest_samples(self.times_us, times_us)
        else:
            rows = (np.arange(frame_count) + 1) // 3  # 10 Hz: a row is three frames; the first copy is dropped
            rows = np.where(rows < len(self.uv), rows, -1)
        return np.vstack([self.uv, (np.nan, np.nan)])[rows]  # the last one stands for row -1


def read_gaze_2d(path: Path) -> Gaze2d:
    """Read `*_eye_gaze_2d.csv`. DataFileError for points that fit a picture of 2880 pixels better than one of 1408.

    People look past the edge of their picture, so that single points outside refuse nothing.
    """
    table = read_table(path, required=("x", "y"), optional=("tracking_timestamp_us",))
    uv = np.stack([table.floats("x"), table.floats("y")], axis=1)
    _refuse_other_calibration(path, uv)
    known = "tracking_timestamp_us" in table
    times = table.integers("tracking_timestamp_us", empty=-1) if known else np.full(len(table), -1)
    if (times >= 0).all():
        order = np.argsort(times, kind="stable")
        times, uv = times[order], uv[order]
    return Gaze2d(times_us=times, uv=uv)


def _refuse_other_calibration(path: Path, uv: Floats) -> None:
    """DataFileError where points [S, 2] lie over 1408 and all points together fit a side of 2880 better than 1408."""
    points = uv[np.isfinite(uv).all(axis=1)]
    outside = (points > UPRIGHT_RGB).any(axis=1)
    if not outside.any() or _misfit(points, UPRIGHT_RGB) <= _misfit(points, SENSOR_RGB):
        return
    middle = np.median(points, axis=0)
    raise DataFileError(
        f"{path}: {int(outside.sum())} of {len(points)} points lie over {UPRIGHT_RGB} pixels, the median is "
        f"({middle[0]:.0f}, {middle[1]:.0f}): they fit the sensor's {SENSOR_RGB}x{SENSOR_RGB} picture, not the "
        f"{UPRIGHT_RGB}x{UPRIGHT_RGB} one of the videos. Projections with the calibration of a VRS file, which is "
        f"sometimes of {SENSOR_RGB} pixels, are about 2.05 times too large; the released files are right "
        "(facebookresearch/Ego4d issue 392).",
        hint="Use the released file (--parts take_eye_gaze), or project again with the calibration scaled to "
        f"{UPRIGHT_RGB} pixels. The offset differs too, so that a division by 2.05 would be wrong.",
        path=str(path),
    )


def _misfit(points: Floats, side: int) -> float:
    """Mean negative log likelihood of points, up to a constant: a normal distribution around the picture's middle."""
    distance = (((points / side - 0.5) / _SPREAD) ** 2).sum(axis=1) / 2
    return float(np.minimum(distance, _MOST).mean() + 2 * np.log(side))
