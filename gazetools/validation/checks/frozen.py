"""Check of maps that stand still: bit-identical for many frames although the frames differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gazetools.sampling import spread
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.findings import Finding
from gazetools.validation.subject import Ints, Subject, VideoTruth
from gazetools.validation.videos import open_video

MIN_RUN = 8
"""Rows of equal maps; a model that sees another frame gives other last digits."""
_STILL_LEVELS = 0.1  # Mean difference of grey levels up to which two frames count as equal


def check_frozen(subject: Subject) -> Iterator[Finding]:
    """No map is repeated for 8 rows of a person or more, unless `hold` fills rows or the video stands still as well."""
    stats = subject.stats
    if stats is None or len(stats) < MIN_RUN or _may_repeat(subject):
        return
    live = subject.has_map & (stats.high > stats.low)  # constant maps have a finding of their own
    tracks = np.zeros(len(stats), np.int64) if subject.columns is None else subject.columns.row_track
    runs = []
    for track in np.unique(tracks):
        rows = np.flatnonzero((tracks == track) & live)
        runs += [rows[start:stop] for start, stop in _runs(stats.digest[rows])]
    frozen = [run for run in runs if not _video_stands_still(subject, run)]
    if frozen:
        rows = np.sort(np.concatenate(frozen))
        longest = max(len(run) for run in frozen)
        message = f"{len(rows)} of {len(stats)} maps repeat the one before, bit by bit, for up to {longest} rows."
        yield subject.finding("frozen-maps", message, subject.frames_of_rows(rows))


def _may_repeat(subject: Subject) -> bool:
    """Whether no network made the maps: true gaze may rest, and a centre prior or a still head box repeats its map."""
    return subject.is_ground_truth or (subject.provenance is not None and not subject.provenance.model.weights_sha256)


def _runs(values: npt.NDArray[np.uint32]) -> list[tuple[int, int]]:
    """Half-open ranges of at least MIN_RUN equal values."""
    edges = np.flatnonzero(np.diff(values.astype(np.int64))) + 1
    bounds = np.concatenate([[0], edges, [len(values)]])
    return [(a, b) for a, b in pairwise(bounds.tolist()) if b - a >= MIN_RUN]


def _video_stands_still(subject: Subject, rows: Ints) -> bool:
    """Whether the frames of these rows look alike themselves; False where they are not at hand."""
    from gazetools.video.fingerprint import fingerprint

    if (video := subject.video) is None or (frames := _frames_of(subject, rows, video)) is None:
        return False
    chosen = frames[spread(len(frames), 6)]
    chosen = np.unique(chosen[(chosen >= 0) & (chosen < video.decoded_frames)])
    try:
        with open_video(subject, video.path) as reader:
            looks = np.stack([fingerprint(frame.rgb).astype(np.float32) for frame in reader.frames(chosen)])
    except (GazetoolsError, ValueError):
        return False
    return bool(np.abs(looks - looks[:1]).mean(axis=(1, 2)).max() <= _STILL_LEVELS)


def _frames_of(subject: Subject, rows: Ints, video: VideoTruth) -> Ints | None:
    """Decoded frames that these rows belong to; None where the rows have no times to find them by."""
    if subject.columns is not None:
        return subject.columns.row_frame[rows]
    if subject.options is None or (subject.options.align == "video" and subject.options.fps is None):
        return rows
    if (pts := subject.pts_seconds) is None or not len(video.pts_seconds):
        return None
    return np.clip(np.searchsorted(video.pts_seconds, pts[rows] - 1e-4), 0, len(video.pts_seconds) - 1)
