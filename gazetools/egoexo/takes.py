"""The takes of an Ego-Exo4D root: which videos and recordings each has, and the command that fetches what it lacks."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gazetools.io.json_files import read_json
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import check_video_id, path_of_id

PSEUDO_CAMERAS = frozenset({"best_exo", "collage"})
"""Entries beside the real cameras that name no recording of their own."""
RGB_STREAM = "214-1"
_MAX_JSON = 1 << 30
_DOWNSCALED = "frame_aligned_videos/downscaled"


@dataclass(frozen=True, kw_only=True)
class CameraVideo:
    """One camera of a take."""

    name: str
    """`cam01`, or the ego RGB stream's `aria01_214-1`; the last part of the video id."""
    camera_id: str
    """`cam01`, `aria01`: the name in calibrations and timesync.csv."""
    is_ego: bool
    path: Path | None
    """None where the video was not downloaded."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """One entry of takes.json."""

    name: str
    uid: str
    root: Path
    folder: Path
    capture_name: str
    timesync_start: int | None
    timesync_end: int | None
    cameras: tuple[CameraVideo, ...]
    arias: tuple[str, ...]
    """Camera ids of Aria glasses, sorted."""
    pseudo_cameras: int
    """Entries without a recording (`best_exo`, `relative_path: null`), which are left out."""
    problems: tuple[str, ...]
    """What is wrong with the entry itself."""

    def video_id(self, camera: CameraVideo) -> str:
        """`take/camera`."""
        return check_video_id(f"{self.name}/{camera.name}")

    @property
    def calibration(self) -> Path:
        """gopro_calibs.csv"""
        return self.folder / "trajectory" / "gopro_calibs.csv"

    @property
    def trajectory(self) -> Path:
        """closed_loop_trajectory.csv"""
        return self.folder / "trajectory" / "closed_loop_trajectory.csv"

    @property
    def semidense_points(self) -> Path:
        """semidense_points.csv.gz"""
        return self.folder / "trajectory" / "semidense_points.csv.gz"

    @property
    def timesync(self) -> Path:
        """timesync.csv of the capture."""
        return self.root / "captures" / self.capture_name / "timesync.csv"

    def eye_gaze(self, *, flat: bool = False, kind: str = "auto") -> Path | None:
        """The eye-gaze CSV (`flat`: 2-D in the RGB picture), `personalized` before `general`; None: there is none."""
        kinds = ("personalized", "general") if kind == "auto" else (kind,)
        names = [f"{one}_eye_gaze{'_2d' * flat}.csv" for one in kinds]
        return next((path for name in names if (path := self.folder / "eye_gaze" / name).is_file()), None)

    def require(self, path: Path, part: str) -> Path:
        """`path`, or DataFileError with the command that downloads the part it belongs to."""
        if path.is_file():
            return path
        raise DataFileError(
            f"Take {self.name}: {path} is missing.", hint=f"Get it with: {self.download(part)}", path=str(path)
        )

    def download(self, *parts: str) -> str:
        """The official downloader's command for parts of this take."""
        return f"egoexo -o {self.root} --parts {' '.join(parts)} --uids {self.uid}"

    def missing(self, view: str = "exo") -> list[tuple[str, str]]:
        """(file, download command) for everything absent that head boxes or gaze of `view` may need."""
        lacks = [
            (camera.name, self.download("takes"))
            for camera in self.cameras
            if camera.path is None and camera.is_ego == (view == "ego")
        ]
        files = [(self.timesync, "captures")]
        if view == "exo":
            files += [(self.calibration, "take_trajectory"), (self.trajectory, "take_trajectory")]
        lacks += [(str(path), self.download(part)) for path, part in files if not path.is_file()]
        if self.eye_gaze(flat=view == "ego") is None:
            lacks.append(
                (f"{self.folder / 'eye_gaze'}/*_eye_gaze{'_2d' * (view == 'ego')}.csv", self.download("take_eye_gaze"))
            )
        return lacks


def is_egoexo_root(path: Path) -> bool:
    """Whether `path` is a folder as the `egoexo` downloader leaves it."""
    return (path / "takes.json").is_file() and (path / "takes").is_dir()


def take_of_video(video: Path) -> Take:
    """The take that the file `ROOT/takes/<take>/...` belongs to; UsageError where it lies in no Ego-Exo4D root."""
    resolved = video.absolute()
    for folder in resolved.parents:
        if folder.parent.name == "takes" and is_egoexo_root(folder.parent.parent):
            takes = {take.folder.name: take for take in read_takes(folder.parent.parent)}
            if folder.name in takes:
                return takes[folder.name]
            raise UsageError(
                f"The take {folder.name} is not in {folder.parent.parent / 'takes.json'}.",
                hint=f"Get the current file with: egoexo -o {folder.parent.parent} --parts metadata",
            )
    raise UsageError(
        f"{video} does not lie in an Ego-Exo4D root (ROOT/takes.json, ROOT/takes/<take>/...).",
        hint="Pass the folder that `egoexo -o ROOT` filled, or a video in it.",
    )


def read_takes(root: Path) -> tuple[Take, ...]:
    """Every take of takes.json, sorted by name, dropped ones too (see `problems`); UsageError: it can't be read."""
    path = root / "takes.json"
    if not path.is_file():
        raise UsageError(f"{path} does not exist.", hint=f"Get it with: egoexo -o {root} --parts metadata")
    stamp = path.stat()
    return _read_takes(root.absolute(), stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=2)
