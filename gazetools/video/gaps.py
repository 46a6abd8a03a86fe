"""Gaps in the clock of a video: moments without frames in a stream whose frames otherwise come at one rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.schemas.video import Remark

GAP_PERIODS = 2.5
"""Distances of frames longer than so many usual ones are gaps."""
_UNEVEN = 0.02
"""Share of a period by which frame distances must differ to count as variable rate (rounding to ms is less)."""
_ROUNDING_SECONDS = 1.1e-3
_MOST_UNEVEN = 0.05
"""Share of uneven distances up to which a stream counts as one of constant rate; one is allowed in any."""
_NAMED = 5


def uneven_steps(steps: npt.NDArray[np.float64], period: float) -> npt.NDArray[np.bool_]:
    """Which distances of frames differ from the `period` by more than rounding."""
    return np.abs(steps - period) > np.maximum(_UNEVEN * period, _ROUNDING_SECONDS)


def has_one_rate(steps: npt.NDArray[np.float64], period: float) -> bool:
    """Whether nearly all distances of frames are one `period`."""
    return int(uneven_steps(steps, period).sum()) <= max(1, _MOST_UNEVEN * len(steps))


def gap_remark(pts_seconds: npt.NDArray[np.float64], fault: str | None) -> Remark | None:
    """The gaps of a stream that otherwise has one rate; None where there are none, or where the rate varies.

    With `fault`, which says what is wrong with the file's structure, frames were lost; else a recorder may have made
    the gaps, and the remark says only where they are.
    """
    steps = np.diff(pts_seconds)
    if len(steps) < 3:
        return None
    period = float(np.median(steps))
    after = np.flatnonzero(steps > (1.5 if fault else GAP_PERIODS) * period) + 1
    if not has_one_rate(steps, period):
        text = f"frames may be lost: {fault}; its rate varies, so that no gap shows where"
        return None if fault is None else Remark(code="video-frames-lost", text=text)
    if not len(after):
        return None
    lost = int(np.round(steps[after - 1] / period - 1).sum()) if period > 0 else 0
    places = [f"{pts_seconds[i - 1]:.3f} to {pts_seconds[i]:.3f} s (before frame {i})" for i in after[:_NAMED].tolist()]
    more = f" and {len(after) - _NAMED} more times" if len(after) > _NAMED else ""
    where = f"no frames from {', '.join(places)}{more}, about {lost} at its rate"
    if fault is None:
        return Remark(code="video-gaps", text=where, frames=tuple(after.tolist()))
    return Remark(code="video-frames-lost", text=f"frames are lost: {fault}; {where}", frames=tuple(after.tolist()))
