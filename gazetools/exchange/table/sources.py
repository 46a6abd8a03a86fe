"""What a table is made from: a store, a packed dataset, or other tools' heatmaps; its videos and known columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from gazetools.egoexo.exo_view import exo_camera
from gazetools.egoexo.geometry import Fisheye
from gazetools.exchange.table.dataset_rows import DatasetRows
from gazetools.exchange.table.row_blocks import VideoRows
from gazetools.exchange.table.store_rows import StoreRows
from gazetools.heatmaps import HeatmapReader
from gazetools.io.atomic import sha256_of_file
from gazetools.io.closing import Closing
from gazetools.io.find_files import files_with
from gazetools.io.source_file import find_source, folder_of_id, not_there
from gazetools.layouts.locate import list_foreign, read_manifest
from gazetools.schemas.base import nearest_name
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.store import SIDECAR_SUFFIX, STORE_SUFFIX
from gazetools.schemas.table import CAMERA_ANGLE, DATASET_COLUMNS, STORE_COLUMNS, TableColumn
from gazetools.store import StoreEntry, StoreReader, list_store, open_store
from gazetools.store.listing import read_sidecar


class GazeSource(Closing):
    """Videos with heatmaps."""

    kind: Literal["store", "dataset", "heatmaps"]
    video_ids: list[str]
    """Chosen videos, sorted."""

    @abstractmethod
    def columns(self) -> tuple[list[TableColumn], dict[str, str]]:
        """(columns that at least one video has, others with the reason why they are not known)."""

    @abstractmethod
    def open(self, video_id: str) -> VideoRows:
        """The rows of a video. Raises DataFileError where it can't be used."""


def open_source(path: Path, videos: Sequence[str] | None) -> GazeSource:
    """The store, dataset or heatmap folder at `path` with the chosen `videos`, None for all.

    Raises UsageError: nothing there, nothing in it, or an id that is not in it.
    """
    if path.is_file() and path.suffix == STORE_SUFFIX:
        return StoreSource([_entry_of(path)], videos)
    if not path.is_dir():
        what = "does not exist" if not path.exists() else "is no store, dataset or folder of heatmaps"
        raise UsageError(
            f"{path} {what}.", hint="Pass the folder of extract -o or pack -o, or one .h5 file of a store."
        )
    if (path / MANIFEST_NAME).is_file() or not any(files_with(path, STORE_SUFFIX)):
        return DatasetSource(path, videos)
    return StoreSource(list_store(path), videos)


def _entry_of(path: Path) -> StoreEntry:
    sidecar = path.with_suffix(SIDECAR_SUFFIX)
    problem = None if sidecar.is_file() else "the payload has no sidecar: its writing did not finish"
    video_id = path.stem if problem else read_sidecar(sidecar).video_id
    return StoreEntry(video_id=video_id, payload=path, sidecar=sidecar, problem=problem)


def _chosen(where: str, known: Sequence[str], videos: Sequence[str] | None) -> list[str]:
    if not known:
        raise UsageError(f"{where} has no heatmaps.", hint="Pass the folder of extract -o or pack -o.")
    for video_id in videos or ():
        if video_id not in known:
            near = nearest_name(video_id, list(known))
            raise UsageError(
                f"{where} has no video {video_id!r}." + (f" Did you mean {near!r}?" if near else ""),
                hint="Ids are paths below the folder, without the suffix.",
            )
    return sorted(set(videos)) if videos else sorted(known)


