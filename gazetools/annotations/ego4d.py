"""Ego4D v2 as it is downloaded: ego4d.json, the wearer's gaze, and the LTA and STA forecasting annotations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.json_files import read_json
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.video_id import check_video_id

CANONICAL_FPS = 30
"""Canonical videos have a constant 30 frames per second; gaze and annotation times refer to them."""
_MAX_JSON = 4 << 30
_LTA_NEEDED = ("video_uid", "clip_uid", "clip_parent_start_sec", "action_clip_start_sec", "action_clip_end_sec")


@dataclass(frozen=True, kw_only=True)
class Ego4dVideo:
    """One entry of ego4d.json's `videos`."""

    uid: str
    duration_seconds: float
    has_gaze: bool
    """As ego4d.json says; it may disagree with the files that are there."""
    scenarios: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ego4dClip:
    """One entry of ego4d.json's `clips`: [start, end) of a video, in seconds."""

    uid: str
    video_uid: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, kw_only=True)
class WearerGaze:
    """2-D gaze per canonical frame."""

    xy: npt.NDArray[np.float64]
    """[N, 2] fractions of the frame, y down; NaN where no sample is confident."""
    age_seconds: npt.NDArray[np.float64]
    """[N] frame time minus the mean time of the samples used."""
    counts: dict[str, int]
    """rows, low_confidence, no_number."""


@dataclass(frozen=True, kw_only=True)
class ForecastClip:
    """One action of a forecasting annotation, in seconds of the whole video."""

    video_uid: str
    start_seconds: float
    end_seconds: float
    verb_label: int | None
    noun_label: int | None
    """None in the unannotated test split."""


def read_ego4d_videos(path: Path) -> list[Ego4dVideo]:
    """`videos` of ego4d.json; DataFileError names the entry that can't be read."""
    out = []
    for number, entry in enumerate(_list_of(path, "videos", part="metadata")):
        try:
            out.append(
                Ego4dVideo(
                    uid=str(entry["video_uid"]),
                    duration_seconds=float(entry["duration_sec"]),
                    has_gaze=bool(entry.get("has_gaze", False)),
                    scenarios=tuple(entry.get("scenarios") or ()),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(f"{path}, videos[{number}]: {error!r}.", path=str(path)) from None
    return out


def read_ego4d_clips(path: Path) -> list[Ego4dClip]:
    """`clips` of ego4d.json: parts [start, end) of videos; DataFileError names the entry that can't be read."""
    out = []
    for number, entry in enumerate(_list_of(path, "clips", part="metadata")):
        try:
            clip = Ego4dClip(
                uid=str(entry["clip_uid"]),
                video_uid=check_video_id(str(entry["video_uid"])),
                start_seconds=float(entry["video_start_sec"]),
                end_seconds=float(entry["video_end_sec"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(f"{path}, clips[{number}]: {error!r}.", path=str(path)) from None
        if not 0 <= clip.start_seconds < clip.end_seconds:
            raise DataFileError(
                f"{path}, clips[{number}]: {clip.start_seconds} to {clip.end_seconds} s is no range.", path=str(path)
            )
        out.append(clip)
    return out


def _list_of(path: Path, key: str, *, part: str = "annotations") -> list[Any]:
    """The list under `key`; DataFileError with the downloader's command where the file or the list is missing."""
    option = "--metadata" if part == "metadata" else f"--datasets {part}"
    hint = f"Get it with: ego4d --output_directory ROOT --version v2 {option}"
    if not path.exists():
        raise DataFileError(f"{path} does not exist.", hint=hint, path=str(path))
    content = read_json(path, max_bytes=_MAX_JSON)
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise DataFileError(f"{path} has no list `{key}`; is it the file it is taken for?", hint=hint, path=str(path))
    return found


def read_wearer_gaze(
    path: Path, frame_count: int, *, min_confidence: float = 0.6, origin: str = "bottom-left"
) -> WearerGaze:
    """The median of each frame's confident samples; frame = round(canonical_timestamp_s * 30).

    Args:
        path: `v2/gaze/<video_uid>.csv`.
        frame_count: of the canonical video; samples of other frames don't count.
        min_confidence: samples below it don't count.
        origin: where norm_pos has y = 0, `bottom-left` (Pupil) or `top-left`.

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
    return WearerGaze(
        xy=xy,
        age_seconds=age,
        counts={
            "rows": len(table),
            "low_confidence": int((usable & ~confident).sum()),
            "no_number": int((~usable).sum()),
        },
    )


def read_lta(path: Path) -> list[ForecastClip]:
    """`fho_lta_{train,val,test_unannotated}.json`: actions in the time of the whole video, sorted.

    Clip times are moved by the clip's start in its video. Raises DataFileError naming the entry.
    """
    out = []
    for number, clip in enumerate(_list_of(path, "clips")):
        if missing := [name for name in _LTA_NEEDED if not isinstance(clip, dict) or name not in clip]:
            raise DataFileError(f"{path}, clips[{number}] lacks {', '.join(missing)}.", path=str(path))
        try:
            shift = float(clip["clip_parent_start_sec"])
            out.append(
                ForecastClip(
                    video_uid=check_video_id(str(clip["video_uid"])),
                    start_seconds=shift + float(clip["action_clip_start_sec"]),
                    end_seconds=shift + float(clip["action_clip_end_sec"]),
                    verb_label=_label(clip.get("verb_label")),
                    noun_label=_label(clip.get("noun_label")),
                )
            )
        except (TypeError, ValueError) as error:
            raise DataFileError(f"{path}, clips[{number}]: {error}.", path=str(path)) from None
    return sorted(out, key=lambda clip: (clip.video_uid, clip.start_seconds))


@dataclass(frozen=True, kw_only=True)
class ShortTermFrame:
    """One annotated frame of fho_sta: what will be touched next."""

    uid: str
    video_uid: str
    frame: int
    """In the canonical 30 fps video."""
    objects: tuple[dict[str, Any], ...]
    """box [x1, y1, x2, y2] in pixels, verb_category_id, noun_category_id, time_to_contact (s); empty in the test."""


def read_sta(path: Path) -> list[ShortTermFrame]:
    """`fho_sta_{train,val,test_unannotated}.json`; DataFileError names the entry that can't be read."""
    out = []
    for number, entry in enumerate(_list_of(path, "annotations")):
        try:
            out.append(
                ShortTermFrame(
                    uid=str(entry["uid"]),
                    video_uid=check_video_id(str(entry.get("video_id") or entry["video_uid"])),
                    frame=int(entry["frame"]),
                    objects=tuple(entry.get("objects") or ()),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(f"{path}, annotations[{number}]: {error!r}.", path=str(path)) from None
    return out


def read_taxonomy(path: Path) -> tuple[list[str], list[str]]:
    """(verbs, nouns) of `fho_lta_taxonomy.json`; a label is a place in its list. DataFileError: not of that form."""
    lists = [_list_of(path, key) for key in ("verbs", "nouns")]
    for key, names in zip(("verbs", "nouns"), lists, strict=True):
        if wrong := [number for number, name in enumerate(names) if not isinstance(name, str)]:
            raise DataFileError(f"{path}, {key}[{wrong[0]}]: {names[wrong[0]]!r} is no name.", path=str(path))
    return lists[0], lists[1]


def _label(value: Any) -> int | None:
    return None if value is None else int(value)
