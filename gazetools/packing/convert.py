"""`convert`: a dataset into another layout, or heatmaps of another tool into a dataset with a manifest."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.normalise import UINT8_SCALE, to_stored
from gazetools.heatmaps.reader import open_members
from gazetools.heatmaps.values import to_float32
from gazetools.io.atomic import check_writable_folder, remove_stale_temps, sha256_of_file, write_bytes_atomic
from gazetools.io.parallel import SharedProgress, each
from gazetools.layouts.base import FrameSource, open_source, side_layout
from gazetools.layouts.locate import KIND_OF_SUFFIX, Location, list_foreign, numbered_frames, raw_manifest
from gazetools.layouts.members import MEMBER_TYPES, Members
from gazetools.layouts.writers import sha256_of_listing, write_maps
from gazetools.packing.manifest import ManifestDraft
from gazetools.packing.space import check_space_for_maps, refuse_nested_folders
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import parse_settings
from gazetools.schemas.dataset import (
    CONVERTED_FROM,
    INDEX_NPZ,
    INVERSE_MEMBERS,
    LAYOUT_SUFFIX,
    MANIFEST_NAME,
    ORIGIN_SUFFIX,
    LayoutName,
    Manifest,
    PackDtype,
    PackedItem,
    PackedVideo,
    PackOptions,
    PackReport,
)
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import path_of_id

_BLOCK_BYTES = 8 << 20
_SIDES = ("valid", "inout", "pts_seconds")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One video to convert."""

    location: Location
    origin: Path | None


def convert(
    source: str | Path,
    output: str | Path,
    *,
    layout: LayoutName = "npz",
    dtype: PackDtype | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PackReport:
    """Copy heatmaps into a dataset of another layout, frame by frame, with nothing changed but the files.

    Args:
        source: a dataset (its options, provenance and members are kept), or a folder of another tool's heatmaps:
            `<id>.npz` under any key, `<id>.npy`, `<id>/gaze.npy` or folders of numbered .npy, values in 0..1.
        output: folder of the new dataset.
        layout: npz, npy or hdf5.
        dtype: of another tool's maps; None keeps float16, float32 and uint8 and makes float64 float32. A dataset
            keeps its own.
        overwrite: replace a dataset with other options.
        workers: videos at a time; None: one per core, at most 4.
        progress: receives videos done.

    Returns:
        One item per video; `exit_code` is 1 with any failed one.

    Raises:
        UsageError: folders or options that can't work; nothing was done.
        FaultError: the disk is full; finished videos are kept.
    """
    source, dataset = Path(source), Path(output)
    progress = SharedProgress(progress or NoProgress())
    options, jobs = _plan(source, layout, dtype)
    if dataset.resolve() == source.resolve() or dataset.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"The dataset {dataset} would lie inside {source}.", hint="Choose a folder outside of it.")
    check_writable_folder(dataset, option="-o")
    remove_stale_temps(dataset)
    draft = ManifestDraft(dataset, options, overwrite=overwrite)
    ids = [job.location.video_id for job in jobs]
    draft.allow_only(ids)
    if layout == "npy":
        refuse_nested_folders({*ids} | draft.video_ids)
    progress.start("videos", len(jobs), unit="videos")

    def one(job: _Job) -> PackedItem:
        began = time.monotonic()
        try:
            item = _convert_video(job, draft, began, overwrite=overwrite)
        except UsageError as error:
            progress.say(f"failed: {job.location.video_id}: {error}")
            item = PackedItem(video_id=job.location.video_id, status="failed", reason=str(error))
        progress.advance("videos")
        return item

    items = each(one, jobs, workers=workers or min(4, os.cpu_count() or 1))
    progress.finish("videos")
    draft.commit()
    return PackReport(output=str(dataset), items=items)


