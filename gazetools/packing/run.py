"""`pack`: check everything that can fail early, pack video by video in a few threads, write the manifest last."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.heatmaps.normalise import UINT8_SCALE
from gazetools.io.atomic import check_writable_folder, remove_stale_temps, sha256_of_file, write_bytes_atomic
from gazetools.io.parallel import SharedProgress, each
from gazetools.layouts.members import Members
from gazetools.layouts.writers import write_maps
from gazetools.packing.grid import plan_grid
from gazetools.packing.manifest import ManifestDraft
from gazetools.packing.maps import PackedMaps
from gazetools.packing.origin import origin_bytes, origin_of
from gazetools.packing.space import check_space_for_maps, refuse_nested_folders
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed, nearest_name
from gazetools.schemas.dataset import (
    INVERSE_MEMBERS,
    LAYOUT_SUFFIX,
    ORIGIN_SUFFIX,
    PackedItem,
    PackedVideo,
    PackOptions,
    PackReport,
    summarised,
)
from gazetools.schemas.errors import DataFileError, UsageError
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
    workers: int | None = None,
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
        workers: videos packed at the same time; None: one per core, at most 4. The bytes do not depend on it.
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
    options = given_or_parsed(options, PackOptions, settings, what="pack options")
    if workers is not None and workers < 1:
        raise UsageError(f"workers = {workers} is no number of videos at a time.", hint="Give at least 1.")
    progress = SharedProgress(progress or NoProgress())
    store, dataset = Path(store), Path(output)
    entries = _chosen_entries(store, videos)
    _check_folders(store, dataset)
    remove_stale_temps(dataset)
    draft = ManifestDraft(dataset, options, overwrite=overwrite)
    draft.allow_only([entry.video_id for entry in entries])
    if options.layout == "npy":
        refuse_nested_folders({entry.video_id for entry in entries} | draft.video_ids)

    progress.start("videos", len(entries), unit="videos")

    def one(entry: StoreEntry) -> PackedItem:
        item = _one(entry, draft, progress, overwrite=overwrite)
        progress.advance("videos")
        return item

    items = each(one, entries, workers=workers or min(4, os.cpu_count() or 1))
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
    target = path_of_id(draft.dataset, video_id, LAYOUT_SUFFIX[options.layout])
    if target.exists() and not draft.is_ours and not overwrite:
        raise UsageError(
            f"{target} exists and is in no manifest of gazetools.", hint="Choose another -o, or pass --overwrite."
        )
    warnings: list[str] = []
    with ThreadPoolExecutor(1) as beside:
        # the source is hashed while it is packed; nothing is committed before both are done and agree
        source = _Source(entry, source_sha256, beside.submit(sha256_of_file, entry.payload))
        try:
            packed = _pack_store(source, draft, target, progress, warnings)
        except DataFileError:
            source.check()  # the better reason where both are true
            raise
    draft.add(video_id, packed)
    for warning in warnings:
        progress.say(f"{video_id}: {warning}")
    return _item(video_id, "packed", packed, began, warnings)


def _pack_store(
    source: _Source, draft: ManifestDraft, target: Path, progress: Progress, warnings: list[str]
) -> PackedVideo:
    options, video_id = draft.options, source.entry.video_id
    with open_store(source.entry.payload, direct=True) as store:  # the sha256 is compared before the commit
        if store.video_id != video_id:
            raise DataFileError(
                f"{source.entry.payload} holds the video {store.video_id!r}, not {video_id!r}.",
                hint="Undo the renaming.",
            )
        maps = PackedMaps(
            store=store,
            grid=plan_grid(store, options, warnings),
            options=options,
            size_hw=_stored_size(store, options),
        )
        return _write(draft.dataset, target, maps, source, progress)


@dataclass(frozen=True)
class _Source:
    """A store file and its sha256, as stated and as it is being computed."""

    entry: StoreEntry
    stated_sha256: str
    found_sha256: Future[str]

    def check(self) -> None:
        """Wait for the sum; raise DataFileError where it is not the sidecar's."""
        if self.found_sha256.result() != self.stated_sha256:
            raise DataFileError(
                f"The sha256 of {self.entry.payload} differs from its sidecar's.",
                hint="Run extract again for this video with --overwrite.",
            )


def _write(dataset: Path, target: Path, maps: PackedMaps, source: _Source, progress: Progress) -> PackedVideo:
    options, grid, store, shape = maps.options, maps.grid, maps.store, maps.shape
    dtype = np.dtype(options.dtype)
    check_space_for_maps(target, shape, dtype, options.layout)
    progress.start(store.video_id, len(grid))

    def blocks() -> Iterator[Any]:
        for block in maps.blocks():
            yield block
            progress.advance(store.video_id, len(block))

    def collect() -> dict[str, Any]:
        source.check()
        return {"valid": grid.valid, "inout": grid.inout, "pts_seconds": grid.pts_seconds, **maps.inverse()}

    names = ("valid", "inout", "pts_seconds", *(INVERSE_MEMBERS if options.normalize != "none" else ()))
    written = write_maps(options.layout, target, blocks(), shape, dtype, Members(names=names, collect=collect))
    origin = origin_of(store, grid)
    data, origin_sha256 = origin_bytes(origin)
    write_bytes_atomic(path_of_id(dataset, store.video_id, ORIGIN_SUFFIX), data)
    progress.finish(store.video_id)
    return PackedVideo(
        file=store.video_id + LAYOUT_SUFFIX[options.layout],
        T=shape[0],
        H=shape[1],
        W=shape[2],
        dtype=options.dtype,
        scale=UINT8_SCALE if options.dtype == "uint8" else 1.0,
        target_size=_target_size(store, options),
        normalisation=options.normalize,
        people=options.people,
        valid_frames=int(grid.valid.sum()),
        sha256=written.sha256,
        bytes=written.bytes,
        source_sha256=source.stated_sha256,
        options_key=options.key(),
        # a box filled between two seen ones follows the later one
        uses_future=grid.uses_future or store.provenance.heads.counts.get("filled_boxes", 0) > 0,
        provenance=summarised(origin.provenance),
        origin_sha256=origin_sha256,
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


def _target_size(store: StoreReader, options: PackOptions) -> tuple[int, int] | None:
    """(H, W) that readers shall resize to; None where maps are stored at the size they are wanted."""
    if not options.resize_on_load:
        return None
    return store.provenance.video.height, store.provenance.video.width


def _stored_size(store: StoreReader, options: PackOptions) -> tuple[int, int]:
    if options.size is None or options.resize_on_load:
        return store.heatmap_shape
    if options.size == "video":
        return store.provenance.video.height, store.provenance.video.width
    height, width = options.size.split("x")
    return int(height), int(width)
