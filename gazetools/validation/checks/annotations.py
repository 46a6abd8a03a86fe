"""Do annotated clips (EPIC-KITCHENS style CSV, Ego-Exo4D keystep JSON) have heatmaps for all of their frames?"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazetools.annotations.keysteps import read_keysteps
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.findings import Finding
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Floats, Subject

_MAX_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One annotated action; times in seconds of its video, [start, stop)."""

    name: str
    start_seconds: float
    stop_seconds: float


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Clips of one video and how many have a map for every frame."""

    clips: int
    covered: int | None
    """None where the rows have no times."""


def read_clips(path: Path) -> dict[str, list[Clip]]:
    """Clips by video id from a CSV with `video_id`, `start_timestamp`, `stop_timestamp` (HH:MM:SS.ss), or from one of
    Ego-Exo4D's keystep JSONs, whose ids are take names: every camera of a take has its clips.

    Raises UsageError naming file, line and value where it can't be read.
    """
    if path.suffix.lower() == ".json":
        return _keystep_clips(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} has more than {_MAX_BYTES >> 20} MiB.", hint="Pass an annotation CSV.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _clips(path, csv.DictReader(file, skipinitialspace=True))
    except OSError as error:
        raise UsageError(f"Cannot read the annotations {path}: {error.strerror}.", hint="Check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}.", hint="Pass an annotation CSV.") from error


def _clips(path: Path, rows: csv.DictReader[str]) -> dict[str, list[Clip]]:
    needed = {"video_id", "start_timestamp", "stop_timestamp"}
    columns = {(name or "").strip() for name in rows.fieldnames or ()}
    if not needed <= columns:
        raise UsageError(
            f"{path} lacks the columns {', '.join(sorted(needed - columns))}; it has {', '.join(sorted(columns))}.",
            hint="Pass a CSV like EPIC_100_validation.csv.",
        )
    clips: dict[str, list[Clip]] = {}
    for row in rows:
        cells = {(key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        try:
            start, stop = _seconds(cells["start_timestamp"]), _seconds(cells["stop_timestamp"])
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"{path}, line {rows.line_num}: {error}.", hint="Timestamps are HH:MM:SS.ss, such as 00:01:02.34."
            ) from None
        name = cells.get("narration_id") or f"line {rows.line_num}"
        clip = Clip(name=name, start_seconds=start, stop_seconds=stop)
        clips.setdefault(cells["video_id"], []).append(clip)
    return clips


def _keystep_clips(path: Path) -> dict[str, list[Clip]]:
    """Clips by take name; labels are not needed."""
    try:
        steps = read_keysteps(path, labelled=False)
    except DataFileError as error:
        raise UsageError(error.message, hint=error.hint or "Pass keystep_train.json or an annotation CSV.") from None
    clips: dict[str, list[Clip]] = {}
    for step in steps:
        name = f"{step.take_name} segment {step.number}"
        clip = Clip(name=name, start_seconds=step.start_seconds, stop_seconds=step.stop_seconds)
        clips.setdefault(step.take_name, []).append(clip)
    return clips


def _seconds(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def match_clips(annotated: dict[str, list[Clip]], video_ids: list[str]) -> tuple[dict[str, list[Clip]], list[Finding]]:
    """The clips of each video id that has heatmaps, and a finding for each annotated id that none has.

    An annotated id means the equal one; else the only one whose last part is equal (`P01/videos/P01_01`); else, for a
    take name, every camera below it (`take/cam01`, `take/frame_aligned_videos/cam02`).
    """
    known = set(video_ids)
    by_last: dict[str, list[str]] = {}
    by_parent: dict[str, list[str]] = {}
    for video_id in video_ids:
        *parents, last = video_id.split("/")
        by_last.setdefault(last, []).append(video_id)
        for parent in dict.fromkeys(parents):
            by_parent.setdefault(parent, []).append(video_id)
    result: dict[str, list[Clip]] = {}
    missing: list[Finding] = []
    for name, clips in annotated.items():
        alike = [name] if name in known else by_last.get(name, [])
        found = alike if len(alike) == 1 else by_parent.get(name, [])
        for video_id in found:
            result.setdefault(video_id, []).extend(clips)
        if not found:
            message = f"{len(clips)} annotated clips have no heatmaps."
            missing.append(finding("annotated-video-missing", message, video_id=name))
    return result, missing


def check_coverage(subject: Subject, clips: list[Clip]) -> Coverage:
    """Report the clips of one video that have frames without a map."""
    times = _map_times(subject)
    if times is None:
        subject.report("coverage-unknown", f"{len(clips)} annotated clips can't be placed: the rows have no times.")
        return Coverage(clips=len(clips), covered=None)
    pts, has_map = times
    uncovered = [clip for clip in clips if not _is_covered(clip, pts, has_map)]
    if uncovered:
        names = ", ".join(clip.name for clip in uncovered[:5])
        subject.report("clips-uncovered", f"{len(uncovered)} of {len(clips)} annotated clips, such as {names}.")
    return Coverage(clips=len(clips), covered=len(clips) - len(uncovered))


def _map_times(subject: Subject) -> tuple[Floats, Floats] | None:
    """Times of all rows and, for each, 1.0 where it has a map."""
    if subject.columns is not None:
        has_map = np.isin(subject.columns.frame_index, subject.columns.row_frame)
        return subject.columns.frame_pts, has_map.astype(np.float64)
    pts = subject.pts_seconds
    if pts is None and subject.video is not None and subject.count == len(subject.video.pts_seconds):
        pts = subject.video.pts_seconds
    if pts is None or not np.isfinite(pts).any():
        return None
    valid = np.ones(len(pts), np.bool_) if subject.valid is None else subject.valid
    known = np.isfinite(pts)
    return pts[known], valid[known].astype(np.float64)


def _is_covered(clip: Clip, pts: Floats, has_map: Floats) -> bool:
    """Every row in [start, stop) has a map, and rows reach from start to stop within 1.5 periods."""
    period = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
    low, high = np.searchsorted(pts, [clip.start_seconds, clip.stop_seconds])
    if high <= low or not has_map[low:high].all():
        return False
    slack = 1.5 * period
    gaps = np.diff(pts[low:high]).max(initial=0.0)
    starts, ends = pts[low] - clip.start_seconds <= slack, clip.stop_seconds - pts[high - 1] <= slack
    return bool(starts and ends and gaps <= 2 * slack)
