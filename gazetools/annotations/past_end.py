"""Annotated actions that begin where their video has ended, and what probably went wrong, judged by all rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.annotations.segment import Segment

_SHOWN = 5
_MOST = 0.5
"""From this share of rows past the end on, all times are suspected, below it single rows."""
_FITS = 0.95
"""Share of the rows that another unit must bring into their videos to be named."""
_SHORTEST_SECONDS = 0.1
"""Median length of an action below which a unit is not believed."""
_USUAL_SECONDS = 2.0
"""Length of an action; of several units that fit, the one whose median length is nearest is named."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class KnownEnd:
    """The end of one video, in seconds of its annotations."""

    last_seconds: float
    """Time of the last frame."""
    period_seconds: float
    """Seconds for which a frame is shown, also the tolerance for rounded times."""
    rate: float = 0.0
    """Frames per second; 0: unknown."""

    @property
    def limit_seconds(self) -> float:
        """The first time that is past the end: one frame, which rounding explains, after the last has been shown."""
        return self.last_seconds + 2 * self.period_seconds

    def begins_past(self, segment: Segment) -> bool:
        """Whether no frame of the action is in the video."""
        return segment.start_seconds >= self.limit_seconds

    def runs_past(self, segment: Segment) -> bool:
        """Whether the action goes on after the video has ended."""
        return segment.stop_seconds > self.limit_seconds


Ends = Mapping[str, KnownEnd]
"""Video id -> its end, for videos whose end is known."""


def describe_rows(rows: Sequence[Segment], ends: Ends) -> str:
    """`line 5 (v1: 602 s to 604 s, its last frame is at 8.375 s)` for the first five of `rows`, then a count."""
    shown = [
        f"{row.title or f'row {row.row}'} ({row.video_id}{_line(row)}: {row.start_seconds:g} s to "
        f"{row.stop_seconds:g} s, its last frame is at {ends[row.video_id].last_seconds:.3f} s)"
        for row in rows[:_SHOWN]
    ]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return ", ".join(shown) + more


def _line(row: Segment) -> str:
    return "" if str(row.row) in row.title.split() else f", line {row.row}"


def likely_cause(rows: Sequence[Segment], past: Sequence[Segment], ends: Ends) -> str:
    """What to look at first, in a sentence: another unit of time, a cut file or another video, or single wrong rows.

    `rows` are all rows, `past` those of them that lie past the end of their video.
    """
    known = [row for row in rows if row.video_id in ends]
    if len(past) >= _MOST * len(known) and (unit := _other_unit(known, ends)) is not None:
        return unit
    videos = list(dict.fromkeys(row.video_id for row in past))
    by_video: dict[str, list[Segment]] = defaultdict(list)
    for row in known:
        by_video[row.video_id].append(row)
    counts = Counter(row.video_id for row in past)
    cut = [name for name in videos if counts[name] > 1 and counts[name] >= _MOST * len(by_video[name])]
    if cut:
        last = max(row.stop_seconds for row in by_video[cut[0]])
        which = f"{cut[0]!r}" + (f" (and {len(cut) - 1} more videos)" if len(cut) > 1 else "")
        return (
            f"The annotations of {which} go on to {last:g} s, its file ends at {ends[cut[0]].last_seconds:.3f} s: "
            "the file was cut (download it again), or the times belong to another video or another edit of it."
        )
    inside = [row for row in by_video[videos[0]] if not ends[row.video_id].begins_past(row)]
    if inside:
        return (
            f"The other {len(inside)} row(s) of {videos[0]!r} lie within it: correct the times of the rows named "
            "above, or get the whole video if it was cut."
        )
    return f"Check that the times and the file of {videos[0]!r} belong together."


def _other_unit(rows: Sequence[Segment], ends: Ends) -> str | None:
    """The unit in which nearly all rows would lie within their videos; None: there is none."""
    starts = np.array([row.start_seconds for row in rows])
    lengths = np.array([row.stop_seconds - row.start_seconds for row in rows])
    limits = np.array([ends[row.video_id].limit_seconds for row in rows])
    rates = np.array([ends[row.video_id].rate for row in rows])
    believed: list[tuple[float, int, str]] = []
    for divisors, text in _readings(rates, frames=bool((starts % 1 == 0).all())):
        fitting, length = int((starts / divisors < limits).sum()), float(np.median(lengths / divisors))
        if fitting >= _FITS * len(rows) and length >= _SHORTEST_SECONDS:
            believed.append((abs(math.log(length / _USUAL_SECONDS)), fitting, text))
    if believed:
        _, fitting, text = min(believed, key=lambda one: one[0])
        return f"{text}: so read, {fitting} of {len(rows)} rows lie within their videos."
    first = np.array([row.frame_range[0] for row in rows if row.frame_range is not None])
    if len(first) == len(rows) and rates.all() and int((first / rates < limits).sum()) >= _FITS * len(rows):
        return (
            "The frame numbers (start_frame) fit these videos and the timestamps do not: these are of another unit or "
            "of another edit of the videos. Correct the timestamps, which decide."
        )
    return None


def _readings(rates: Floats, *, frames: bool) -> list[tuple[Floats, str]]:
    """(divisor of every row's times, what they look like); `frames`: all times are whole numbers."""
    found = []
    if frames and rates.all():
        found.append((rates, "The times look like frame numbers; divide them by the video's frames per second"))
    for rate in (25, 30, 50, 60) if frames else ():
        text = f"The times look like frame numbers at {rate} frames per second; divide them by {rate}"
        found.append((np.full(len(rates), float(rate)), text))
    found.append((np.full(len(rates), 60.0), "The times look like MM:SS in the place of HH:MM; divide them by 60"))
    for name, value in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        text = f"The times look like {name} instead of seconds; divide them by {value:,.0f}"
        found.append((np.full(len(rates), value), text))
    return found
