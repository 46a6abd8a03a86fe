"""Maps that stand still: bit-identical for many frames although the frames are not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.provenance import GROUND_TRUTH
from gazetools.validation.subject import Ints, Subject

MIN_RUN = 8
"""Rows; a model that sees another frame gives other last digits."""
_STILL_LEVELS = 0.1
"""Mean difference of grey levels up to which two frames show the same."""


def check_frozen(subject: Subject) -> None:
    """Runs of one repeated map, per person; not where `hold` fills rows, nor where the video stands still as well."""
    stats = subject.stats
    if stats is None or len(stats) < MIN_RUN or _may_repeat(subject):
        return
    live = stats.high > stats.low  # maps of one value have a finding of their own
    if subject.valid is not None and len(subject.valid) == len(stats):
        live &= subject.valid
    tracks = np.zeros(len(stats), np.int64) if subject.columns is None else subject.columns.row_track
    runs = []
    for track in np.unique(tracks):
        rows = np.flatnonzero((tracks == track) & live)
        runs += [rows[start:stop] for start, stop in _runs(stats.digest[rows])]
    frozen = [run for run in runs if not _shows_stillness(subject, run)]
    if frozen:
        rows = np.sort(np.concatenate(frozen))
        longest = max(len(run) for run in frozen)
        subject.report(
            "frozen-maps",
            f"{len(rows)} of {len(stats)} maps repeat the one before, bit by bit, for up to {longest} rows.",
            subject.frames_of_rows(rows),
        )


def _may_repeat(subject: Subject) -> bool:
    """Maps that no network drew from pixels repeat by right: true gaze that rests, a centre prior, a still head box."""
    model = None if subject.provenance is None else subject.provenance.model
    return model is not None and (model.name == GROUND_TRUTH or not model.weights_sha256)


def _runs(values: npt.NDArray[np.uint32]) -> list[tuple[int, int]]:
    """Half-open ranges of at least MIN_RUN equal values."""
    edges = np.flatnonzero(np.diff(values.astype(np.int64))) + 1
    bounds = np.concatenate([[0], edges, [len(values)]])
    return [(a, b) for a, b in pairwise(bounds.tolist()) if b - a >= MIN_RUN]


def _shows_stillness(subject: Subject, rows: Ints) -> bool:
    """Do the frames of a run look the same themselves?"""
    if subject.video is None:
        return False
    frames = _frames_of(subject, rows)
    if frames is None:
        return False
    from gazetools.video import VideoReader
    from gazetools.video.fingerprint import fingerprint

    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, 6).round().astype(int))]
    chosen = np.unique(chosen[(chosen >= 0) & (chosen < subject.video.decoded_frames)])
    stream = None if subject.provenance is None else subject.provenance.video.stream_index
    try:
        with VideoReader(subject.video.path, stream_index=stream, threads=1) as reader:
            looks = np.stack([fingerprint(frame.rgb).astype(np.float32) for frame in reader.frames(chosen)])
    except (GazetoolsError, ValueError):
        return False
    return bool(np.abs(looks - looks[:1]).mean(axis=(1, 2)).max() <= _STILL_LEVELS)


def _frames_of(subject: Subject, rows: Ints) -> Ints | None:
    if subject.columns is not None:
        return subject.columns.row_frame[rows]
    pts, video = subject.pts_seconds, subject.video
    if subject.options is None or (subject.options.align == "video" and subject.options.fps is None):
        return rows
    if pts is None or video is None or not len(video.pts_seconds):
        return None
    return np.clip(np.searchsorted(video.pts_seconds, pts[rows] - 1e-4), 0, len(video.pts_seconds) - 1)
