"""Video files below `base_path`, and the cameras of takes: which ones a run shows, which one's heatmaps it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from gazetools.annotations.segment import Segment, group_of
from gazetools.io.find_files import FileLookup, composed, existing_path, target_of
from gazetools.io.json_files import read_json
from gazetools.io.video_files import is_video_name, lookup_videos
from gazetools.schemas.errors import DataFileError, UsageError

TAKE_FOLDERS = tuple(
    f"{root}{{take}}{folder}/"
    for root in ("", "takes/")
    for folder in ("", "/frame_aligned_videos/downscaled/448", "/frame_aligned_videos")
)
"""Folders of a take's videos: `<take>/`, and those of Ego-Exo4D (downscaled videos before full ones)."""
TAKES_NAME = "takes.json"
EGO_PATTERN = "aria*_214-1"
"""Ego-Exo4D's egocentric RGB video; other streams of the glasses (1201-1, 211-1) are named in the config."""
EGO4D_FOLDERS = tuple(f"{root}{name}/" for root in ("", "v2/") for name in ("full_scale", "video_540ss", "clips"))
"""Folders of Ego4D's videos and clips as its downloader leaves them."""
_HEAD_MOUNTED = "aria*"
_BEST = "best_exo"
_MAX_TAKES_BYTES = 1 << 30


def require_folder(base_path: Path) -> None:
    """Raise UsageError where the videos' folder is none."""
    if not base_path.is_dir():
        hint = "Set experiment.data.base_path to the videos' folder."
        what = "is a file" if base_path.exists() else "does not exist"
        raise UsageError(f"The video folder {base_path} {what}.", hint=hint)


def _files_of(
    videos: FileLookup, video_id: str, file_format: int | str | None, folders: Sequence[str] = ()
) -> list[Path]:
    """The files of `video_id` below the root of `videos` (see `lookup_videos`), in one folder, the first to be taken.

    The named layout comes first: file_format 0 = PXX/videos/PXX_YY.MP4, 1 = PXX/PXX_YY.MP4 (PXX = the id up to its
    first `_`), a text = a path with placeholders. Then `<video_id>`, and for `take/camera` Ego-Exo4D's folders, else
    those of `folders`.
    """
    return next((found for name in _names(video_id, file_format, folders) if (found := videos.find_all(name))), [])


def _names(video_id: str, file_format: int | str | None, folders: Sequence[str] = ()) -> list[str]:
    take, slash, camera = video_id.partition("/")
    participant, underscore, _ = video_id.partition("_")
    names = []
    if isinstance(file_format, str):
        fields = {"video_id": video_id, "participant": participant, "take": take, "camera": camera or video_id}
        for field, value in fields.items():
            file_format = file_format.replace(f"{{{field}}}", value)
        names.append(file_format)
    elif file_format is not None and underscore and not slash:
        names.append(f"{participant}/videos/{video_id}" if file_format == 0 else f"{participant}/{video_id}")
    names.append(video_id)
    if slash:
        return [*names, *(folder.format(take=take) + camera for folder in TAKE_FOLDERS)]
    return [*names, *(folder + video_id for folder in folders)]


def find_videos(
    base_path: Path,
    video_ids: Iterable[str],
    file_format: int | str | None,
    notes: list[str] | None = None,
    *,
    folders: Sequence[str] = (),
) -> dict[str, Path]:
    """Id -> file for every id that has one; UsageError where `base_path` is no folder.

    `notes` receives a sentence where several files have one id, such as a.mp4 and a.mov. `folders` below `base_path`
    are looked in, too, such as `EGO4D_FOLDERS`.
    """
    base_path = existing_path(base_path)
    require_folder(base_path)
    videos = lookup_videos(base_path)
    files = {video_id: _files_of(videos, video_id, file_format, folders) for video_id in dict.fromkeys(video_ids)}
    several = {video_id: paths for video_id, paths in files.items() if len(paths) > 1}
    if several and notes is not None:
        video_id, (first, *others) = next(iter(several.items()))
        notes.append(
            f"{len(several)} video id(s) have several files, of which one is read: for {video_id!r} {first}, not "
            f"{', '.join(path.name for path in others)}. Remove the others if that is wrong."
        )
    return {video_id: paths[0] for video_id, paths in files.items() if paths}


def broken_links(base_path: Path, video_ids: Iterable[str], file_format: int | str | None) -> str:
    """Part of a message: which of the videos that were not found are links that lead nowhere; empty for none."""
    videos = lookup_videos(base_path)
    links = [videos.broken_link(name) for video_id in video_ids for name in _names(video_id, file_format)]
    broken = [f"{link}{target_of(link)}" for link in links if link is not None]
    return f" ({len(broken)} broken link(s): {', '.join(broken[:3])})" if broken else ""


class HasCameras(Protocol):
    """Something else that knows cameras of takes: videos whose features are cached."""

    def cameras(self, take: str) -> list[str]:
        """Names of the cameras of `take`."""
        ...


