"""Ego4D v2 as the `ego4d` downloader leaves it: ego4d.json, videos, the wearer's gaze, long-term anticipation (LTA)."""

from __future__ import annotations

import fnmatch
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.annotations.segment import Segment
from gazetools.io.find_files import FileLookup
from gazetools.io.json_files import read_json
from gazetools.io.picture_names import holds_pictures
from gazetools.io.tables import read_table
from gazetools.io.video_files import lookup_videos
from gazetools.schemas.downloads import ego4d_command
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt, shortened
from gazetools.schemas.video_id import check_video_id

CANONICAL_FPS = 30
"""Canonical videos have a constant 30 frames per second; gaze and annotation times refer to them."""
_MAX_JSON = 4 << 30
_VIDEO_FOLDERS = ("full_scale", "video_540ss")
ANNOTATIONS_COMMAND = ego4d_command("ROOT", "annotations")


@dataclass(frozen=True, kw_only=True)
class Ego4dVideo:
    """One entry of ego4d.json's `videos`."""

    uid: str
    duration_seconds: float
    has_gaze: bool
    """Whether ego4d.json lists gaze; the files on disk may disagree."""
    participant_id: str | None = None
    """`fb_participant_id`, the same for all videos of one person; None: it is not known who wore the camera."""


@dataclass(frozen=True, kw_only=True)
class WearerGaze:
    """2-D gaze per canonical frame."""

    xy: npt.NDArray[np.float64]
    """[N, 2] fractions of the frame, y down; NaN where no sample is confident."""
    age_seconds: npt.NDArray[np.float64]
    """[N] Frame time minus the mean time of the samples used."""
    counts: dict[str, int]
    """rows, low_confidence, no_number."""


