"""The places that are shown: a store, a packed dataset, or a folder of another tool's heatmaps."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.find_files import SearchNotes, composed, existing_path, walk
from gazetools.io.json_files import read_json
from gazetools.layouts.locate import list_foreign, raw_manifest
from gazetools.schemas.base import parse_settings
from gazetools.schemas.dataset import MANIFEST_NAME, MAX_ORIGIN_BYTES, ORIGIN_SUFFIX, PackOptions
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import REPORT_NAMES, SIDECAR_SUFFIX, STORE_SUFFIX
from gazetools.schemas.video_id import check_video_id, place_of_id
from gazetools.store.listing import read_sidecar
from gazetools.viewer.file_stamp import FileStamp, stamp_of
from gazetools.viewer.video_maps import ReaderMaps, StoreVideoMaps, VideoMaps

_MOST_ROWS = 1 << 40


@dataclass(frozen=True, kw_only=True)
class VideoLine:
    """A video in the list."""

    frames: int | None = None
    """Frames that were processed (in a dataset: rows); None: not known."""
    people: int | None = None
    """Tracks; None: the source has no people."""
    coverage: float | None = None
    """Share of these frames that have a map of their own, 0..1; None: not known."""
    problem: str | None = None
    """Why the heatmaps can't be shown; None: they can."""


class MapRoot(ABC):
    """One place with the heatmaps of many videos, named by their ids."""

    kind: str
    """`store`, `dataset` or `other`, for words on the page."""

    def __init__(self, path: Path, *, only: str | None = None) -> None:
        self.path, self.only = path, only
        """`only`: the one video that is shown; None: all."""

    @abstractmethod
    def stamps(self) -> dict[str, FileStamp]:
        """Every id with the stamp of the file that decides about it; reads no content where that takes long."""

    @abstractmethod
    def stamp(self, video_id: str) -> FileStamp | None:
        """The stamp of one video now; None: it is not there."""

    @abstractmethod
    def line(self, video_id: str) -> VideoLine:
        """What the list says about a video; problems are part of it."""

    @abstractmethod
    def open(self, video_id: str, video_pts: npt.NDArray[np.float64] | None) -> VideoMaps:
        """The heatmaps of a video. Raises DataFileError where they are missing, damaged or hostile."""


class StoreRoot(MapRoot):
    """A store, or with `only` one video of it."""

    kind = "store"

    def stamps(self) -> dict[str, FileStamp]:
        if self.only is not None:
            found = self.stamp(self.only)
            return {} if found is None else {self.only: found}
        names: set[str] = set()
        skipped = len(str(self.path)) + (not str(self.path).endswith(os.sep))
        for path in walk(self.path, SearchNotes()):
            name = str(path)[skipped:]
            if name.endswith((STORE_SUFFIX, SIDECAR_SUFFIX)) and name not in REPORT_NAMES:
                names.add(name)
        stamps = {}
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            if dot + suffix == SIDECAR_SUFFIX or stem + SIDECAR_SUFFIX not in names:
                stamps[composed(stem)] = stamp_of(self.path / name) or FileStamp(0, 0)
        return stamps

    def stamp(self, video_id: str) -> FileStamp | None:
        payload, sidecar = self._files(video_id)
        return stamp_of(sidecar) or stamp_of(payload)

    def line(self, video_id: str) -> VideoLine:
        try:
            payload, path = self._files(video_id)
            if not path.exists():
                return VideoLine(problem="the payload has no sidecar: its writing did not finish")
            stated = read_sidecar(path)
            found = stamp_of(payload)
        except GazetoolsError as error:
            return VideoLine(problem=error.message)
        problem = None
        if found is None:
            problem = "the sidecar has no payload next to it"
        elif stated.video_id != composed(video_id):
            problem = f"the sidecar is of video {stated.video_id!r}"
        elif found.size != stated.payload_bytes:
            problem = f"the payload has {found.size} bytes, its sidecar says {stated.payload_bytes}"
        coverage = 1 - stated.frames_without_people / stated.frames if stated.frames else 0.0
        return VideoLine(frames=stated.frames, people=stated.tracks, coverage=coverage, problem=problem)

    def open(self, video_id: str, video_pts: npt.NDArray[np.float64] | None) -> VideoMaps:
        return StoreVideoMaps(existing_path(self._files(video_id)[0]))

    def _files(self, video_id: str) -> tuple[Path, Path]:
        """The video's file and its sidecar, as they are written on the disk."""
        payload, sidecar = (place_of_id(self.path, video_id, suffix) for suffix in (STORE_SUFFIX, SIDECAR_SUFFIX))
        return existing_path(payload), existing_path(sidecar)


