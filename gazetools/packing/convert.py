"""`convert`: a dataset into another layout, or heatmaps of another tool into a dataset with a manifest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.exchange.exports import EXPORTS
from gazetools.heatmaps.values import scale_of, to_float32, to_stored
from gazetools.io.arrays import AnyArray
from gazetools.io.find_files import files_with
from gazetools.layouts.base import Layout, StoredMaps, load_side
from gazetools.layouts.foreign import UNREAD_FORMATS, WITHOUT_MAPS, ForeignLayout
from gazetools.layouts.locate import duplicate_heatmaps, list_foreign, list_unread, read_manifest
from gazetools.layouts.npy import NpyFolder
from gazetools.layouts.registry import LAYOUTS, foreign_layout
from gazetools.layouts.stream import MapStream
from gazetools.packing.manifest import ManifestDraft
from gazetools.packing.one_video import Place, pack_videos
from gazetools.packing.origin import moved_origin
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed, parse_settings
from gazetools.schemas.convert import ConvertOptions, ExportReport
from gazetools.schemas.dataset import (
    CONVERTED_FROM,
    INVERSE_MEMBERS,
    MANIFEST_NAME,
    ORIGIN_SUFFIX,
    PackedItem,
    PackedVideo,
    PackOptions,
    PackReport,
)
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import check_below, path_of_id

_BLOCK_BYTES = 8 << 20


def convert(
    source: str | Path,
    output: str | Path,
    *,
    options: ConvertOptions | None = None,
    choice: ArrayChoice | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> PackReport | ExportReport:
    """Copy heatmaps into a dataset of another layout; the numbers stay as they are. Or write files of another tool.

    Args:
        source: a dataset (its options, provenance and members are kept), or a folder of another tool's heatmaps:
            `<id>.npz` under any key, `<id>.npy`, `<id>/gaze.npy` or folders of numbered .npy, values in 0..1. The
            rule in `gazetools.layouts.choosing` decides which array is read. For files of other tools also a store.
        output: folder of the new dataset or files.
        options: layout of the new dataset or files, and more; or pass its fields as `settings`, such as
            `layout="hdf5"`. A layout in `gazetools.exchange.exports.EXPORTS` writes files of another tool.
        choice: array, axes and first number of another tool's heatmaps, where the rule leaves them open.
        progress: receives videos done.

    Returns one item per video. Raises UsageError for folders or options that can't work, where nothing was done, and
    FaultError where the disk is full; finished videos are kept.
    """
    source, dataset = Path(source), Path(output)
    options = given_or_parsed(options, ConvertOptions, settings, what="convert options")
    if dataset.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"The folder {dataset} would lie inside {source}.", hint="Choose a folder outside of it.")
    if options.layout in EXPORTS:
        (choice or ArrayChoice()).refuse_for(f"--layout {options.layout}")
        return EXPORTS[options.layout](source, dataset, options, progress or NoProgress())
    packed, videos = _plan(source, options, choice or ArrayChoice(), progress or NoProgress())
    chosen = {video.video_id: video.pack for video in sorted(videos, key=lambda video: video.video_id)}
    return pack_videos(chosen, dataset, packed, overwrite=options.overwrite, workers=options.workers, progress=progress)


def _plan(
    source: Path, wanted: ConvertOptions, choice: ArrayChoice, progress: Progress
) -> tuple[PackOptions, list[_StoredVideo]]:
    shards = {"layout": wanted.layout, "shard_size": wanted.shard_size, "license": wanted.license}
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder.", hint="Pass a dataset or a folder of heatmaps.")
    if (source / MANIFEST_NAME).exists():
        choice.refuse_for(f"The dataset {source}")
        manifest = read_manifest(source)
        if wanted.dtype not in (None, manifest.options.dtype):
            raise UsageError(
                f"The dataset {source} is {manifest.options.dtype}; convert does not change its numbers.",
                hint="Pack the store again with --dtype.",
            )
        stored = LAYOUTS[manifest.layout]
        videos = [
            _StoredVideo(video_id, stored, path_of_id(source, video_id, stored.suffix), source, entry)
            for video_id, entry in manifest.videos.items()
        ]
        options = parse_settings(PackOptions, {**manifest.options.model_dump(), **shards}, what="convert")
    else:
        videos = []
        for video_id, (path, *others) in list_foreign(source).items():
            if others:
                raise duplicate_heatmaps(video_id, [path, *others])
            videos.append(_StoredVideo(video_id, foreign_layout(path, choice), path, source, None))
        for path in list_unread(source):
            if all(path != video.path for video in videos):
                progress.say(f"not read: {path} is {UNREAD_FORMATS.get(path.suffix.lower(), WITHOUT_MAPS)}")
        if not videos:
            hint = "Pass a dataset or a folder of heatmaps."
            if any(files_with(source, STORE_SUFFIX)):
                hint = f"It is a store, which is packed: gazetools pack {source} -o DATASET"
            raise UsageError(f"{source} holds no .npz, .npy, .pt or .zarr.", hint=hint)
        options = parse_settings(PackOptions, {**shards, "dtype": wanted.dtype or "float32"}, what="convert")
    return options, videos


@dataclass(frozen=True)
class _StoredVideo:
    """Packed or foreign heatmaps of one video."""

    video_id: str
    layout: Layout
    path: Path
    root: Path
    entry: PackedVideo | None
    """None for heatmaps of another tool."""

    def pack(self, draft: ManifestDraft, progress: Progress) -> PackedItem:
        """Copy them into the dataset, a PackVideo."""
        if not self.path.exists():
            raise DataFileError(f"{self.path} does not exist.", hint="Run gazetools validate on the source.")
        check_below(self.path, self.root, self.video_id)
        with ThreadPoolExecutor(1) as hashing:
            # a dataset's file is hashed while it is copied; nothing is committed before both are done and agree
            found = hashing.submit(self.layout.sha256, self.path)
            try:
                return self._copy(draft, found)
            except DataFileError:
                self._check_source(found)  # the better reason where both are true
                raise

    def _check_source(self, found: Future[str]) -> None:
        """Raise DataFileError where the checksum of a dataset's file is not the one that its manifest states."""
        if self.entry is not None and found.result() != self.entry.sha256:
            raise DataFileError(
                f"The sha256 of {self.path} is not its manifest's.", hint="Run gazetools validate on the source."
            )

    def _copy(self, draft: ManifestDraft, found: Future[str]) -> PackedItem:
        """Copy the maps and members; `found` is the checksum of the source."""
        reading = self.layout.reading(self.path) if isinstance(self.layout, ForeignLayout) else {}
        source_sha256 = self.entry.source_sha256 if self.entry else found.result()
        place = Place(draft=draft, video_id=self.video_id, source_sha256=source_sha256)
        if (unchanged := place.unchanged(reading)) is not None:
            self._check_source(found)
            return unchanged
        with self.layout.open(self.path) as maps:
            if self.entry is None:
                scale_of(maps.dtype, self.path)  # refuses numbers whose scale is unknown
            kept = maps.dtype.name in ("float16", "float32", "uint8") and draft.options.dtype == "float32"
            dtype = np.dtype(maps.dtype.name if kept or self.entry else draft.options.dtype)
            sides = self._sides(maps)

            def members() -> dict[str, npt.NDArray[Any]]:
                self._check_source(found)
                return sides

            fields = place.write(
                MapStream(
                    shape=maps.shape,
                    dtype=dtype,
                    blocks=self._blocks(maps, dtype),
                    member_names=tuple(sides),
                    members=members,
                    rows=lambda start, stop: {name: array[start:stop] for name, array in sides.items()},
                )
            )
        if self.entry is not None:
            origin = self._origin(self.entry, draft.dataset)
            return place.add({**self.entry.model_dump(by_alias=True), **fields}, origin=origin)
        fields |= {
            "normalisation": "none",
            "people": "unknown",
            "valid_frames": int(sides["valid"].sum()),
            "uses_future": False,
            "provenance": {CONVERTED_FROM: str(self.path), "sha256": source_sha256, **reading},
        }
        gaps = int((~sides["valid"]).sum()) if isinstance(self.layout, NpyFolder) else 0
        warnings = [f"{gaps} of {maps.shape[0]} frames have no file; their rows are not valid"] if gaps else []
        return place.add(fields, origin=None, warnings=warnings)

    def _origin(self, entry: PackedVideo, dataset: Path) -> bytes | None:
        """The origin file of a packed video, copied; the video's relative path becomes that from `dataset`."""
        if entry.origin_sha256 is None:
            return None
        path = path_of_id(self.root, self.video_id, ORIGIN_SUFFIX)
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != entry.origin_sha256:
            raise DataFileError(f"The sha256 of {path} is not its manifest's.", hint="Pack it again.")
        return moved_origin(data, self.root, dataset)

    def _blocks(self, maps: StoredMaps, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[np.generic]]:
        """The numbers of a dataset as they are; those of another tool in `dtype`, checked to be in 0..1."""
        start = 0
        for block in maps.blocks(max(1, _BLOCK_BYTES // (math.prod(maps.shape[1:]) * maps.dtype.itemsize))):
            yield block if self.entry is not None else self._checked(block, start, dtype)
            start += len(block)

    def _checked(self, block: AnyArray, start: int, dtype: np.dtype[Any]) -> npt.NDArray[np.generic]:
        """Another tool's maps from row `start` on in `dtype`. Raises DataFileError where they are not in 0..1."""
        maps = to_float32(block, scale_of(block.dtype, self.path))
        if not (maps.min() >= 0 and maps.max() <= 1):
            raise DataFileError(
                f"{self.path} has values from {maps.min():.4g} to {maps.max():.4g} in rows {start} to "
                f"{start + len(maps) - 1}; maps must be in 0..1.",
                hint="Scale them, or run gazetools validate to see the rows.",
            )
        if block.dtype == dtype:
            return block
        return to_stored(maps, dtype.name, sums_to_one=False, where=self.video_id)

    def _sides(self, maps: StoredMaps) -> dict[str, npt.NDArray[Any]]:
        """The members next to the maps; for those that another tool's file lacks, values that mean "unknown"."""
        count = maps.shape[0]
        present = maps.present()
        sides: dict[str, npt.NDArray[Any]] = {
            "valid": np.ones(count, np.bool_) if present is None else present,
            "inout": np.full(count, np.nan, np.float32),
            "pts_seconds": np.full(count, np.nan, np.float64),
        }
        strict = self.entry is not None
        names = [(name, strict) for name in sides] + [(name, False) for name in INVERSE_MEMBERS if strict]
        with self.layout.members(self.path, required=strict) as members:
            for name, needed in names:
                array = load_side(members, name, count, strict=needed, where=self.path)
                if array is not None:
                    sides[name] = array
        if present is not None:
            sides["valid"] = sides["valid"] & present
        return sides