def read_ego4d_videos(path: Path) -> list[Ego4dVideo]:
    """`videos` of ego4d.json; DataFileError names the entry that can't be read, or the command that gets the file."""
    hint = f"Get it with: {ego4d_command('ROOT')}"
    if not path.exists():
        raise DataFileError(f"{path} does not exist.", hint=hint, path=str(path))
    content = read_json(path, max_bytes=_MAX_JSON)
    entries = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataFileError(f"{path} has no list `videos`; is it the file it is taken for?", hint=hint, path=str(path))
    videos = []
    for number, entry in enumerate(entries):
        try:
            seconds, has_gaze = float(entry["duration_sec"]), bool(entry.get("has_gaze", False))
            person = entry.get("fb_participant_id")
            videos.append(
                Ego4dVideo(
                    uid=str(entry["video_uid"]), duration_seconds=seconds, has_gaze=has_gaze,
                    participant_id=None if person is None else str(person),
                )
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else shortened(error)
            raise DataFileError(f"{path}, videos[{number}]: {reason}.", hint=hint, path=str(path)) from None
    return videos


def read_wearer_gaze(
    path: Path, frame_count: int, *, min_confidence: float = 0.6, origin: str = "bottom-left"
) -> WearerGaze:
    """The median of each frame's confident samples; a sample belongs to frame round(canonical_timestamp_s * 30).

    `path` is `v2/gaze/<video_uid>.csv`. Samples below `min_confidence` or beyond the `frame_count` frames of the
    canonical video don't count. `origin` is where norm_pos has y = 0: `bottom-left` (Pupil) or `top-left`.

    Raises DataFileError for a file that can't be read, or whose positions are pixels instead of fractions.
    """
    names = ("canonical_timestamp_s", "confidence", "norm_pos_x", "norm_pos_y")
    table = read_table(path, required=names)
    seconds, confidence, x, y = (table.floats(name) for name in names)
    usable = np.isfinite(seconds) & np.isfinite(x) & np.isfinite(y)
    confident = usable & (confidence >= min_confidence)
    if confident.any() and float(np.median(np.abs(x[confident]))) > 4:
        raise DataFileError(
            f"{path}: norm_pos_x has a median of {np.median(x[confident]):.1f}; fractions of the frame are expected.",
            hint="Are these pixels? Divide by the frame's size.",
            path=str(path),
        )
    frame = np.where(confident, np.rint(np.nan_to_num(seconds) * CANONICAL_FPS), -1).astype(np.int64)
    kept = np.flatnonzero((frame >= 0) & (frame < frame_count))
    kept = kept[np.argsort(frame[kept], kind="stable")]
    xy = np.full((frame_count, 2), np.nan)
    age = np.full(frame_count, np.nan)
    if kept.size:
        frames, first = np.unique(frame[kept], return_index=True)
        for number, rows in zip(frames.tolist(), np.split(kept, first[1:]), strict=True):
            xy[number] = np.median(x[rows]), np.median(y[rows])
            age[number] = number / CANONICAL_FPS - float(seconds[rows].mean())
    if origin == "bottom-left":
        xy[:, 1] = 1 - xy[:, 1]
    counts = {"low_confidence": int((usable & ~confident).sum()), "no_number": int((~usable).sum())}
    return WearerGaze(xy=xy, age_seconds=age, counts={"rows": len(table), **counts})


def lta_segments(path: Path, document: Any, problems: list[str], *, labelled: bool) -> list[Segment]:
    """Every action of `fho_lta_{train,val,test_unannotated}.json`, in the file's order, in seconds of its video.

    `clips` lists one action per entry; its times count from the start of a clip of the video, so that the clip's start
    (`clip_parent_start_sec`) is added. `problems` receives a text for every wrong entry; with `labelled`, entries
    without `verb_label` and `noun_label` (the test split) are wrong. Participants are those of `ego4d.json`, where the
    downloader left it (next to the annotations' folder or above). Raises DataFileError without a list `clips`.
    """
    clips = document.get("clips") if isinstance(document, dict) else None
    if not isinstance(clips, list):
        hint = f"Get it with: {ANNOTATIONS_COMMAND}"
        raise DataFileError(f"{path} has no list `clips`; is it the file it is taken for?", hint=hint, path=str(path))
    people = _participants(path)
    segments: list[Segment] = []
    for number, entry in enumerate(clips):
        try:
            segments.append(_lta_segment(number, entry, people, labelled=labelled))
        except (KeyError, TypeError, ValueError) as error:
            reason = f" lacks {error.args[0]}" if isinstance(error, KeyError) else f": {shortened(error)}"
            problems.append(f"clips[{number}]{reason}")
    return segments


def _participants(annotations: Path) -> dict[str, str]:
    """Video uid -> participant, of the nearest ego4d.json; empty without one."""
    listing = next((p for f in list(annotations.absolute().parents)[:3] if (p := f / "ego4d.json").is_file()), None)
    if listing is None:
        return {}
    return {one.uid: one.participant_id for one in read_ego4d_videos(listing) if one.participant_id is not None}


def _lta_segment(number: int, entry: Any, people: dict[str, str], *, labelled: bool) -> Segment:
    if not isinstance(entry, dict):
        raise TypeError("it is no object")
    video_id = check_video_id(str(entry["video_uid"]))
    shift = float(entry["clip_parent_start_sec"])
    start, stop = (shift + float(entry[f"action_clip_{end}_sec"]) for end in ("start", "end"))
    if not (0 <= start <= stop and math.isfinite(stop)):
        raise ValueError(f"{start} to {stop} s of the video is no range")
    clip = None if entry.get("clip_uid") is None else check_video_id(str(entry["clip_uid"]))
    labels = [entry[name] if labelled else entry.get(name) for name in ("verb_label", "noun_label")]
    classes: dict[str, Any] = {}
    if labelled or None not in labels:
        if any(isinstance(label, bool) or not isinstance(label, int) or label < 0 for label in labels):
            raise ValueError(f"verb_label and noun_label {excerpt(labels)} are not whole numbers >= 0")
        verb, noun = labels
        classes = {"verb": verb, "noun": noun, "action": (verb, noun)}
    return Segment(
        row=number + 1,
        video_id=video_id,
        start_seconds=start,
        stop_seconds=stop,
        classes=classes,
        # the id under which the benchmark's baselines know an action
        name=f"{clip}_{entry['action_idx']}" if clip and "action_idx" in entry else f"{video_id}@{start:.3f}",
        participant_id=people.get(video_id),
        clip_uid=clip,
        clip_start_seconds=shift,
        title=f"clips[{number}]",
    )


def ego4d_folder(root: Path) -> Path | None:
    """The folder that has `gaze/` and videos: `root` or `root/v2`, as the downloader leaves it; None otherwise."""
    for folder in (root, root / "v2"):
        if (folder / "gaze").is_dir() and any((folder / name).is_dir() for name in _VIDEO_FOLDERS):
            return folder
    return None


def ego4d_videos_with_gaze(folder: Path, wanted: str | None = None) -> list[tuple[str, Path | None, Path]]:
    """(video uid, video or None, gaze CSV) for every gaze file; the full-scale video before the 540-pixel one.

    `wanted`: video uids or patterns separated by commas; None: all.
    """
    uids = ((check_video_id(gaze.stem), gaze) for gaze in sorted((folder / "gaze").glob("*.csv")))
    lookups = _video_lookups(folder)
    return [(uid, _video(lookups, uid), gaze) for uid, gaze in uids if _matches(uid, wanted)]


def _matches(uid: str, wanted: str | None) -> bool:
    return any(fnmatch.fnmatchcase(uid, pattern.strip()) for pattern in (wanted or "*").split(","))


def _video_lookups(folder: Path) -> list[FileLookup]:
    return [lookup_videos(folder / name) for name in _VIDEO_FOLDERS]


def _video(lookups: list[FileLookup], uid: str) -> Path | None:
    """The file of a video, else its folder of frames."""
    files = (video for lookup in lookups if (video := lookup.find(uid)) is not None)
    folders = (folder for lookup in lookups if holds_pictures(folder := lookup.root / uid))
    return next(itertools.chain(files, folders), None)


def missing_ego4d(root: Path, folder: Path, wanted: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """Files that rendering the wearer's gaze needs and lacks: video uid -> (file, download command).

    They are videos, gaze files that ego4d.json announces, and ego4d.json itself. `root` was given to the downloader;
    `folder` and `wanted` as for `ego4d_videos_with_gaze`.
    """
    videos = {uid: video for uid, video, _ in ego4d_videos_with_gaze(folder, wanted)}
    lacking = {
        uid: [(str(folder / "full_scale" / f"{uid}.mp4"), ego4d_command(root, "full_scale", video_uid=uid))]
        for uid, video in videos.items()
        if video is None
    }
    lookups = _video_lookups(folder)
    listing = next((path for path in (folder / "ego4d.json", root / "ego4d.json") if path.is_file()), None)
    if listing is None:
        return lacking | {"ego4d.json": [(str(folder / "ego4d.json"), f"{ego4d_command(root, 'gaze')} --metadata")]}
    for uid in (entry.uid for entry in read_ego4d_videos(listing) if entry.has_gaze and _matches(entry.uid, wanted)):
        if uid not in videos and _video(lookups, uid) is not None:
            lacking[uid] = [(str(folder / "gaze" / f"{uid}.csv"), ego4d_command(root, "gaze"))]
    return lacking