class Takes:
    """The cameras of takes, found by the videos below `base_path`, and those that `kept` knows.

    Ego-Exo4D's takes.json (`takes_file`, else looked for in `base_path`) adds the best camera and head-mounted ones.
    """

    def __init__(self, base_path: Path, takes_file: Path | None = None, *, kept: HasCameras | None = None) -> None:
        self.base_path = existing_path(base_path)
        self._kept = kept
        self._path = takes_file or self.base_path / TAKES_NAME
        self._required = takes_file is not None
        self._cameras: dict[str, list[str]] = {}

    def cameras(self, take: str) -> list[str]:
        """Names of the take's video files without suffix, sorted."""
        if take not in self._cameras:
            folders = (existing_path(self.base_path / folder.format(take=take)) for folder in TAKE_FOLDERS)
            paths = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
            names = {composed(path.stem) for path in paths if is_video_name(path.name) and path.is_file()}
            names |= set(self._kept.cameras(take)) if self._kept is not None else set()
            self._cameras[take] = sorted(names)
        return self._cameras[take]

    def resolve(self, take: str, view: str) -> list[str]:
        """Cameras of `take` that `view` names: `view` is a name or pattern, `ego`, `exo` or `best_exo`.

        A plain name is returned as it is, so that the error for a missing video names its id. UsageError where
        takes.json is needed and absent.
        """
        if view == _BEST:
            best = self._facts.get(take, {}).get("best_exo")
            return [best] if isinstance(best, str) and best else []
        if view == "exo":
            worn = self._head_mounted(take)
            return [c for c in self.cameras(take) if c not in worn and not fnmatchcase(c, _HEAD_MOUNTED)]
        pattern = EGO_PATTERN if view == "ego" else view
        if any(mark in pattern for mark in "*?["):
            return [camera for camera in self.cameras(take) if fnmatchcase(camera, pattern)]
        return [view]

    def _head_mounted(self, take: str) -> set[str]:
        """Cameras that takes.json marks `is_ego` (a head-mounted GoPro is one); none without the file."""
        if not self._path.is_file() and not self._required:
            return set()
        capture = self._facts.get(take, {}).get("capture")
        listed = capture.get("cameras", []) if isinstance(capture, dict) else []
        return {str(c.get("cam_id")) for c in listed if isinstance(c, dict) and c.get("is_ego")}

    @cached_property
    def _facts(self) -> dict[str, dict[str, Any]]:
        """Entries of takes.json by the take's name."""
        if not self._path.is_file():
            raise UsageError(
                f"The view {_BEST!r} needs Ego-Exo4D's takes.json, which is not at {self._path}.",
                hint="Set experiment.data.takes_file, or name a camera such as cam01.",
            )
        document = read_json(self._path, max_bytes=_MAX_TAKES_BYTES)
        if not isinstance(document, list):
            raise DataFileError(f"{self._path} is no list of takes.")
        return {str(t.get("take_name")): t for t in document if isinstance(t, dict)}


def name_cameras(segments: Sequence[Segment], takes: Takes, views: Sequence[str]) -> tuple[list[Segment], list[str]]:
    """(segments with the id `take/camera`, one per camera; takes that have none); UsageError: no folder of takes."""
    if not any(takes.cameras(name) for name in {segment.video_id for segment in segments}):
        require_folder(takes.base_path)
    named: list[Segment] = []
    chosen: dict[str, list[str]] = {}
    for segment in segments:
        take = segment.video_id
        if take not in chosen:
            chosen[take] = list(dict.fromkeys(camera for view in views for camera in takes.resolve(take, view)))
        named += [replace(segment, video_id=f"{take}/{camera}", whole_take=False) for camera in chosen[take]]
    return named, [take for take, cameras in chosen.items() if not cameras]


def heatmap_video_id(segment: Segment, view: str | None, takes: Takes) -> str | None:
    """Id of the video whose maps are read: the clip's own or another camera's of the take; None: there is none."""
    if view is None:
        return segment.video_id
    cameras = takes.resolve(segment.group, view)
    if len(cameras) > 1:
        raise UsageError(
            f"heatmap_view {view!r} names {len(cameras)} cameras of the take {segment.group!r}: {', '.join(cameras)}.",
            hint="Name one camera, or best_exo.",
        )
    return f"{segment.group}/{cameras[0]}" if cameras else None


def refuse_split_takes(train: Iterable[Segment], validation: Iterable[Segment]) -> None:
    """UsageError where different cameras of one take are in both splits; the same video may be (a trial run)."""
    sides: list[dict[str, set[str]]] = [{}, {}]
    for side, segments in zip(sides, (train, validation), strict=True):
        for segment in segments:
            side.setdefault(group_of(segment.video_id), set()).add(segment.video_id)
    split = [group for group, ids in sides[0].items() if sides[1].get(group, ids) != ids]
    if split:
        first = sorted(sides[0][split[0]] | sides[1][split[0]])
        raise UsageError(
            f"{len(split)} take(s) are in training and validation with different cameras, such as {split[0]!r} "
            f"({', '.join(first[:4])}): validation would show scenes that were trained on.",
            hint="Split the annotations by take.",
            takes=sorted(split)[:1000],
        )
