"""Clips that their videos cannot show: the observation, or the action itself, lies past the end of the file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.annotations.past_end import KnownEnd, describe_rows, likely_cause
from gazetools.annotations.segment import Segment
from gazetools.io.parallel import SharedProgress, each
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import DataFileError, VideoError
from gazetools.schemas.training import Compat, DataSettings
from gazetools.trainer.data.anchors import NamedAnchor
from gazetools.trainer.data.frame_folders import FrameFolders
from gazetools.trainer.data.index_cache import open_indexed
from gazetools.trainer.data.sampling import MAX_GAP_SECONDS, anchor_seconds
from gazetools.trainer.data.video_facts import VideoFacts
from gazetools.video.extent import VideoExtent, packet_extent

_NEAR_SECONDS = 2.0
"""An action that begins within so much of the end is judged by the frames that really decode, not by packets."""
_TASK = "ends of videos"
_QUIETLY = 20
"""Number of videos, a matter of a second, up to which no progress is shown."""


@dataclass(frozen=True, kw_only=True)
class ClipTimes:
    """The part of a split's settings that says which times of a video its clips need."""

    anchor: NamedAnchor
    anticipation_seconds: tuple[float, float]
    by_frame_numbers: bool = False
    """`compat: vjepa2` or `jfaa`: the frame numbers of the annotations index the file."""

    @classmethod
    def of(cls, data: DataSettings, anchor: NamedAnchor, compat: Compat, *, training: bool) -> ClipTimes:
        """The times of training or of validation under one anchor."""
        seconds = (data.train_anticipation_time_sec if training else None) or data.anticipation_time_sec
        return cls(anchor=anchor, anticipation_seconds=seconds, by_frame_numbers=compat != "none")

    def earliest_end(self, segment: Segment) -> float:
        """The earliest end of the observation that may be drawn."""
        point = max(self.anchor.point)
        return anchor_seconds(segment.start_seconds, segment.stop_seconds, point) - self.anticipation_seconds[1]

    def latest_end(self, segment: Segment) -> float:
        """The latest end of the observation that may be drawn."""
        point = min(self.anchor.point)
        return anchor_seconds(segment.start_seconds, segment.stop_seconds, point) - self.anticipation_seconds[0]

    def is_past(self, segment: Segment, end: KnownEnd) -> bool:
        """Whether the action, or the end of what is observed before it, lies past the end of its video."""
        if self.by_frame_numbers and segment.frame_range is not None:
            first, last = segment.frame_range
            point = min(self.anchor.point)
            observed = first * point + (1 - point) * last - int(self.anticipation_seconds[0] * end.rate)
            return end.rate > 0 and observed / end.rate > end.last_seconds + end.period_seconds
        if end.begins_past(segment):
            return True
        return self.latest_end(segment) > end.last_seconds + end.period_seconds + MAX_GAP_SECONDS


@dataclass(frozen=True, kw_only=True)
class VideoEnds:
    """The ends of a run's videos, and the videos whose end could not be read."""

    known: dict[str, KnownEnd] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    """Video id -> reason; the run meets the same fault when it reads a clip of the video."""

    def is_past(self, segment: Segment, times: ClipTimes) -> bool:
        """Whether a row cannot be shown; False where the end of its video is not known."""
        end = self.known.get(segment.video_id)
        return end is not None and times.is_past(segment, end)

    def runs_past(self, segment: Segment) -> bool:
        """Whether the row's action goes on after the end of its video."""
        end = self.known.get(segment.video_id)
        return end is not None and end.runs_past(segment)