def _read_takes(root: Path, _mtime_ns: int, _size: int) -> tuple[Take, ...]:
    entries = read_json(root / "takes.json", max_bytes=_MAX_JSON)
    if not isinstance(entries, list):
        raise DataFileError(f"{root / 'takes.json'} is no list of takes.", hint="Download the metadata again.")
    takes = [_take(root, number, entry) for number, entry in enumerate(entries)]
    names = [take.name for take in takes]
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise DataFileError(f"{root / 'takes.json'} has the take(s) {', '.join(twice[:5])} twice.")
    return tuple(sorted(takes, key=lambda take: take.name))


def _take(root: Path, number: int, entry: Any) -> Take:
    where = f"{root / 'takes.json'}, entry {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("take_name"), str):
        raise DataFileError(f"{where} has no take_name.", hint="Download the metadata again.")
    name = check_video_id(entry["take_name"])
    problems = []
    if "/" in name:
        raise DataFileError(f"{where}: the take name {name!r} has a slash.")
    if entry.get("is_dropped"):
        problems.append("the take is marked is_dropped")
    capture: dict[str, Any] = entry["capture"] if isinstance(entry.get("capture"), dict) else {}
    capture_name = str(capture.get("capture_name") or re.sub(r"_\d+$", "", name))
    folder = path_of_id(root, str(entry.get("root_dir") or f"takes/{name}").strip("/"), "")
    cameras, pseudo = _cameras(folder, entry, capture, problems)
    arias = sorted({camera.camera_id for camera in cameras if camera.camera_id.startswith("aria")})
    return Take(
        name=name,
        uid=str(entry.get("take_uid", "")),
        root=root,
        folder=folder,
        capture_name=check_video_id(capture_name),
        timesync_start=_whole(entry.get("timesync_start_idx")),
        timesync_end=_whole(entry.get("timesync_end_idx")),
        cameras=cameras,
        arias=tuple(arias),
        pseudo_cameras=pseudo,
        problems=tuple(problems),
    )


def _cameras(
    folder: Path, entry: dict[str, Any], capture: dict[str, Any], problems: list[str]
) -> tuple[tuple[CameraVideo, ...], int]:
    listed = [camera for camera in capture.get("cameras") or () if isinstance(camera, dict)]
    ids = [str(camera.get("cam_id")) for camera in listed]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        problems.append(f"capture.cameras lists {', '.join(twice)} more than once")
    is_ego = {str(camera.get("cam_id")): bool(camera.get("is_ego")) for camera in listed}
    cameras, pseudo = [], 0
    videos = entry.get("frame_aligned_videos")
    for camera_id, streams in sorted(videos.items() if isinstance(videos, dict) else ()):
        for stream, facts in sorted(streams.items() if isinstance(streams, dict) else ()):
            relative = facts.get("relative_path") if isinstance(facts, dict) else None
            if camera_id in PSEUDO_CAMERAS or not relative:
                pseudo += 1
                continue
            aria = camera_id.startswith("aria")
            if aria and stream != "rgb" and RGB_STREAM not in str(relative):
                continue  # SLAM and eye cameras are neither exo nor what the wearer sees in colour
            path = path_of_id(folder, str(relative), "")
            cameras.append(
                CameraVideo(
                    name=path.stem,
                    camera_id=camera_id,
                    is_ego=is_ego.get(camera_id, aria),
                    path=_downloaded(folder, path),
                )
            )
    return tuple(cameras), pseudo


def _downloaded(folder: Path, path: Path) -> Path | None:
    """The full-size file, else the largest down-scaled one, else None."""
    if path.is_file():
        return path
    smaller = [one for one in (folder / _DOWNSCALED).glob(f"*/{path.name}") if one.parent.name.isdigit()]
    return max(smaller, key=lambda one: int(one.parent.name), default=None)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and value == int(value) else None


def choose_takes(root: Path, wanted: str | None) -> list[Take]:
    """The takes to work on: those with a folder and not dropped, or those named.

    Args:
        root: the Ego-Exo4D root.
        wanted: take names, uids or patterns such as `*_cooking_*`, separated by commas; None: all that are there.

    Raises UsageError for a name that takes.json does not have, with the nearest, and where nothing is left.
    """
    takes = read_takes(root)
    if wanted is None:
        chosen = [take for take in takes if take.folder.is_dir() and "is_dropped" not in "".join(take.problems)]
        if not chosen:
            raise UsageError(
                f"{root} lists {len(takes)} takes but has the folder of none.",
                hint=f"Get some with: egoexo -o {root} --parts takes captures take_trajectory take_eye_gaze --uids UID",
            )
        return chosen
    chosen = []
    for pattern in _parts(wanted):
        found = [take for take in takes if pattern == take.uid or fnmatch.fnmatchcase(take.name, pattern)]
        if not found:
            near = nearest_name(pattern, [take.name for take in takes])
            raise UsageError(
                f"No take {pattern!r} in {root / 'takes.json'}." + (f" Did you mean {near!r}?" if near else ""),
                hint="--takes takes names, uids and patterns separated by commas.",
            )
        chosen += [take for take in found if take not in chosen]
    return chosen


def choose_cameras(take: Take, *, views: str = "exo", cameras: str | None = None) -> list[CameraVideo]:
    """The take's cameras of the views (`exo`, `ego`, or both as `exo,ego`) and, if named, only those (patterns too)."""
    wanted = [camera for camera in take.cameras if ("ego" if camera.is_ego else "exo") in _parts(views)]
    if cameras is None:
        return wanted
    patterns = _parts(cameras)
    return [c for c in wanted if any(fnmatch.fnmatchcase(name, p) for name in (c.name, c.camera_id) for p in patterns)]


def check_views(views: str) -> str:
    """`views` if it is exo, ego, or both; else UsageError."""
    if not _parts(views) or set(_parts(views)) - {"exo", "ego"}:
        raise UsageError(f"--views {views!r} must be exo, ego, or exo,ego.", hint="Change --views.")
    return views


def _parts(text: str) -> Sequence[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
