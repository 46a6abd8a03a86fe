"""Check of annotations: every annotated action has heatmaps for all of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from gazetools.annotations.past_end import KnownEnd, describe_rows, likely_cause
from gazetools.annotations.segment import Segment
from gazetools.annotations.segments import read_segments
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.findings import Finding
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Floats, Subject

_USUAL_RATES = (5.0, 240.0)
"""Frames per second for which a container's statement is believed."""
Clips = dict[str, list[Segment]]
"""Annotated actions by the id of their video or take."""


def read_clips(path: Path) -> Clips:
    """Annotated actions by video id, or by take; labels are not needed. UsageError where the file can't be read."""
    clips: Clips = {}
    try:
        for segment in read_segments(path, labelled=False):
            clips.setdefault(segment.video_id, []).append(segment)
    except DataFileError as error:
        raise UsageError(error.message, hint=error.hint or "Pass keystep_train.json or an annotation CSV.") from None
    return clips


def match_clips(annotated: Clips, video_ids: list[str]) -> tuple[Clips, list[Finding]]:
    """The clips of each video id that has heatmaps, and findings for annotated ids that none has and for empty clips.

    An annotated id means the equal one; else the only one whose last part is equal (`P01/videos/P01_01`); else, for a
    take name, every camera below it (`take/cam01`, `take/frame_aligned_videos/cam02`). Where Ego4D's video has no
    heatmaps but its clips have, the actions are looked for in these, at the times of the clip.
    """
    annotated = _in_clips(annotated, {video_id.split("/")[-1] for video_id in video_ids})
    known = set(video_ids)
    by_last: dict[str, list[str]] = {}
    by_parent: dict[str, list[str]] = {}
    for video_id in video_ids:
        *parents, last = video_id.split("/")
        by_last.setdefault(last, []).append(video_id)
        for parent in dict.fromkeys(parents):
            by_parent.setdefault(parent, []).append(video_id)
    result: Clips = {}
    missing: list[Finding] = []
    for name, all_clips in annotated.items():
        clips = [clip for clip in all_clips if not clip.is_empty]
        if empty := [clip.title for clip in all_clips if clip.is_empty]:
            shown = ", ".join(empty[:5])
            message = f"{len(empty)} of {len(all_clips)} annotated clips end when they start, such as {shown}."
            missing.append(finding("clips-empty", message, video_id=name))
        alike = [name] if name in known else by_last.get(name, [])
        found = alike if len(alike) == 1 else by_parent.get(name, [])
        for video_id in found:
            result.setdefault(video_id, []).extend(clips)
        if clips and not found:
            message = f"{len(clips)} annotated clips have no heatmaps."
            missing.append(finding("annotated-video-missing", message, video_id=name))
    return result, missing


def _in_clips(annotated: Clips, there: set[str]) -> Clips:
    """The same actions by the clip that shows them, where `there` has the clip and not its video."""
    result: Clips = {}
    for name, segments in annotated.items():
        for segment in segments:
            chosen = segment.in_clip() if name not in there and segment.clip_uid in there else segment
            result.setdefault(chosen.video_id, []).append(chosen)
    return result


def check_coverage(subject: Subject) -> Iterator[Finding]:
    """Every annotated clip of the video has a map for each of its frames."""
    clips = subject.clips
    if not clips:
        return
    subject.counts.update(clips=len(clips), clips_covered=0)
    end = _end_of(subject)
    past = [] if end is None else [clip for clip in clips if end.begins_past(clip)]
    if end is not None and past:
        subject.counts.update(clips_past_end=len(past))
        yield _past_end(subject, past, end)
        clips = [clip for clip in clips if not end.begins_past(clip)]
    if (times := _map_times(subject)) is None:
        message = f"{len(clips)} annotated clips can't be placed: the rows have no times."
        yield subject.finding("coverage-unknown", message)
        return
    uncovered = [clip for clip in clips if not _is_covered(clip, *times)]
    subject.counts["clips_covered"] = len(clips) - len(uncovered)
    if uncovered:
        names = ", ".join(clip.title for clip in uncovered[:5])
        message = f"{len(uncovered)} of {len(subject.clips)} annotated clips, such as {names}."
        if end is not None and (late := [clip for clip in uncovered if end.runs_past(clip)]):
            message += (
                f" {len(late)} of them, such as {late[0].title}, end past the last frame of the video, which is at "
                f"{end.last_seconds:.3f} s: correct their stop times."
            )
        elif end is None:
            message += " Where the video ends is not known: with --videos, times that it does not have are told apart."
        yield subject.finding("clips-uncovered", message)


