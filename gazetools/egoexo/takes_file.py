"""takes.json -> takes; an entry that can't be used becomes a reason, and the others are read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from gazetools.egoexo.take import RGB_STREAM, CameraVideo, Take, UnusableTake, aria_of_vrs
from gazetools.io.json_files import read_json
from gazetools.io.picture_names import holds_pictures
from gazetools.schemas.downloads import egoexo_command
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names
from gazetools.schemas.video_id import check_video_id, place_of_id

TAKES_NAME = "takes.json"
PSEUDO_CAMERAS = frozenset({"best_exo", "collage"})
"""Entries next to the real cameras that name no recording of their own."""


class _KeyTwice(dict[str, Any]):
    """A JSON object in which some keys occur twice."""

    twice: frozenset[str] = frozenset()


def read_takes_file(root: Path) -> tuple[tuple[Take, ...], tuple[UnusableTake, ...]]:
    """(takes sorted by name, entries that can't be used); DataFileError where the file itself can't be read."""
    path = root / TAKES_NAME
    again = f"Get it again with: {egoexo_command(root, 'metadata')}"
    entries = read_json(path, max_bytes=1 << 30, pairs_hook=_object)
    if not isinstance(entries, list):
        raise DataFileError(f"{path} is no list of takes.", hint=again)
    takes: dict[int, Take] = {}
    faults: dict[int, str] = {}
    for number, entry in enumerate(entries):
        try:
            takes[number] = _take(root, entry)
        except UsageError as error:
            faults[number] = error.message.rstrip(".")
    faults |= _twice(takes)
    unusable = []
    for number, reason in sorted(faults.items()):
        name, uid = (_text_or_none(entries[number], key) for key in ("take_name", "take_uid"))
        called = f" (take {excerpt(name)})" if name else f" (take_uid {excerpt(uid)})" if uid else ""
        message = f"{path}, entry {number}{called}: {reason}. {again}"
        unusable.append(UnusableTake(item_id=f"{TAKES_NAME}[{number}]", name=name, uid=uid, message=message))
    usable = (take for number, take in takes.items() if number not in faults)
    return tuple(sorted(usable, key=lambda take: take.name)), tuple(unusable)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    marked = _KeyTwice(result)
    marked.twice = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return marked


def _keys_twice(value: Any) -> frozenset[str]:
    return value.twice if isinstance(value, _KeyTwice) else frozenset()


def _twice(takes: dict[int, Take]) -> dict[int, str]:
    """Entries that share a folder or a name (in any case, because their files would be shared): number -> reason."""
    found: dict[int, str] = {}
    for what, key in (("take_name", lambda t: t.name.casefold()), ("folder", lambda t: str(t.folder).casefold())):
        groups: dict[str, list[int]] = {}
        for number, take in takes.items():
            groups.setdefault(key(take), []).append(number)
        for number, take in takes.items():
            if others := ", ".join(str(other) for other in groups[key(take)] if other != number):
                found.setdefault(number, f"its {what} is also that of entry {others}, so that neither is certain")
    return found


def _text_or_none(entry: Any, key: str) -> str | None:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) and value else None


def _typed(entry: dict[str, Any], key: str, kind: type, what: str) -> Any:
    """The value of `key` if it is of the type, None where it is absent or null; else DataFileError."""
    value = entry.get(key)
    if value is not None and not isinstance(value, kind):
        raise DataFileError(f"{key} is {_shown(value)}, not {what}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _row(entry: dict[str, Any], key: str) -> int | None:
    value = entry.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0):
        return None if value is None else int(value)
    raise DataFileError(f"{key} is {_shown(value)}, not a whole number")


def _take(root: Path, entry: Any) -> Take:
    if not isinstance(entry, dict):
        raise DataFileError(f"it is {_shown(entry)}, not an object")
    if twice := _keys_twice(entry):
        raise DataFileError(f"it has the key(s) {excerpt_of_names(sorted(twice))} twice")
    if not (given := _typed(entry, "take_name", str, "a name")):
        raise DataFileError("it has no take_name")
    if "/" in (name := check_video_id(given)):
        raise DataFileError(f"the take name {excerpt(name)} has a slash")
    capture: dict[str, Any] = _typed(entry, "capture", dict, "an object") or {}
    relative = (_typed(entry, "root_dir", str, "a path") or f"takes/{name}").strip("/")
    folder = root / check_video_id(relative)
    there = folder.is_dir()
    cameras, pseudo = _cameras(name, folder if there else None, entry, capture)
    return Take(
        name=name,
        uid=_typed(entry, "take_uid", str, "a text") or "",
        root=root,
        folder=folder,
        capture_uid=_text_or_none(capture, "capture_uid") or _text_or_none(entry, "capture_uid") or "",
        capture_name=check_video_id(_typed(capture, "capture_name", str, "a name") or re.sub(r"_\d+$", "", name)),
        timesync_start=_row(entry, "timesync_start_idx"),
        timesync_end=_row(entry, "timesync_end_idx"),
        cameras=cameras,
        arias=_arias(entry, capture),
        recorded_aria=_recorded_aria(entry),
        pseudo_cameras=pseudo,
        is_dropped=bool(entry.get("is_dropped")),
    )


def _arias(entry: dict[str, Any], capture: dict[str, Any]) -> tuple[str, ...]:
    """Glasses by the take's videos, downloaded or not, and by the capture's cameras (some lack `is_ego`)."""
    listed = [camera for camera in capture.get("cameras") or [] if isinstance(camera, dict)]
    named = {str(camera.get("cam_id")) for camera in listed if camera.get("device_type") == "aria"}
    named |= {name for camera in listed if (name := str(camera.get("cam_id"))).startswith("aria")}
    named |= {name for name in entry.get("frame_aligned_videos") or {} if name.startswith("aria")}
    return tuple(sorted(named))


def _recorded_aria(entry: dict[str, Any]) -> str | None:
    names = (aria_of_vrs(_text_or_none(entry, key)) for key in ("vrs_relative_path", "vrs_all_streams_relative_path"))
    return next((name for name in names if name), None)


def _cameras(
    take: str, folder: Path | None, entry: dict[str, Any], capture: dict[str, Any]
) -> tuple[tuple[CameraVideo, ...], int]:
    """Real cameras, and the number of pseudo ones; `folder` is None where nothing of the take was downloaded."""
    listed = _typed(capture, "cameras", list, "a list") or []
    if wrong := [camera for camera in listed if not isinstance(camera, dict)]:
        raise DataFileError(f"capture.cameras has {_shown(wrong[0])}, not an object")
    # of two contradicting rows the exo one counts, so that the camera is reported by default
    exo = {str(camera.get("cam_id")) for camera in listed if not camera.get("is_ego")}
    times_listed = Counter(str(camera.get("cam_id")) for camera in listed)
    videos = _typed(entry, "frame_aligned_videos", dict, "an object") or {}
    found: dict[str, CameraVideo] = {}
    pseudo = 0
    for camera_id, value in sorted(videos.items()):
        streams, problem = value, None
        if times_listed[camera_id] > 1:
            problem = f"capture.cameras lists {excerpt_of_names([camera_id])} {times_listed[camera_id]} times"
        if camera_id in _keys_twice(videos) or _keys_twice(value):
            problem = f"frame_aligned_videos has {excerpt_of_names([camera_id])} or one of its streams twice"
        if camera_id in PSEUDO_CAMERAS or value is None:
            pseudo += 1
            continue
        if not isinstance(value, dict):
            streams, problem = {"0": {"relative_path": camera_id}}, f"its streams are {_shown(value)}, not an object"
        for stream, facts in sorted(streams.items()):
            if facts is None or (isinstance(facts, dict) and not facts.get("relative_path")):
                pseudo += 1
                continue
            relative = facts.get("relative_path") if isinstance(facts, dict) else facts
            aria = camera_id.startswith("aria")
            if aria and stream != "rgb" and RGB_STREAM not in str(relative):
                continue  # SLAM and eye cameras are neither exo nor what the wearer sees in colour
            ego = camera_id not in exo if camera_id in times_listed else aria
            video = _camera(camera_id, relative, folder, ego=ego, problem=problem)
            check_video_id(f"{take}/{video.name}")
            if (other := found.get(video.name.casefold())) is not None:
                cameras = f"{excerpt_of_names([other.camera_id])} and {excerpt_of_names([camera_id])}"
                both = f"{TAKES_NAME}: the file {excerpt_of_names([video.name])} is given for {cameras}"
                video = replace(other, path=None, problem=both)
            found[video.name.casefold()] = video
    return tuple(sorted(found.values(), key=lambda camera: (camera.camera_id, camera.name))), pseudo


def _camera(camera_id: str, relative: Any, folder: Path | None, *, ego: bool, problem: str | None) -> CameraVideo:
    """One camera; a path that can't be used becomes its `problem`."""
    path: Path | None = None
    try:
        if not isinstance(relative, str):
            raise DataFileError(f"its relative_path is {_shown(relative)}, not a path")
        name = Path(check_video_id(relative)).stem
        if folder is not None:
            path = place_of_id(folder, relative, "")
            if not path.is_file():
                frames = path.with_suffix("")
                found = (folder / "frame_aligned_videos/downscaled").glob(f"*/{path.name}")
                smaller = (one for one in found if one.parent.name.isdigit())
                path = max(smaller, key=lambda one: int(one.parent.name), default=None)
                path = frames if path is None and holds_pictures(frames) else path
    except UsageError as error:
        name, problem = camera_id, problem or error.message.rstrip(".")
    return CameraVideo(
        name=name,
        camera_id=camera_id,
        is_ego=ego,
        path=None if problem else path,
        problem=problem and f"{TAKES_NAME}: camera {excerpt_of_names([camera_id])}: {problem}",
    )