class StoreSource(GazeSource):
    """Store files; the checksum of the next one is compared while the present one is read."""

    kind = "store"

    def __init__(self, entries: Sequence[StoreEntry], videos: Sequence[str] | None) -> None:
        self._entries = {entry.video_id: entry for entry in entries}
        self.video_ids = _chosen("The store", list(self._entries), videos)
        self._lenses: dict[str, Fisheye | str] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gazetools-sha256")
        self._checked: dict[str, Future[bool]] = {}

    def columns(self) -> tuple[list[TableColumn], dict[str, str]]:
        known, absent, with_inout = list(STORE_COLUMNS), {}, False
        for entry in self._entries.values():
            if entry.video_id in self.video_ids and entry.problem is None:
                try:
                    with open_store(entry.payload) as store:
                        self._lenses[entry.video_id] = lens_of(store)
                        with_inout |= store.provenance.model.inout
                except DataFileError:
                    continue  # it fails by name when its rows are read
        reasons = [reason for reason in self._lenses.values() if isinstance(reason, str)]
        if len(reasons) == len(self._lenses):
            absent[CAMERA_ANGLE.name] = f"no calibrated camera: {reasons[0]}" if reasons else "no video can be read"
        if not with_inout:
            absent["inout"] = "the model gives none"
        return [column for column in known if column.name not in absent], absent

    def open(self, video_id: str) -> VideoRows:
        entry = self._entries[video_id]
        if entry.problem is not None:
            raise DataFileError(f"It is incomplete: {entry.problem}.", hint="Run extract again for this video.")
        if not self._checksum(video_id).result():
            raise DataFileError(
                f"The sha256 of {entry.payload} differs from its sidecar's.",
                hint="Run extract again for this video with --overwrite.",
                path=str(entry.payload),
            )
        if later := self.video_ids[self.video_ids.index(video_id) + 1 :]:
            self._checksum(later[0])
        store = open_store(entry.payload, direct=True)  # its checksum was compared above
        try:
            lens = self._lenses.get(video_id, "")
            return StoreRows(store, None if isinstance(lens, str) else lens)
        except DataFileError:
            store.close()
            raise

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _checksum(self, video_id: str) -> Future[bool]:
        """Whether payload and sidecar agree; computed once."""
        if video_id not in self._checked:
            self._checked[video_id] = self._pool.submit(_agrees, self._entries[video_id])
        return self._checked[video_id]


def _agrees(entry: StoreEntry) -> bool:
    return sha256_of_file(entry.payload) == read_sidecar(entry.sidecar).payload_sha256


def lens_of(store: StoreReader) -> Fisheye | str:
    """The calibrated lens of the store's camera at the size of its video, or the reason why it is not known.

    Known are the camera in the provenance of `groundtruth`, and exo cameras of a video that lies in an Ego-Exo4D root.
    """
    stated = (store.provenance.options.get("geometry") or {}).get("lens")
    if stated:
        return Fisheye(**{**stated, "k": tuple(stated["k"])})
    video = store.provenance.video
    source = find_source(video, folder_of_id(store.path, store.video_id))
    if source is None:
        return f"{not_there(video)}."
    try:
        _, camera = exo_camera(
            source.path, width=video.width, height=video.height, rotation_degrees=video.rotation_degrees
        )
    except UsageError as error:
        return error.message
    return camera.lens


class DatasetSource(GazeSource):
    """A packed dataset, or a folder of other tools' heatmaps."""

    def __init__(self, path: Path, videos: Sequence[str] | None) -> None:
        self._path = path
        self._manifest = read_manifest(path) if (path / MANIFEST_NAME).is_file() else None
        self.kind = "heatmaps" if self._manifest is None else "dataset"
        known = list_foreign(path) if self._manifest is None else self._manifest.videos
        self.video_ids = _chosen(str(path), list(known), videos)
        options = None if self._manifest is None else self._manifest.options
        self._rows_are_frames = options is None or (options.align == "video" and options.fps is None)

    def columns(self) -> tuple[list[TableColumn], dict[str, str]]:
        one_map = "a dataset has one map per frame and not the people that it is made of; make the table of the store"
        absent = {column.name: one_map for column in STORE_COLUMNS if column not in DATASET_COLUMNS}
        if not self._rows_are_frames:
            absent["frame"] = "rows are not decoded frames (packed with --fps or --align native); `row` counts them"
        wanted: dict[str, tuple[Callable[[HeatmapReader], bool], str]] = {
            "inout": (lambda reader: reader.inout is not None, "the files have none"),
            "pts_seconds": (lambda reader: reader.pts_seconds is not None, "the files have no times"),
        }
        readers = [] if self._manifest is not None else self._readable()
        for name, (has, why) in wanted.items():
            if self._manifest is None and not any(map(has, readers)):
                absent[name] = why
        sized = self._manifest is not None and any(
            "width" in (self._manifest.videos[one].provenance.get("video") or {}) for one in self.video_ids
        )
        if not sized:
            absent["spread_radius"] = "the size of the video in pixels is not recorded"
        return [column for column in DATASET_COLUMNS if column.name not in absent], absent

    def open(self, video_id: str) -> VideoRows:
        reader = HeatmapReader(self._path, video_id, resized=False)
        entry = None if self._manifest is None else self._manifest.videos[video_id]
        return DatasetRows(reader, entry, rows_are_frames=self._rows_are_frames)

    def close(self) -> None:
        """Nothing is open between videos."""

    def _readable(self) -> list[HeatmapReader]:
        readers = []
        for video_id in self.video_ids:
            try:
                with HeatmapReader(self._path, video_id, resized=False) as reader:
                    readers.append(reader)
            except UsageError:
                continue  # it fails by name when its rows are read
        return readers
