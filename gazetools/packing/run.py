"""`pack`: the raw heatmaps of a store, normalised and aligned, as a dataset for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.atomic import sha256_of_file
from gazetools.io.find_files import SearchNotes
from gazetools.io.json_files import dumps
from gazetools.layouts.stream import MapStream
from gazetools.packing.grid import plan_grid
from gazetools.packing.manifest import ManifestDraft
from gazetools.packing.maps import PackedMaps
from gazetools.packing.one_video import Place, pack_videos
from gazetools.packing.origin import origin_of
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed, nearest_name
from gazetools.schemas.dataset import (
    MANIFEST_NAME,
    WITHOUT_TEMPERATURE,
    PackedItem,
    PackOptions,
    PackReport,
    summarised,
)
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.store import StoreEntry, list_store, open_store
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
    resumes an interrupted run. An error in one video fails that video only.

    Args:
        store: folder that `extract` wrote.
        output: folder of the dataset.
        options: how maps become rows; or pass its fields as `settings`, such as `normalize="max"`.
        videos: ids to pack; None for all of the store.
        overwrite: replace a dataset that was packed with other options, and files of other tools.
        workers: videos packed at the same time; None: one per core, at most 4. The bytes do not depend on it.
        progress: receives frames done.

    Returns one item per video. Raises UsageError for options, ids or folders that can't work, where nothing was done,
    and FaultError where the disk is full; finished videos are kept.

    >>> report = gazetools.pack("STORE", "DATASET", normalize="max")   # doctest: +SKIP
    >>> np.load("DATASET/take/cam01.npz")["heatmap"].shape             # doctest: +SKIP
    (101, 64, 64)
    """
    options = given_or_parsed(options, PackOptions, settings, what="pack options")
    if workers is not None and workers < 1:
        raise UsageError(f"workers = {workers} is no number of videos at a time.", hint="Give at least 1.")
    store, dataset = Path(store), Path(output)
    notes = SearchNotes()
    entries = _chosen_entries(store, videos, notes)
    chosen = {entry.video_id: partial(_pack_entry, entry) for entry in entries}
    progress = progress or NoProgress()
    if _keeps_tokens(entries):
        progress.say(
            f"{store} keeps scene tokens, which are not packed: training reads them from there "
            "(experiment.data.gaze_tokens.store)"
        )
    if options.temperature != 1.0 and options.normalize in WITHOUT_TEMPERATURE:
        progress.say(
            f"--temperature {options.temperature:g} has no effect with --normalize {options.normalize}; it is for "
            "--normalize softmax"
        )
    for fault in notes.faults():
        progress.say(f"left out of {store}: {fault}")
    if dataset.resolve().is_relative_to(store.resolve()):
        raise UsageError(
            f"The dataset {dataset} would lie inside the store {store}.", hint="Choose a folder outside of it for -o."
        )
    return pack_videos(chosen, dataset, options, overwrite=overwrite, workers=workers, progress=progress)


def _pack_entry(entry: StoreEntry, draft: ManifestDraft, progress: Progress) -> PackedItem:
    """Pack one video of the store, a PackVideo."""
    if entry.problem is not None:
        raise DataFileError(
            f"{entry.payload} is not complete: {entry.problem}.", hint="Run the same extract command again."
        )
    stated_sha256 = read_sidecar(entry.sidecar).payload_sha256
    place = Place(draft=draft, video_id=entry.video_id, source_sha256=stated_sha256)
    if (unchanged := place.unchanged({})) is not None:
        return unchanged
    with ThreadPoolExecutor(1) as hashing:
        # the source is hashed while it is packed; nothing is committed before both are done and agree
        found_sha256 = hashing.submit(sha256_of_file, entry.payload)

        def check_source() -> None:
            if found_sha256.result() != stated_sha256:
                raise DataFileError(
                    f"The sha256 of {entry.payload} differs from its sidecar's.",
                    hint="Run extract again for this video with --overwrite.",
                )

        try:
            item = _pack_store(entry.payload, check_source, place, progress)
        except DataFileError:
            check_source()  # the better reason where both are true
            raise
    for warning in item.warnings:
        progress.say(f"{entry.video_id}: {warning}")
    return item


def _pack_store(payload: Path, check_source: Callable[[], None], place: Place, progress: Progress) -> PackedItem:
    """Pack one store file; `check_source` is called before anything is committed."""
    options, video_id = place.draft.options, place.video_id
    warnings: list[str] = []
    with open_store(payload, direct=True) as store:  # the sha256 is compared before the commit
        if store.video_id != video_id:
            raise DataFileError(
                f"{payload} holds the video {store.video_id!r}, not {video_id!r}.", hint="Undo the renaming."
            )
        grid = plan_grid(store, options, warnings)
        video_size = store.provenance.video.height, store.provenance.video.width
        size = _stored_size(options, store.heatmap_shape, video_size)
        maps = PackedMaps(store=store, grid=grid, options=options, size_hw=size)

        def blocks() -> Iterator[npt.NDArray[np.generic]]:
            progress.start(video_id, len(grid))
            for block in maps.blocks():
                yield block
                progress.advance(video_id, len(block))

        def members() -> dict[str, npt.NDArray[Any]]:
            check_source()
            return maps.members()

        fields = place.write(
            MapStream(
                shape=(len(grid), *size),
                dtype=np.dtype(options.dtype),
                blocks=blocks(),
                member_names=maps.member_names,
                members=members,
                rows=maps.rows,
            )
        )
        origin = origin_of(store, grid, place.draft.dataset)
        fields |= {
            "target_size": video_size if options.resize_on_load else None,
            "normalisation": options.normalize,
            "people": options.people,
            "valid_frames": int(grid.valid.sum()),
            # a box filled between two seen ones follows the later one
            "uses_future": grid.uses_future or store.provenance.heads.counts.get("filled_boxes", 0) > 0,
            "provenance": summarised(origin.provenance),
        }
    return place.add(fields, origin=dumps(origin.model_dump(mode="json")).encode("utf-8"), warnings=warnings)


def _chosen_entries(store: Path, videos: Sequence[str] | None, notes: SearchNotes) -> list[StoreEntry]:
    entries = list_store(store, notes)
    if not entries:
        raise UsageError(f"{store} holds no store files (<video id>.h5).", hint="Pass the folder of extract -o.")
    if (store / MANIFEST_NAME).is_file() and all(entry.problem is not None for entry in entries):
        hint = "Pass the folder of extract -o; gazetools convert writes a dataset in another layout."
        raise UsageError(f"{store} is a packed dataset ({MANIFEST_NAME}), not a store.", hint=hint)
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


def _keeps_tokens(entries: Sequence[StoreEntry]) -> bool:
    """Whether the first video that can be read has scene tokens, as all of one extraction have."""
    for entry in entries:
        if entry.problem is None:
            with suppress(DataFileError), open_store(entry.payload) as store:
                return store.tokens_shape is not None
    return False


def _stored_size(options: PackOptions, model_size: tuple[int, int], video_size: tuple[int, int]) -> tuple[int, int]:
    if options.size is None or options.resize_on_load:
        return model_size
    if options.size == "video":
        return video_size
    height, width = options.size.split("x")
    return int(height), int(width)
