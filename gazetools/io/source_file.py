"""Where the video of heatmaps lies, also after stores, datasets and videos were moved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gazetools.io.source_digest import is_source, source_bytes, source_sha256
from gazetools.schemas.provenance import SourceVideo


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file, or a folder of pictures, at one of the places that the provenance names."""

    path: Path
    is_same: bool
    """Whether size, and sha256 where it was compared, are the recorded ones."""


def folder_of_id(path: Path, video_id: str) -> Path:
    """The store or dataset in which `path` is the file of `video_id`.

    >>> folder_of_id(Path("/data/STORE/take/cam01.h5"), "take/cam01")
    PosixPath('/data/STORE')
    """
    parents = path.absolute().parents
    return parents[min(video_id.count("/"), len(parents) - 1)]


def path_seen_from(folder: Path, video: Path) -> str:
    """`SourceVideo.relative_path` of `video` for a store or dataset in `folder`."""
    return Path(os.path.relpath(video.absolute(), folder.absolute())).as_posix()


def moved_path(relative_path: str, folder: Path, other: Path) -> str:
    """The `relative_path` of heatmaps in `folder`, as it is seen from the store or dataset `other`."""
    return path_seen_from(other, Path(os.path.normpath(folder.absolute() / relative_path)))


def find_source(video: SourceVideo, folder: Path) -> SourceFile | None:
    """The video of heatmaps in the store or dataset `folder`; None: nothing is at the recorded places.

    The absolute place and the one relative to `folder` are tried. One file of the recorded size there is taken; of
    several, the one with the recorded sha256. A relative path of an older version is tried from the working folder and,
    with its sha256, from `folder` and its parents. Where all files differ, the first is returned with `is_same` False.
    """
    there = _distinct(_recorded_places(video, folder))
    right = [path for path in there if source_bytes(path) == video.size_bytes]
    if len(right) == 1:
        return SourceFile(path=right[0], is_same=True)
    guesses = [path for path in _distinct(_guesses(video, folder)) if source_bytes(path) == video.size_bytes]
    for path in (*right, *guesses):
        if source_sha256(path) == video.sha256:
            return SourceFile(path=path, is_same=True)
    return SourceFile(path=there[0], is_same=False) if there else None


def not_there(video: SourceVideo) -> str:
    """Sentence part for a video that is at none of its recorded places."""
    seen = "" if video.relative_path is None else f", nor at {video.relative_path} seen from the folder of the heatmaps"
    return f"{video.path} is not there{seen}"


def _recorded_places(video: SourceVideo, folder: Path) -> list[Path]:
    places = [Path(video.path).absolute()]
    if video.relative_path is not None:
        shown, real = (os.path.normpath(one / video.relative_path) for one in (folder.absolute(), folder.resolve()))
        places += [Path(shown), Path(real)]
    return places


def _guesses(video: SourceVideo, folder: Path) -> list[Path]:
    if Path(video.path).is_absolute():
        return []
    return [place / video.path for place in (folder.absolute(), *folder.absolute().parents)]


def _distinct(places: list[Path]) -> list[Path]:
    """The places that are files or folders of pictures, without other names of one."""
    found: dict[str, Path] = {}
    for place in places:
        try:
            if is_source(place):
                found.setdefault(os.path.realpath(place), place)
        except OSError:  # a folder on the way can't be entered
            continue
    return list(found.values())
