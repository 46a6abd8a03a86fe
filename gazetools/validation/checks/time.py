"""Checks of time: rows, frames and times agree with each other and with the decoded video."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazetools.sampling import nearest_indices
from gazetools.schemas.findings import Finding
from gazetools.validation.rates import KNOWN_RATES
from gazetools.validation.subject import Bools, Floats, Ints, Subject, VideoTruth, stated_frames

_PTS_TOLERANCE_SECONDS = 5e-4
_MAX_JUMPS = 3
"""Places at which rows may jump to the times of other frames; more are no lost frames."""


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
    """Identity and times are those of the decoded video; `counts.check_count` compares the number of frames."""
    video, provenance = subject.video, subject.provenance
    if video is None:
        return
    if video.damage:
        yield subject.finding("video-damaged", f"{video.path} is not whole: {'; '.join(video.damage)}.")
    if provenance is not None and video.sha256 != provenance.video.sha256:
        message = f"The sha256 of {video.path} is not the one that the heatmaps were made from."
        yield subject.finding("video-changed", message)
    if subject.columns is not None:
        yield from _compare_times(subject, subject.columns.frame_index, subject.columns.frame_pts, video)
    elif subject.pts_seconds is not None and subject.options is not None:
        if stated_frames(subject) is not None:
            yield from _compare_times(subject, np.arange(len(subject.pts_seconds)), subject.pts_seconds, video)
        elif subject.valid is not None:
            yield from _compare_chosen_times(subject, subject.pts_seconds, subject.valid, video.pts_seconds)


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
    elif jumps := _jumps(frames, pts, video.pts_seconds):
        texts = [
            f"from frame {frame} on those of the frames {k:+d} further on ({before:+d} before)"
            for frame, before, k in jumps
        ]
        code, message = "pts-jumps", f"Rows carry the times of other frames: {'; '.join(texts)}."
    else:
        code, rows = "pts-mismatch", f"{int(off.sum())} of {len(off)} rows"
        message = f"{rows} carry times that differ from the video's by up to {worst:.4f} s."
    yield subject.finding(code, message, frames[off])


def _matches(frames: Ints, pts: Floats, truth: Floats) -> tuple[Ints, Bools]:
    """For each row the k for which it has the time of frame + k, and whether there is such a frame."""
    nearest = nearest_indices(truth, pts)
    return nearest - frames, np.abs(truth[nearest] - pts) <= _PTS_TOLERANCE_SECONDS


def _shift(frames: Ints, pts: Floats, truth: Floats) -> int | None:
    """The k for which every row has the time of frame + k, frames outside the video left out; None if there is none."""
    if len(truth) < 2:
        return None
    shifts, found = _matches(frames, pts, truth)
    # a few rows fit anywhere; half of them must be there to compare
    if found.sum() * 2 < len(frames) or len(np.unique(shifts[found])) > 1 or not (shift := int(shifts[found][0])):
        return None
    inside = (frames + shift >= 0) & (frames + shift < len(truth))
    return None if (inside & ~found).any() else shift


def _jumps(frames: Ints, pts: Floats, truth: Floats) -> list[tuple[int, int, int]]:
    """(first frame, k before, k from there) of each place where frames were lost or added; none where rows fit no k."""
    if len(truth) < 2:
        return []
    shifts, found = _matches(frames, pts, truth)
    inside = (pts >= truth[0] - _PTS_TOLERANCE_SECONDS) & (pts <= truth[-1] + _PTS_TOLERANCE_SECONDS)
    frames, shifts, found = frames[inside], shifts[inside], found[inside]
    known = np.flatnonzero(found)
    places = np.flatnonzero(np.diff(shifts[known])) + 1
    # rows of lost frames have the time of no frame; they lie at the places
    between = [range(known[place - 1] + 1, known[place]) for place in places]
    lost = sum(len(one) for one in between)
    if not 1 <= len(places) <= _MAX_JUMPS or len(found) - len(known) > lost:
        return []
    return [(int(frames[known[p - 1]]) + 1, int(shifts[known[p - 1]]), int(shifts[known[p]])) for p in places]


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