class DatasetRoot(MapRoot):
    """A packed dataset."""

    kind = "dataset"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._options()

    def stamps(self) -> dict[str, FileStamp]:
        stamp = stamp_of(self.path / MANIFEST_NAME) or FileStamp(0, 0)
        return dict.fromkeys(raw_manifest(self.path)["videos"], stamp)

    def stamp(self, video_id: str) -> FileStamp | None:
        return stamp_of(self.path / MANIFEST_NAME) if video_id in raw_manifest(self.path)["videos"] else None

    def line(self, video_id: str) -> VideoLine:
        entry = raw_manifest(self.path)["videos"].get(video_id, {})
        try:
            rows, valid = int(entry["T"]), int(entry["valid_frames"])
        except (KeyError, TypeError, ValueError, OverflowError):  # the last is of a number such as 1e999
            rows, valid = -1, 0
        if not 0 <= valid <= rows <= _MOST_ROWS:
            return VideoLine(problem=f"the entry in {MANIFEST_NAME} is broken")
        return VideoLine(frames=rows, coverage=valid / rows if rows else 0.0)

    def open(self, video_id: str, video_pts: npt.NDArray[np.float64] | None) -> VideoMaps:
        options = self._options()
        follows = options.align == "video" and options.fps is None
        return ReaderMaps(
            self.path, check_video_id(video_id), ArrayChoice(), provenance=self._provenance(video_id),
            follows_video=follows, video_pts=video_pts,
        )  # fmt: skip

    def _options(self) -> PackOptions:
        """How the dataset was packed; the entries of its videos are not all checked for this."""
        return parse_settings(
            PackOptions, raw_manifest(self.path).get("options", {}), what=str(self.path / MANIFEST_NAME)
        )

    def _provenance(self, video_id: str) -> Provenance | None:
        """What the origin file states; None where there is none, or not a whole one."""
        try:
            text = read_json(place_of_id(self.path, video_id, ORIGIN_SUFFIX), max_bytes=MAX_ORIGIN_BYTES)
            return Provenance.model_validate(text["provenance"])
        except (GazetoolsError, ValueError, KeyError, TypeError):
            return None


class OtherRoot(MapRoot):
    """A folder of another tool's heatmaps."""

    kind = "other"

    def __init__(self, path: Path, choice: ArrayChoice, *, only: str | None = None) -> None:
        super().__init__(path, only=only)
        self._choice = choice
        self._paths: dict[str, Path] = {}

    def stamps(self) -> dict[str, FileStamp]:
        listed = list_foreign(self.path)
        self._paths = {name: paths[0] for name, paths in listed.items() if self.only in (None, name)}
        return {name: stamp_of(path) or FileStamp(0, 0) for name, path in self._paths.items()}

    def stamp(self, video_id: str) -> FileStamp | None:
        return stamp_of(self._paths[video_id]) if video_id in self._paths else None

    def line(self, video_id: str) -> VideoLine:
        try:
            with self.open(video_id, None) as maps:
                frames = len(np.unique(maps.table.frame))
                return VideoLine(frames=maps.frame_count, coverage=frames / max(maps.frame_count, 1))
        except GazetoolsError as error:
            return VideoLine(problem=error.message)

    def open(self, video_id: str, video_pts: npt.NDArray[np.float64] | None) -> VideoMaps:
        return ReaderMaps(self.path, check_video_id(video_id), self._choice)


def open_root(path: Path, choice: ArrayChoice) -> MapRoot:
    """The store, dataset or folder of heatmaps at `path`; or one file of one, which is then shown alone.

    Raises UsageError where there are no heatmaps, DataFileError for a broken manifest.
    """
    path = existing_path(path)
    if path.is_file():
        if path.suffix == STORE_SUFFIX:
            choice.refuse_for(f"The store file {path}")
            return StoreRoot(path.parent, only=composed(path.stem))
        return _with_videos(OtherRoot(path.parent, choice, only=composed(path.stem)), path)
    if not path.is_dir():
        raise UsageError(f"The heatmaps {path} do not exist.", hint="Pass a store, a dataset or a folder of heatmaps.")
    if (path / MANIFEST_NAME).exists():
        choice.refuse_for(f"The dataset {path}")
        return DatasetRoot(path)
    if any(found.suffix == STORE_SUFFIX for found in walk(path, SearchNotes())):
        choice.refuse_for(f"The store {path}")
        return StoreRoot(path)
    return _with_videos(OtherRoot(path, choice), path)


def _with_videos(root: OtherRoot, path: Path) -> MapRoot:
    if not root.stamps():
        raise UsageError(
            f"{path} has no heatmaps: neither store files (.h5), nor {MANIFEST_NAME}, nor .npz or .npy.",
            hint="Pass the folder that `extract -o` or `pack -o` wrote, or one of another tool's heatmaps.",
        )
    return root
