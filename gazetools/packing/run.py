"""`pack`: check everything that can fail early, then pack one video after the other, then write the manifest."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gazetools.io.atomic import check_writable_folder, remove_stale_temps
from gazetools.packing.grid import plan_grid
from gazetools.packing.layouts import write_npy_folder, write_npz
from gazetools.packing.manifest import ManifestDraft
from gazetools.packing.maps import UINT8_SCALE
from gazetools.packing.stream import PackedMaps
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import nearest_name, parse_settings
from gazetools.schemas.dataset import MANIFEST_NAME, PackedItem, PackedVideo, PackOptions, PackReport
from gazetools.schemas.errors import DataFileError, FaultError, UsageError
from gazetools.schemas.video_id import path_of_id
from gazetools.store import StoreEntry, StoreReader, list_store, open_store
from gazetools.store.listing import read_sidecar


def pack(
    store: str | Path,
    output: str | Path,
    *,
    options: PackOptions | None = None,
    videos: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> PackReport:
    """Normalise, align and pack the raw heatmaps of a store into a dataset for training.

    Videos that are packed already, from the same source with the same options, are left untouched, so the same call
    resumes an interrupted run. What goes wrong with one video is its result; the others go on.

    Args:
        store: folder that `extract` wrote.
        output: folder of the dataset; made if needed.
        options: how; or give its fields as keyword arguments.
        videos: ids to pack; None for all of the store.
        overwrite: replace a dataset that was packed with other options, and files that are not of gazetools.
        progress: receives frames done.
        settings: fields of `PackOptions`, such as `normalize="max"`.

    Returns:
        One item per video; `exit_code` is 1 with any failed one.

    Raises:
        UsageError: options, ids or folders that can't work; nothing was done.
        FaultError: the disk is full; finished videos are kept.

    >>> report = gazetools.pack("STORE", "DATASET", normalize="max")   # doctest: +SKIP
    >>> np.load("DATASET/take/cam01.npz")["heatmap"].shape             # doctest: +SKIP
    (101, 64, 64)
    """
    if options is None:
        options = parse_settings(PackOptions, settings, what="pack options")
    elif settings:
        raise UsageError(f"Give either options= or single settings, not both ({', '.join(settings)}).")
    progress = progress or NoProgress()
    store, dataset = Path(store), Path(output)
    entries = _chosen_entries(store, videos)
    _check_folders(store, dataset)
    remove_stale_temps(dataset)
    draft = ManifestDraft(dataset, options, overwrite=overwrite)
    draft.allow_only([entry.video_id for entry in entries])
    if options.layout == "npy":
        _refuse_nested_folders({entry.video_id for entry in entries} | draft.video_ids)

    items = []
    progress.start("videos", len(entries), unit="videos")
    for entry in entries:
        items.append(_one(entry, draft, progress, overwrite=overwrite))
        progress.advance("videos")
    progress.finish("videos")
    draft.commit()
    return PackReport(output=str(dataset), items=items)


def _one(entry: StoreEntry, draft: ManifestDraft, progress: Progress, *, overwrite: bool) -> PackedItem:
    """One video; what is wrong with it alone is its result. Faults such as a full disk stop the run."""
    try:
        return _pack_video(entry, draft, progress, overwrite=overwrite)
    except UsageError as error:
        progress.finish(entry.video_id)
        progress.say(f"failed: {entry.video_id}: {error}")
        return PackedItem(video_id=entry.video_id, status="failed", reason=str(error))


def _pack_video(entry: StoreEntry, draft: ManifestDraft, progress: Progress, *, overwrite: bool) -> PackedItem:
    began = time.monotonic()
    options, video_id = draft.options, entry.video_id
    if entry.problem is not None:
        raise DataFileError(
            f"{entry.payload} is not complete: {entry.problem}.", hint="Run the same extract command again."
        )
    source_sha256 = read_sidecar(entry.sidecar).payload_sha256
    if (old := draft.unchanged(video_id, source_sha256)) is not None:
        return _item(video_id, "unchanged", old, began)
    target = path_of_id(draft.dataset, video_id, ".npz" if options.layout == "npz" else "")
    if target.exists() and not draft.is_ours and not overwrite:
        raise UsageError(
            f"{target} exists and is in no manifest of gazetools.", hint="Choose another -o, or pass --overwrite."
        )
    warnings: list[str] = []
    with open_store(entry.payload, verify_checksum=True) as store:
        if store.video_id != video_id:
            raise DataFileError(
                f"{entry.payload} holds the video {store.video_id!r}, not {video_id!r}.", hint="Undo the renaming."
            )
        maps = PackedMaps(
            store=store,
            grid=plan_grid(store, options, warnings),
            options=options,
            size_hw=_size(store, options.size),
        )
        packed = _write(target, maps, source_sha256, progress)
    draft.add(video_id, packed)
    for warning in warnings:
        progress.say(f"{video_id}: {warning}")
    return _item(video_id, "packed", packed, began, warnings)


def _write(target: Path, maps: PackedMaps, source_sha256: str, progress: Progress) -> PackedVideo:
    options, grid, store, shape = maps.options, maps.grid, maps.store, maps.shape
    dtype = np.dtype(options.dtype)
    _check_space(target, shape, dtype, options)
    members: dict[str, Any] = {"valid": grid.valid, "inout": grid.inout, "pts_seconds": grid.pts_seconds}
    progress.start(store.video_id, len(grid))

    def blocks() -> Iterator[Any]:
        for block in maps.blocks():
            yield block
            progress.advance(store.video_id, len(block))

    write = write_npz if options.layout == "npz" else write_npy_folder
    written = write(target, blocks(), shape, dtype, members)
    progress.finish(store.video_id)
    return PackedVideo(
        file=store.video_id + (".npz" if options.layout == "npz" else ""),
        T=shape[0],
        H=shape[1],
        W=shape[2],
        dtype=options.dtype,
        scale=UINT8_SCALE if options.dtype == "uint8" else 1.0,
        normalisation=options.normalize,
        people=options.people,
        valid_frames=int(grid.valid.sum()),
        sha256=written.sha256,
        bytes=written.bytes,
        source_sha256=source_sha256,
        options_key=options.key(),
        # a box filled between two seen ones follows the later one
        uses_future=grid.uses_future or store.provenance.heads.counts.get("filled_boxes", 0) > 0,
        provenance=store.provenance.model_dump(mode="json"),
    )


def _item(video_id: str, status: Any, packed: PackedVideo, began: float, warnings: Sequence[str] = ()) -> PackedItem:
    return PackedItem(
        video_id=video_id,
        status=status,
        frames=packed.t,
        valid_frames=packed.valid_frames,
        bytes=packed.bytes,
        seconds=time.monotonic() - began,
        warnings=list(warnings),
    )


def _chosen_entries(store: Path, videos: Sequence[str] | None) -> list[StoreEntry]:
    entries = list_store(store)
    if not entries:
        raise UsageError(f"{store} holds no store files (<video id>.h5).", hint="Pass the folder of extract -o.")
    if videos is None:
        return entries
    known = {entry.video_id: entry for entry in entries}
    for video_id in videos:
        if video_id not in known:
            near = nearest_name(video_id, list(known))
            raise UsageError(
                f"{store} has no video {video_id!r}." + (f" Did you mean {near!r}?" if near else ""),
                hint="Ids are the paths of the .h5 files below the store, without their suffix.",
            )
    return [known[video_id] for video_id in dict.fromkeys(videos)]


def _check_folders(store: Path, dataset: Path) -> None:
    if dataset.resolve().is_relative_to(store.resolve()):
        raise UsageError(
            f"The dataset {dataset} would lie inside the store {store}.", hint="Choose a folder outside of it for -o."
        )
    check_writable_folder(dataset, option="-o")


def _refuse_nested_folders(video_ids: set[str]) -> None:
    """In the npy layout a video is a folder; replacing one must not take another with it."""
    for video_id in sorted(video_ids):
        outer = {str(parent) for parent in PurePosixPath(video_id).parents} & video_ids
        if outer or video_id.casefold() == MANIFEST_NAME:
            raise UsageError(
                f"The frame folder of {video_id!r} would lie in the way of {min(outer, default=MANIFEST_NAME)!r}.",
                hint="Use --layout npz.",
            )


def _size(store: StoreReader, size: str | None) -> tuple[int, int]:
    if size is None:
        return store.heatmap_shape
    if size == "video":
        return store.provenance.video.height, store.provenance.video.width
    height, width = size.split("x")
    return int(height), int(width)


def _check_space(target: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], options: PackOptions) -> None:
    """Refuse before writing what the disk has no room for: bytes, and files in the npy layout."""
    needed = math.prod(shape) * dtype.itemsize
    folder = next(parent for parent in target.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FaultError(
            f"{target} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free.",
            hint="Free some space, or choose a smaller --size or --dtype; finished videos are kept.",
        )
    status = os.statvfs(folder)
    if options.layout == "npy" and status.f_files and status.f_favail < shape[0] + 2:
        raise FaultError(
            f"{target} needs {shape[0] + 1} files, the file system has {status.f_favail} left.",
            hint="Use --layout npz: one file per video.",
        )
