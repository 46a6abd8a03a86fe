"""Checks of time: rows, frames and times agree with each other and with the decoded video."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazetools.sampling import nearest_indices
from gazetools.schemas.findings import Finding
from gazetools.validation.subject import Bools, Floats, Ints, Subject, VideoTruth

_PTS_TOLERANCE_SECONDS = 5e-4
_MAX_SHIFT_FRAMES = 120
_MIN_RATE_DIFFERENCE = 5  # Frames between two counts; a smaller difference may be a lost tail instead of another rate
_MISREAD_RATES = (
    # fps of the video, fps that its frames were taken for
    ("29.97", 29.97, "30", 30.0),
    ("30", 30.0, "29.97", 29.97),
    ("29.97", 29.97, "29", 29.0),
    ("8.56 (59.94 with the stride 7)", 59.94 / 7, "8", 8.0),
    ("8", 8.0, "8.56 (59.94 with the stride 7)", 59.94 / 7),
    ("24", 24.0, "25", 25.0),
    ("25", 25.0, "24", 24.0),
    ("25 (or 50)", 25.0, "30 (or 60)", 30.0),
    ("30 (or 60)", 30.0, "25 (or 50)", 25.0),
)
KNOWN_RATES = (
    *((taken / true, f"{name} fps was read as {taken_name}") for name, true, taken_name, taken in _MISREAD_RATES),
    *((1 / stride, f"only one frame in {stride} has a map") for stride in range(2, 9)),
    (2.0, "every frame has two maps"),
)
"""Row count / decoded frames, and the mistake that gives this ratio."""


def check_order(subject: Subject) -> Iterator[Finding]:
    """Rows and frames of a store ascend, each occurs once, and they refer to each other."""
    if (columns := subject.columns) is None:
        return
    index, frame, track = columns.frame_index, columns.row_frame, columns.row_track
    back = index[1:][np.diff(index) <= 0]
    message = f"frames/index is not ascending at {len(back)} places."
    yield from subject.about_frames("frames-not-ascending", back, message)
    same_frame, track_step = np.diff(frame) == 0, np.diff(track)
    twice = frame[1:][same_frame & (track_step == 0)]
    yield from subject.about_frames("rows-duplicated", twice, f"{len(twice)} rows repeat a person of a frame.")
    back = frame[1:][(np.diff(frame) < 0) | (same_frame & (track_step < 0))]
    message = f"Rows are out of order at {len(back)} places."
    yield from subject.about_frames("rows-not-ascending", np.unique(back), message)
    orphans = frame[~np.isin(frame, index)]
    message = f"{len(orphans)} rows name frames that are not in frames/index."
    yield from subject.about_frames("rows-without-frame", np.unique(orphans), message)
    strangers = ~np.isin(track, list(columns.tracks))
    message = f"Rows name the people {np.unique(track[strangers]).tolist()[:10]}, who are not in tracks/id."
    yield from subject.about_frames("rows-without-track", np.unique(frame[strangers]), message)
    if (provenance := subject.provenance) is not None:
        count = provenance.video.frame_count
        beyond = index[(index < 0) | (index >= count)]
        message = f"{len(beyond)} frames are outside the {count} of the video."
        yield from subject.about_frames("frames-beyond-video", beyond, message)


def check_times(subject: Subject) -> Iterator[Finding]:
    """Times ascend. Only the grid of `--fps` may show a frame twice; only unprocessed frames may be without a time."""
    if subject.columns is not None:
        frames, pts, may_repeat, may_lack = subject.columns.frame_index, subject.columns.frame_pts, False, False
    elif subject.pts_seconds is not None:
        pts = subject.pts_seconds
        frames = np.arange(len(pts))
        may_repeat = subject.options is None or subject.options.fps is not None
        may_lack = True
    else:
        return
    unknown = np.isnan(pts)
    wrong = np.isinf(pts) | (unknown & ~np.bool_(may_lack))
    if subject.valid is not None and len(subject.valid) == len(pts):
        wrong |= unknown & subject.valid
    known = np.flatnonzero(np.isfinite(pts))
    steps = np.diff(pts[known])
    back = steps < 0 if may_repeat else steps <= 0
    bad = np.union1d(np.flatnonzero(wrong), known[1:][back])
    message = f"Times go wrong at {len(bad)} of {len(pts)} rows."
    yield from subject.about_frames("pts-not-ascending", frames[bad], message)
    if may_lack:
        message = f"{int(unknown.sum())} of {len(pts)} rows have no time."
        yield from subject.about_frames("pts-unknown", frames[unknown], message)


def check_against_video(subject: Subject) -> Iterator[Finding]:
    """Identity, frame count and times are those of the decoded video."""
    video, provenance = subject.video, subject.provenance
    if video is None:
        return
    if video.damage:
        yield subject.finding("video-damaged", f"{video.path} is not whole: {'; '.join(video.damage)}.")
    if provenance is not None and video.sha256 != provenance.video.sha256:
        message = f"The sha256 of {video.path} is not the one that the heatmaps were made from."
        yield subject.finding("video-changed", message)
    if subject.columns is not None:
        stated = provenance.video.frame_count if provenance else len(subject.columns.frame_index)
        yield from _compare_counts(subject, stated, video.decoded_frames, "The store was made from")
        yield from _compare_times(subject, subject.columns.frame_index, subject.columns.frame_pts, video)
        return
    options = subject.options
    if subject.count is not None and (options is None or (options.align == "video" and options.fps is None)):
        yield from _compare_counts(subject, subject.count, video.decoded_frames, "The heatmaps have")
        if options is not None and subject.pts_seconds is not None:
            yield from _compare_times(subject, np.arange(len(subject.pts_seconds)), subject.pts_seconds, video)
    elif subject.pts_seconds is not None and subject.valid is not None:
        yield from _compare_chosen_times(subject, subject.pts_seconds, subject.valid, video.pts_seconds)


def _compare_counts(subject: Subject, stated: int, decoded: int, what: str) -> Iterator[Finding]:
    """Equal counts; a ratio that a known mistake gives is reported with that mistake."""
    if stated == decoded:
        return
    counts, difference = f"{what} {stated} frames, the video decodes to {decoded}", abs(stated - decoded)
    for ratio, mistake in KNOWN_RATES:
        if difference >= _MIN_RATE_DIFFERENCE and abs(stated - decoded * ratio) <= 1:
            yield subject.finding("rate-mismatch", f"{counts}: {mistake}.")
            return
    end = f"the last {difference} have no map" if stated < decoded else f"{difference} too many"
    frames = range(min(stated, decoded), max(stated, decoded))
    yield subject.finding("frame-count-mismatch", f"{counts}: {end}.", frames)


def _compare_times(subject: Subject, frames: Ints, pts: Floats, video: VideoTruth) -> Iterator[Finding]:
    """Equal times of the given frames; a shift of all by k frames and a drift are reported as such."""
    outside = (frames < 0) | (frames >= len(video.pts_seconds))
    if outside.any() and subject.columns is not None and not subject.has_finding("frames-beyond-video"):
        message = f"{int(outside.sum())} frames are outside the {len(video.pts_seconds)} that the video decodes to."
        yield subject.finding("frames-beyond-video", message, frames[outside])
    known = ~outside & np.isfinite(pts)
    frames, pts = frames[known], pts[known]
    truth = video.pts_seconds[frames]
    off = np.abs(pts - truth) > _PTS_TOLERANCE_SECONDS
    if not off.any():
        return
    worst = float(np.abs(pts - truth).max())
    if (shift := _shift(frames, pts, video.pts_seconds)) is not None:
        code = "pts-shifted"
        message = f"All rows carry the times of the frames {shift:+d} further on: the maps are shifted by {shift}."
    elif (drift := _drift(pts, truth)) is not None:
        code, message = "pts-drift", f"{drift}; at the end they are {worst:.3f} s off."
    else:
        code, rows = "pts-mismatch", f"{int(off.sum())} of {len(off)} rows"
        message = f"{rows} carry times that differ from the video's by up to {worst:.4f} s."
    yield subject.finding(code, message, frames[off])


def _shift(frames: Ints, pts: Floats, truth: Floats) -> int | None:
    """The k for which every row has the time of frame + k, frames outside the video left out; None if there is none."""
    for size in range(1, min(_MAX_SHIFT_FRAMES, len(truth) - 1) + 1):
        for shift in (size, -size):
            moved = frames + shift
            inside = (moved >= 0) & (moved < len(truth))
            # a few rows fit anywhere; half of them must be there to compare
            if inside.sum() * 2 < len(frames) or not inside.any():
                continue
            if (np.abs(truth[moved[inside]] - pts[inside]) <= _PTS_TOLERANCE_SECONDS).all():
                return shift
    return None


def _drift(pts: Floats, truth: Floats) -> str | None:
    """The text about a clock at another speed: one factor explains all times. None where none does."""
    if len(pts) < 3 or truth[-1] - truth[0] <= 0:
        return None
    speed, start = np.polyfit(truth, pts, 1)
    # an edit of single rows is no drift: the line must fit them all
    if abs(speed - 1) < 1e-5 or np.abs(speed * truth + start - pts).max() > _PTS_TOLERANCE_SECONDS:
        return None
    known = [f": {text}" for ratio, text in KNOWN_RATES if abs(1 / speed - ratio) < 1e-4 * ratio and ratio != 2.0]
    return f"Times drift over the length: the rows' clock runs {speed:.5f} times the video's{''.join(known[:1])}"


def _compare_chosen_times(subject: Subject, pts: Floats, has_map: Bools, truth: Floats) -> Iterator[Finding]:
    """On grids other than the video's own every row with a map has the time of some decoded frame."""
    rows = np.flatnonzero(has_map & np.isfinite(pts))
    if not len(truth) or not len(rows):
        return
    off = np.abs(truth[nearest_indices(truth, pts[rows])] - pts[rows]) > _PTS_TOLERANCE_SECONDS
    message = f"{int(off.sum())} of {len(rows)} rows carry times that no frame of the video has."
    yield from subject.about_frames("pts-mismatch", rows[off], message)
