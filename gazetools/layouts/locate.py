"""Find the file or folder that holds a video's heatmaps, and its entry in the dataset's manifest."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gazetools.io.find_files import files_with
from gazetools.io.folders import below
from gazetools.io.json_files import read_json
from gazetools.layouts.base import Layout
from gazetools.layouts.foreign import UNREAD_FORMATS
from gazetools.layouts.npy import holds_archive_frames, is_frame_folder
from gazetools.layouts.registry import foreign_layout, foreign_suffix, layout_named
from gazetools.schemas.base import explain_validation_error, parse_settings
from gazetools.schemas.dataset import MANIFEST_NAME, MANIFEST_SCHEMA_VERSION, MAX_MANIFEST_BYTES, Manifest, PackedVideo
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.video_id import check_below, check_video_id

FILE_SUFFIXES = (".npz", ".npy", ".pt", ".pth", ".zarr.zip")
"""Suffixes of files with the heatmaps of one video that other tools write."""
TENSORS = (".pt", ".pth")
"""Suffixes of PyTorch files, which may be heatmaps or anything else."""
_FRAMES = (".npy", ".npz", *TENSORS)
"""Suffixes of files that may be the numbered frames of a folder."""
_WHOLE_ARRAY_IN_FOLDER = "gaze.npy"  # as the public prototype writes it


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a video's heatmaps lie."""

    layout: Layout
    path: Path
    entry: PackedVideo | None
    """The manifest's entry; None for heatmaps made by other tools."""


def locate(dataset: Path, video_id: str, choice: ArrayChoice | None = None) -> Location | None:
    """The heatmaps of `video_id` in `dataset`, None where there are none.

    With a manifest its entry decides; without one `<id>.npz`, `<id>.npy`, `<id>/gaze.npy` or the folder `<id>` with
    numbered .npy files is taken, or `<id>.pt`, `<id>.pth`, `<id>.zarr` or `<id>.zarr.zip`, as `choice` says.
    Raises DataFileError for a bad id, dataset or manifest, and where two of these exist; UsageError for a choice in a
    dataset with a manifest.
    """
    choice = choice or ArrayChoice()
    if not dataset.is_dir():
        raise DataFileError(
            f"The heatmap dataset {dataset} is not a folder.", hint="Pass the folder that holds the heatmaps."
        )
    is_dataset = (dataset / MANIFEST_NAME).exists()
    if is_dataset:
        choice.refuse_for(f"The dataset {dataset}")
    try:
        known_id = check_video_id(video_id)
        location = _stated_location(dataset, known_id) if is_dataset else _foreign_location(dataset, known_id, choice)
        if location is not None:
            check_below(location.path, dataset, video_id)
    except UsageError as error:
        raise DataFileError(error.message, hint=error.hint) from None
    return location


def _stated_location(dataset: Path, video_id: str) -> Location | None:
    """The file that the manifest names."""
    path = dataset / MANIFEST_NAME
    value = raw_manifest(dataset)["videos"].get(video_id)
    if value is None:
        return None
    try:
        entry = PackedVideo.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(explain_validation_error(error, PackedVideo))
        raise DataFileError(f"{path}: the entry of {video_id!r} is broken: {problems}.", path=str(path)) from None
    if (layout := layout_named(video_id, entry.file)) is None:
        raise DataFileError(f"{path}: the file {entry.file!r} of {video_id!r} is not its own.")
    return Location(layout=layout, path=dataset / entry.file, entry=entry)


def _foreign_location(dataset: Path, video_id: str, choice: ArrayChoice) -> Location | None:
    """Heatmaps without a manifest: the only one of the known places that exists."""
    folder = _as_written(dataset, video_id)
    files = [_with_suffix(dataset, video_id, suffix) for suffix in FILE_SUFFIXES]
    files.append(folder / _WHOLE_ARRAY_IN_FOLDER)
    paths = [path for path in files if path.is_file()]
    if (store := _as_written(dataset, f"{video_id}.zarr")).is_dir():
        paths.append(store)
    if folder.is_dir() and is_frame_folder(folder):
        paths.append(folder)
    if not paths and video_id == _composed(dataset.resolve().name) and is_frame_folder(dataset):
        paths.append(dataset)
    if not paths:
        unread = (_as_written(dataset, video_id + suffix) for suffix in UNREAD_FORMATS)
        paths = [path for path in unread if path.is_file()]
    if len(paths) > 1:
        raise duplicate_heatmaps(video_id, paths)
    return Location(layout=foreign_layout(paths[0], choice), path=paths[0], entry=None) if paths else None


def _as_written(dataset: Path, name: str) -> Path:
    """The path of `name` in NFC, or where there is none in NFD, in which macOS writes names."""
    path, decomposed = dataset / name, dataset / unicodedata.normalize("NFD", name)
    return decomposed if decomposed.exists() and not path.exists() else path


def _with_suffix(dataset: Path, video_id: str, suffix: str) -> Path:
    """The file of the video with this suffix, or where there is none with that in upper case."""
    path, upper = (_as_written(dataset, video_id + one) for one in (suffix, suffix.upper()))
    return upper if upper.is_file() and not path.is_file() else path


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def duplicate_heatmaps(video_id: str, paths: list[Path]) -> DataFileError:
    """The error for several heatmaps of one video."""
    return DataFileError(
        f"{' and '.join(map(str, paths))} are both of {video_id!r}.", hint="Remove or rename one of them."
    )