def _plan(source: Path, layout: LayoutName, dtype: PackDtype | None) -> tuple[PackOptions, list[_Job]]:
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder.", hint="Pass a dataset or a folder of heatmaps.")
    if (source / MANIFEST_NAME).exists():
        manifest = parse_settings(Manifest, raw_manifest(source), what=str(source / MANIFEST_NAME))
        if dtype not in (None, manifest.options.dtype):
            raise UsageError(
                f"The dataset {source} is {manifest.options.dtype}; convert does not change its numbers.",
                hint="Pack the store again with --dtype.",
            )
        jobs = []
        for video_id, entry in sorted(manifest.videos.items()):
            suffix = LAYOUT_SUFFIX[manifest.layout]
            location = Location(
                video_id=video_id, kind=KIND_OF_SUFFIX[suffix], path=path_of_id(source, video_id, suffix), entry=entry
            )
            origin = path_of_id(source, video_id, ORIGIN_SUFFIX) if entry.origin_sha256 else None
            jobs.append(_Job(location=location, origin=origin))
        return parse_settings(PackOptions, {**manifest.options.model_dump(), "layout": layout}, what="convert"), jobs
    jobs = []
    for video_id, paths in list_foreign(source).items():
        if len(paths) > 1:
            raise UsageError(f"{' and '.join(map(str, paths))} are both of {video_id!r}.", hint="Remove one of them.")
        kind = KIND_OF_SUFFIX["" if paths[0].is_dir() else paths[0].suffix]
        jobs.append(_Job(location=Location(video_id=video_id, kind=kind, path=paths[0], entry=None), origin=None))
    if not jobs:
        raise UsageError(f"{source} holds no .npz and no .npy.", hint="Pass a dataset or a folder of heatmaps.")
    options = parse_settings(PackOptions, {"layout": layout, "dtype": dtype or "float32"}, what="convert")
    return options, sorted(jobs, key=lambda job: job.location.video_id)


def _convert_video(job: _Job, draft: ManifestDraft, began: float, *, overwrite: bool) -> PackedItem:
    location, options = job.location, draft.options
    if not location.path.exists():
        raise DataFileError(f"{location.path} does not exist.", hint="Run gazetools validate on the source.")
    found = _sha256_of(location)
    if location.entry is not None and found != location.entry.sha256:
        raise DataFileError(
            f"The sha256 of {location.path} is not its manifest's.", hint="Run gazetools validate on the source."
        )
    source_sha256 = location.entry.source_sha256 if location.entry else found
    if (old := draft.unchanged(location.video_id, source_sha256)) is not None:
        return _item(location.video_id, "unchanged", old, began)
    target = path_of_id(draft.dataset, location.video_id, LAYOUT_SUFFIX[options.layout])
    if target.exists() and not draft.is_ours and not overwrite:
        raise UsageError(f"{target} exists and is in no manifest.", hint="Choose another -o, or pass --overwrite.")
    source = open_source(location)
    try:
        entry = _write(job, source, target, draft, source_sha256)
    finally:
        source.close()
    draft.add(location.video_id, entry)
    return _item(location.video_id, "packed", entry, began)


def _write(job: _Job, source: FrameSource, target: Path, draft: ManifestDraft, source_sha256: str) -> PackedVideo:
    location, options = job.location, draft.options
    dtype = np.dtype(location.entry.dtype if location.entry else _foreign_dtype(location, source, options))
    check_space_for_maps(target, source.shape, dtype, options.layout)
    sides = _sides(location, source)
    written = write_maps(
        options.layout,
        target,
        _blocks(location, source, dtype),
        source.shape,
        dtype,
        Members(names=tuple(sides), collect=lambda: sides),
    )
    count, height, width = source.shape
    changed: dict[str, Any] = {
        "file": location.video_id + LAYOUT_SUFFIX[options.layout],
        "sha256": written.sha256,
        "bytes": written.bytes,
        "options_key": options.key(),
    }
    if location.entry is not None:
        if job.origin is not None:
            data = job.origin.read_bytes() if job.origin.is_file() else b""
            if hashlib.sha256(data).hexdigest() != location.entry.origin_sha256:
                raise DataFileError(f"The sha256 of {job.origin} is not its manifest's.", hint="Pack it again.")
            write_bytes_atomic(path_of_id(draft.dataset, location.video_id, ORIGIN_SUFFIX), data)
        return location.entry.model_copy(update=changed)
    return PackedVideo(
        **changed,
        T=count,
        H=height,
        W=width,
        dtype=dtype.name,
        scale=UINT8_SCALE if dtype == np.uint8 else 1.0,
        normalisation="none",
        people="unknown",
        valid_frames=int(sides["valid"].sum()),
        source_sha256=source_sha256,
        uses_future=False,
        provenance={CONVERTED_FROM: str(location.path), "sha256": source_sha256},
    )