def _past_end(subject: Subject, past: list[Segment], end: KnownEnd) -> Finding:
    """The finding about clips that begin past the end, with what probably went wrong."""
    own = {clip.video_id: end for clip in subject.clips}  # a take's clips carry its name
    message = f"{len(past)} of {len(subject.clips)} annotated clips begin past the end of the video: "
    message += f"{describe_rows(past, own)}. {likely_cause(subject.clips, past, own)}"
    return subject.finding("clips-past-end", message)


def _first_seconds(subject: Subject) -> float:
    """The container's time of the video's first frame, from which annotations count; 0 where it is not known."""
    columns, pts = subject.columns, subject.pts_seconds
    if subject.video is not None:
        pts = subject.video.pts_seconds
    elif columns is not None:
        pts = columns.frame_pts if 0 in columns.frame_index[:1] else None
    elif subject.options is not None and subject.options.align == "native":  # rows of the processed frames only
        pts = None
    return float(pts[0]) if pts is not None and len(pts) and np.isfinite(pts[0]) else 0.0


def _end_of(subject: Subject) -> KnownEnd | None:
    """When the video ends, in seconds from its first frame.

    As decoded, else by the times of all its frames, else by what the provenance says.
    """
    source = None if subject.provenance is None else subject.provenance.video
    pts = None if subject.video is None else subject.video.pts_seconds
    rate = 0.0 if source is None else float(Fraction(source.rate)) if not source.rate.endswith("/0") else 0.0
    if pts is None and source is not None:
        columns = subject.columns
        of_frames = columns.frame_pts if columns is not None else subject.pts_seconds
        if of_frames is not None and len(of_frames) == source.frame_count:
            pts = of_frames[np.isfinite(of_frames)]
    if pts is not None and len(pts):
        period = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
        rate = rate or (float(subject.video.rate) if subject.video is not None else 0.0)
        last = float(pts[-1]) - _first_seconds(subject)
        return KnownEnd(last_seconds=last, period_seconds=period, rate=rate)
    if source is None or not _USUAL_RATES[0] <= rate <= _USUAL_RATES[1] or not source.frame_count:
        return None
    # of a variable rate only the order of magnitude is known: a second is added to the end
    return KnownEnd(last_seconds=source.frame_count / rate + 1, period_seconds=1 / rate, rate=rate)


def _map_times(subject: Subject) -> tuple[Floats, Floats] | None:
    """Times of all rows, counted from the video's first frame, and, for each, 1.0 where it has a map."""
    first = _first_seconds(subject)
    if subject.columns is not None:
        has_map = np.isin(subject.columns.frame_index, subject.columns.row_frame)
        return subject.columns.frame_pts - first, has_map.astype(np.float64)
    pts = subject.pts_seconds
    if pts is None and subject.video is not None and subject.count == len(subject.video.pts_seconds):
        pts = subject.video.pts_seconds
    if pts is None or not np.isfinite(pts).any():
        return None
    valid = np.ones(len(pts), np.bool_) if subject.valid is None else subject.valid
    known = np.isfinite(pts)
    return pts[known] - first, valid[known].astype(np.float64)


def _is_covered(clip: Segment, pts: Floats, has_map: Floats) -> bool:
    """Every row in [start, stop) has a map, and rows reach from start to stop within 1.5 periods."""
    period = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
    low, high = np.searchsorted(pts, [clip.start_seconds, clip.stop_seconds])
    if high <= low or not has_map[low:high].all():
        return False
    slack = 1.5 * period
    gaps = np.diff(pts[low:high]).max(initial=0.0)
    starts, ends = pts[low] - clip.start_seconds <= slack, clip.stop_seconds - pts[high - 1] <= slack
    return bool(starts and ends and gaps <= 2 * slack)