def list_foreign(root: Path) -> dict[str, list[Path]]:
    """Id in NFC -> paths of its heatmaps below `root`: .npz, .pt, zarr, folders of numbered .npy, other .npy.

    Folders that are links out of `root` count as one video, so that they are refused by name, and so do files of
    formats that are not read where there is nothing else.
    """
    found: dict[str, list[Path]] = {}
    folders: set[Path] = set()
    checked: set[tuple[Path, str]] = set()
    for path in sorted(path for path in _shown(root) if _may_hold_maps(path)):
        suffix = foreign_suffix(path)
        place, named = path, path.with_name(path.name[: len(path.name) - len(suffix)])
        if path.name == _WHOLE_ARRAY_IN_FOLDER and path.parent != root:
            named = path.parent
        elif path.parent in folders:
            continue
        elif suffix in _FRAMES and (kind := (path.parent, suffix)) not in checked:
            checked.add(kind)
            if is_frame_folder(path.parent) if suffix == ".npy" else holds_archive_frames(path.parent, suffix):
                folders.add(path.parent)
                place = named = path.parent
        name = root.resolve().name if named == root else named.relative_to(root).as_posix()
        found.setdefault(_composed(name), []).append(place)
    tensors = {name: paths for name, paths in found.items() if all(one.suffix.lower() in TENSORS for one in paths)}
    if len(tensors) < len(found):  # next to other heatmaps a checkpoint of a model is no video
        found = {n: p for n, p in found.items() if n not in tensors or not all(map(_holds_no_maps, p))}
    for path in [] if found else list_unread(root):
        found.setdefault(_composed(path.relative_to(root).with_suffix("").as_posix()), []).append(path)
    for path in _folders_out(root):
        found.setdefault(_composed(path.relative_to(root).as_posix()), []).append(path)
    return found


def _holds_no_maps(path: Path) -> bool:
    """Whether nothing in the PyTorch file `path` can be heatmaps, as in a checkpoint of a model."""
    try:
        foreign_layout(path, ArrayChoice()).header(path)
    except DataFileError as error:
        return error.details.get("finding") != "maps-ambiguous"
    return False


def _may_hold_maps(path: Path) -> bool:
    """Whether the name is that of another tool's heatmaps; what lies inside of a zarr store is part of it."""
    if any(parent.name.lower().endswith(".zarr") for parent in path.parents):
        return False
    suffix = foreign_suffix(path)
    return path.is_dir() if suffix == ".zarr" else suffix in FILE_SUFFIXES and path.is_file()


def _folders_out(root: Path) -> list[Path]:
    """Links below `root` to folders with heatmaps outside of it, which are not followed."""
    inside, found = root.resolve(), []
    for folder, names, _ in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        links = [path for path in (Path(folder, name) for name in names) if path.is_symlink()]
        found += [p for p in links if not p.resolve().is_relative_to(inside) and any(files_with(p, *FILE_SUFFIXES))]
    return found


def list_unread(root: Path) -> list[Path]:
    """The files below `root` in formats that are not read, such as .mat, and .pt without heatmaps; no hidden ones."""
    files = [path for path in _shown(root) if path.suffix.lower() in (*UNREAD_FORMATS, *TENSORS) and path.is_file()]
    return sorted(path for path in files if path.suffix.lower() in UNREAD_FORMATS or _holds_no_maps(path))


def _shown(root: Path) -> Iterator[Path]:
    """Everything below `root` that is not hidden; folders that are links are not entered."""
    return (path for path in below(root) if not any(p.startswith(".") for p in path.relative_to(root).parts))


def read_manifest(dataset: Path) -> Manifest:
    """The whole manifest. Raises UsageError where it does not follow its schema, DataFileError where it is damaged."""
    return parse_settings(Manifest, raw_manifest(dataset), what=str(dataset / MANIFEST_NAME))


def raw_manifest(dataset: Path) -> dict[str, Any]:
    """The manifest as JSON, checked for its name, version and table of videos only; cached while it is unchanged."""
    path = dataset / MANIFEST_NAME
    try:
        status = path.stat()
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror}.", path=str(path)) from error
    return _raw_manifest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _raw_manifest(path: Path, _mtime_ns: int, _size: int) -> dict[str, Any]:
    value = read_json(path, max_bytes=MAX_MANIFEST_BYTES)
    if not isinstance(value, dict) or value.get("schema_name") != "gazetools.dataset":
        raise DataFileError(f"{path} is not a gazetools dataset manifest.", path=str(path))
    version = value.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= MANIFEST_SCHEMA_VERSION:
        raise DataFileError(
            f"{path} has schema version {version!r}; this gazetools reads 1 to {MANIFEST_SCHEMA_VERSION}.",
            hint="Upgrade gazetools or pack again.",
            path=str(path),
        )
    if not isinstance(value.get("videos"), dict):
        raise DataFileError(f"{path} has no table of videos.", path=str(path))
    return value