def find_ends(
    rows: Sequence[Segment],
    videos: Mapping[str, Path],
    *,
    cache: Path | None,
    progress: Progress,
    gone: Mapping[str, VideoFacts] | None = None,
    pictures: FrameFolders | None = None,
) -> VideoEnds:
    """The end of every video in `videos`: by its last packets, and by its frame index where a row is near that end.

    `cache` is a folder of frame indexes, from which they are read where they are; nothing is written. `gone` has the
    facts of videos whose file is not there any more. With `pictures` the videos are folders of them.
    """
    by_video: dict[str, list[Segment]] = {name: [] for name in videos}
    for row in rows:
        if row.video_id in by_video:
            by_video[row.video_id].append(row)
    names = [name for name, own in by_video.items() if own]
    shown = progress if len(names) > _QUIETLY else NoProgress()
    shown.start(_TASK, len(names), unit="videos")
    shared = SharedProgress(shown)

    def one(name: str) -> KnownEnd | str:
        try:
            if gone and name in gone:
                return _end_of_times(gone[name].pts_seconds, float(gone[name].rate))
            if pictures is not None:
                opened = pictures.open(videos[name])
                return _end_of_times(opened.pts_seconds, float(opened.rate))
            return _end_of(videos[name], by_video[name], cache)
        except (VideoError, OSError) as error:
            return str(error)
        finally:
            shared.advance(_TASK)

    found = each(one, names, workers=min(8, 2 * (os.cpu_count() or 1)))
    shown.finish(_TASK)
    pairs = list(zip(names, found, strict=True))
    return VideoEnds(
        known={name: end for name, end in pairs if isinstance(end, KnownEnd)},
        unread={name: reason for name, reason in pairs if isinstance(reason, str)},
    )


def _end_of(path: Path, rows: Sequence[Segment], cache: Path | None) -> KnownEnd:
    extent = packet_extent(path)
    if extent is None or any(_is_near(row, extent) for row in rows):
        with open_indexed(path, cache, threads=1, save=False) as reader:
            return _end_of_times(reader.pts_seconds, float(reader.info.rate))
    return KnownEnd(last_seconds=extent.last_seconds, period_seconds=extent.period_seconds, rate=extent.rate)


def _end_of_times(pts_seconds: npt.NDArray[np.float64], rate: float) -> KnownEnd:
    times = pts_seconds - pts_seconds[0]
    period = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return KnownEnd(last_seconds=float(times[-1]), period_seconds=period, rate=rate)


def _is_near(row: Segment, extent: VideoExtent) -> bool:
    """Whether a frame more or less at the end could change the judgement of the row."""
    return abs(row.start_seconds - extent.end_seconds) < _NEAR_SECONDS


def refuse_past_end(
    data: DataSettings, named: Sequence[tuple[str, Sequence[Segment], Sequence[ClipTimes]]], ends: VideoEnds
) -> None:
    """Raise DataFileError for rows that lie past the end of their videos, unless `past_end` says otherwise.

    `named` has (annotation file, its rows, what its splits need) of training and of validation.
    """
    if data.past_end != "error":
        return
    found: dict[str, tuple[Sequence[Segment], Sequence[Segment]]] = {}
    for name, rows, times in named:
        past = [row for row in rows if any(ends.is_past(row, one) for one in times)]
        if past and len(past) > len(found.get(name, ((), ()))[1]):  # the same file may be both
            found[name] = rows, past
    if not found:
        return
    texts = [
        f"{len(past)} of {len(rows)} actions of {name} lie past the end of their video: "
        f"{describe_rows(past, ends.known)}"
        for name, (rows, past) in found.items()
    ]
    causes = list(dict.fromkeys(likely_cause(rows, past, ends.known) for rows, past in found.values()))
    raise DataFileError(
        f"{'; '.join(texts)}.",
        hint=" ".join(causes) + " experiment.data.past_end=drop leaves such rows out, and counts them.",
        rows=[
            {"file": name, "row": row.row, "video_id": row.video_id, "start_seconds": row.start_seconds}
            for name, (_, past) in found.items()
            for row in past[:1000]
        ],
    )


def end_notes(rows: Sequence[Segment], ends: VideoEnds) -> list[str]:
    """What the plan says of videos whose end is unknown, and of actions that begin before the end and run past it."""
    notes = []
    if ends.unread:
        name, reason = next(iter(ends.unread.items()))
        notes.append(
            f"{len(ends.unread)} video(s) could not be opened to find their end, so that their rows are not checked "
            f"against it; the first, {name!r}: {reason[:300]}"
        )
    late = [row for row in rows if ends.runs_past(row) and not ends.known[row.video_id].begins_past(row)]
    if late:
        notes.append(
            f"{len(late)} action(s) begin before and end past the end of their video; they are kept: "
            f"{describe_rows(late, ends.known)}."
        )
    return notes