def _foreign_dtype(location: Location, source: FrameSource, options: PackOptions) -> str:
    name = source.dtype.name
    if source.dtype.kind not in "f" and name != "uint8":
        raise DataFileError(
            f"{location.path} holds {name} maps, whose scale is unknown.",
            hint="Store them as float16, float32 or uint8 (0..255 for 0..1).",
        )
    return name if name in ("float16", "float32", "uint8") and options.dtype == "float32" else options.dtype


def _blocks(location: Location, source: FrameSource, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[np.generic]]:
    """A dataset's numbers as they are; another tool's checked to be in 0..1 and brought to `dtype`."""
    count, height, width = source.shape
    present = source.present()
    step = max(1, _BLOCK_BYTES // (height * width * source.dtype.itemsize))
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        there = rows if present is None else rows[present[rows]]
        block = np.zeros((len(rows), height, width), source.dtype)
        block[there - start] = source.read(there)
        if location.entry is None:
            maps = to_float32(block, 1 / 255 if block.dtype == np.uint8 else 1.0)
            if len(maps) and not (maps.min() >= 0 and maps.max() <= 1):
                raise DataFileError(
                    f"{location.path} has values from {maps.min():.4g} to {maps.max():.4g} in rows {rows[0]} to "
                    f"{rows[-1]}; maps must be in 0..1.",
                    hint="Scale them, or run gazetools validate to see the rows.",
                )
            if block.dtype != dtype:
                block = to_stored(maps, dtype.name, sums_to_one=False, where=location.video_id)
        yield block


def _sides(location: Location, source: FrameSource) -> dict[str, npt.NDArray[Any]]:
    """The members beside the maps; those that another tool's file lacks say that nothing is known."""
    count = source.shape[0]
    present = source.present()
    sides: dict[str, npt.NDArray[Any]] = {
        "valid": np.ones(count, np.bool_) if present is None else present,
        "inout": np.full(count, np.nan, np.float32),
        "pts_seconds": np.full(count, np.nan, np.float64),
    }
    path = location.path / INDEX_NPZ if location.kind == "folder" else location.path
    if location.kind == "npy" or not path.exists():
        return sides
    strict = location.entry is not None
    names = (*_SIDES, *INVERSE_MEMBERS) if strict else _SIDES
    with open_members(path) as archive:
        for name in names:
            layout = side_layout(archive, name, strict=strict)
            if layout is not None and layout.shape == (count,) and layout.dtype == MEMBER_TYPES[name]:
                sides[name] = archive.load(name)
            elif strict and name in _SIDES:
                raise DataFileError(f"{path}: member {name!r} is missing or of another type.", hint="Pack it again.")
    return sides


def _sha256_of(location: Location) -> str:
    """As the manifest has it: of the file, or of the listing of a folder."""
    if location.kind != "folder":
        return sha256_of_file(location.path)
    names = [*numbered_frames(location.path).values()]
    names += [INDEX_NPZ] if (location.path / INDEX_NPZ).exists() else []
    return sha256_of_listing([f"{name} {sha256_of_file(location.path / name)}" for name in names])


def _item(video_id: str, status: Any, entry: PackedVideo, began: float) -> PackedItem:
    return PackedItem(
        video_id=video_id,
        status=status,
        frames=entry.t,
        valid_frames=entry.valid_frames,
        bytes=entry.bytes,
        seconds=time.monotonic() - began,
    )
