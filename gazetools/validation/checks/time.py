"""Do rows, frames and times agree with each other and with the decoded video?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.validation.subject import Floats, Ints, Subject, VideoTruth

_PTS_TOLERANCE_SECONDS = 5e-4
_MAX_SHIFT_FRAMES = 120
_MIN_RATE_DIFFERENCE = 5
"""Frames; fewer may as well be a tail that was lost."""
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
"""Row count / decoded frames, and what went wrong."""


def check_order(subject: Subject) -> None:
    """Rows and frames of a store are ascending, each once, and refer to each other."""
    if (columns := subject.columns) is None:
        return
    index, frame, track = columns.frame_index, columns.row_frame, columns.row_track
    back = np.flatnonzero(np.diff(index) <= 0) + 1
    if len(back):
        subject.report("frames-not-ascending", f"frames/index is not ascending at {len(back)} places.", index[back])
    same = (np.diff(frame) == 0) & (np.diff(track) == 0)
    if same.any():
        subject.report("rows-duplicated", f"{int(same.sum())} rows repeat a person of a frame.", frame[1:][same])
    back_rows = (np.diff(frame) < 0) | ((np.diff(frame) == 0) & (np.diff(track) < 0))
    if back_rows.any():
        frames = np.unique(frame[1:][back_rows])
        subject.report("rows-not-ascending", f"Rows are out of order at {int(back_rows.sum())} places.", frames)
    orphans = ~np.isin(frame, index)
    if orphans.any():
        subject.report(
            "rows-without-frame",
            f"{int(orphans.sum())} rows name frames that are not in frames/index.",
            np.unique(frame[orphans]),
        )
    strangers = ~np.isin(track, list(columns.tracks))
    if strangers.any():
        ids = sorted({int(value) for value in track[strangers]})
        frames = np.unique(frame[strangers])
        subject.report("rows-without-track", f"Rows name the people {ids[:10]}, who are not in tracks/id.", frames)
    provenance = subject.provenance
    beyond = index[(index < 0) | (index >= provenance.video.frame_count)] if provenance else index[:0]
    if len(beyond) and provenance:
        count = provenance.video.frame_count
        subject.report("frames-beyond-video", f"{len(beyond)} frames are outside the {count} of the video.", beyond)


def check_times(subject: Subject) -> None:
    """Times ascend. Only the grid of `--fps` may show one frame twice; only unprocessed frames may have none."""
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
    if len(bad):
        subject.report("pts-not-ascending", f"Times go wrong at {len(bad)} of {len(pts)} rows.", frames[bad])
    if may_lack and unknown.any():
        subject.report("pts-unknown", f"{int(unknown.sum())} of {len(pts)} rows have no time.", frames[unknown])


def check_against_video(subject: Subject) -> None:
    """Count, times and identity against what decoding the video gave."""
    video, provenance = subject.video, subject.provenance
    if video is None:
        return
    if video.damage:
        subject.report("video-damaged", f"{video.path} is not whole: {'; '.join(video.damage)}.")
    if provenance is not None and video.sha256 != provenance.video.sha256:
        subject.report("video-changed", f"The sha256 of {video.path} is not the one that the heatmaps were made from.")
    if subject.columns is not None:
        stated = provenance.video.frame_count if provenance else len(subject.columns.frame_index)
        _compare_counts(subject, stated, video.decoded_frames, "The store was made from")
        _compare_times(subject, subject.columns.frame_index, subject.columns.frame_pts, video)
        return
    options = subject.options
    if subject.count is not None and (options is None or (options.align == "video" and options.fps is None)):
        _compare_counts(subject, subject.count, video.decoded_frames, "The heatmaps have")
        if options is not None and subject.pts_seconds is not None:
            _compare_times(subject, np.arange(len(subject.pts_seconds)), subject.pts_seconds, video)
    elif subject.pts_seconds is not None and subject.valid is not None:
        _compare_chosen_times(subject, subject.pts_seconds, subject.valid, video)


def _compare_counts(subject: Subject, stated: int, decoded: int, what: str) -> None:
    if stated == decoded:
        return
    difference = abs(stated - decoded)
    for ratio, mistake in KNOWN_RATES:
        if difference >= _MIN_RATE_DIFFERENCE and abs(stated - decoded * ratio) <= 1:
            subject.report("rate-mismatch", f"{what} {stated} frames, the video decodes to {decoded}: {mistake}.")
            return
    end = f"the last {difference} have no map" if stated < decoded else f"{difference} too many"
    frames = range(stated, decoded) if stated < decoded else range(decoded, stated)
    subject.report("frame-count-mismatch", f"{what} {stated} frames, the video decodes to {decoded}: {end}.", frames)


def _compare_times(subject: Subject, frames: Ints, pts: Floats, video: VideoTruth) -> None:
    """Times of given frames; a shift of all by k frames is named as such."""
    inside = (frames >= 0) & (frames < len(video.pts_seconds)) & np.isfinite(pts)
    if not inside.all() and subject.columns is not None:
        beyond = frames[(frames < 0) | (frames >= len(video.pts_seconds))]
        if len(beyond) and not any(f.code == "frames-beyond-video" for f in subject.findings):
            message = f"{len(beyond)} frames are outside the {len(video.pts_seconds)} that the video decodes to."
            subject.report("frames-beyond-video", message, beyond)
    frames, pts = frames[inside], pts[inside]
    off = np.abs(pts - video.pts_seconds[frames]) > _PTS_TOLERANCE_SECONDS
    if not off.any():
        return
    shift = _shift(frames, pts, video.pts_seconds)
    if shift is not None:
        message = f"All rows carry the times of the frames {shift:+d} further on: the maps are shifted by {shift}."
        subject.report("pts-shifted", message, frames[off])
        return
    worst = float(np.abs(pts - video.pts_seconds[frames]).max())
    if (drift := _drift(pts, video.pts_seconds[frames])) is not None:
        subject.report("pts-drift", f"{drift}; at the end they are {worst:.3f} s off.", frames[off])
        return
    subject.report(
        "pts-mismatch",
        f"{int(off.sum())} of {len(off)} rows carry times that differ from the video's by up to {worst:.4f} s.",
        frames[off],
    )


def _shift(frames: Ints, pts: Floats, truth: Floats) -> int | None:
    """k for which every row has the time of frame + k (frames outside the video left out), None if there is none."""
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
    """What a clock at another speed looks like: one factor explains all times. None where it does not."""
    if len(pts) < 3 or truth[-1] - truth[0] <= 0:
        return None
    speed, start = np.polyfit(truth, pts, 1)
    # an edit of single rows is no drift: the line must fit them all
    if abs(speed - 1) < 1e-5 or np.abs(speed * truth + start - pts).max() > _PTS_TOLERANCE_SECONDS:
        return None
    mistake = next(
        (f": {text}" for ratio, text in KNOWN_RATES if abs(1 / speed - ratio) < 1e-4 * ratio and ratio != 2.0), ""
    )
    return f"Times drift over the length: the rows' clock runs {speed:.5f} times the video's{mistake}"


def _compare_chosen_times(subject: Subject, pts: Floats, valid: npt.NDArray[np.bool_], video: VideoTruth) -> None:
    """Grids other than the video's own: every row with a map has the time of some decoded frame."""
    truth = video.pts_seconds
    rows = np.flatnonzero(valid & np.isfinite(pts))
    if not len(truth) or not len(rows):
        return
    right = np.clip(np.searchsorted(truth, pts[rows]), 0, len(truth) - 1)
    left = np.maximum(right - 1, 0)
    distance = np.minimum(np.abs(truth[right] - pts[rows]), np.abs(truth[left] - pts[rows]))
    off = distance > _PTS_TOLERANCE_SECONDS
    if off.any():
        message = f"{int(off.sum())} of {len(rows)} rows carry times that no frame of the video has."
        subject.report("pts-mismatch", message, rows[off])
