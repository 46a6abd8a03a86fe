"""Find the file or folder that holds a video's heatmaps, and its entry in the dataset's manifest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gazetools.io.json_files import read_json
from gazetools.layouts.base import Layout
from gazetools.layouts.npy import is_frame_folder
from gazetools.layouts.registry import layout_at, layout_named
from gazetools.schemas.base import explain_validation_error, parse_settings
from gazetools.schemas.dataset import MANIFEST_NAME, MANIFEST_SCHEMA_VERSION, MAX_MANIFEST_BYTES, Manifest, PackedVideo
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import check_below, check_video_id

_WHOLE_ARRAY_IN_FOLDER = "gaze.npy"  # as the public prototype writes it


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a video's heatmaps lie."""

    layout: Layout
    path: Path
    entry: PackedVideo | None
    """The manifest's entry; None for heatmaps made by other tools."""


def locate(dataset: Path, video_id: str) -> Location | None:
    """The heatmaps of `video_id` in `dataset`, None where there are none.

    With a manifest its entry decides; without one `<id>.npz`, `<id>.npy`, `<id>/gaze.npy` or the folder `<id>` with
    numbered .npy files are taken, in this order. Raises DataFileError for a bad id, dataset or manifest.
    """
    if not dataset.is_dir():
        raise DataFileError(
            f"The heatmap dataset {dataset} is not a folder.", hint="Pass the folder that holds the heatmaps."
        )
    find = _stated_location if (dataset / MANIFEST_NAME).exists() else _foreign_location
    try:
        location = find(dataset, check_video_id(video_id))
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


def _foreign_location(dataset: Path, video_id: str) -> Location | None:
    """Heatmaps without a manifest: the first of the known places that exists."""
    npz, npy, folder = (dataset / (video_id + suffix) for suffix in (".npz", ".npy", ""))
    path = next((path for path in (npz, npy, folder / _WHOLE_ARRAY_IN_FOLDER) if path.is_file()), None)
    if path is None and folder.is_dir() and is_frame_folder(folder):
        path = folder
    return None if path is None else Location(layout=layout_at(path), path=path, entry=None)


def list_foreign(root: Path) -> dict[str, list[Path]]:
    """Id -> paths of its heatmaps below `root`: .npz, folders of numbered .npy, other .npy; without hidden ones."""
    found: dict[str, list[Path]] = {}
    folders: set[Path] = set()
    for path in sorted(root.rglob("*.np[yz]")):
        if any(part.startswith(".") for part in path.relative_to(root).parts) or path.parent in folders:
            continue
        place, named = path, path.with_suffix("")
        if path.suffix == ".npy" and is_frame_folder(path.parent):
            folders.add(path.parent)
            place = named = path.parent
        elif path.name == _WHOLE_ARRAY_IN_FOLDER and path.parent != root:
            named = path.parent
        name = root.resolve().name if named == root else named.relative_to(root).as_posix()
        found.setdefault(name, []).append(place)
    return found


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
