"""Head boxes and gaze points of a store as one file per video for an annotation tool, with a manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from gazetools._version import __version__
from gazetools.exchange.people import StoredPeople, stored_people
from gazetools.io.atomic import atomic_path, check_writable_folder, remove_stale_temps, sha256_of_file
from gazetools.io.find_files import SearchNotes
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.io.parallel import SharedProgress, each
from gazetools.progress import Progress
from gazetools.schemas.convert import ConvertOptions, ExportedItem, ExportedVideo, ExportManifest, ExportReport
from gazetools.schemas.dataset import MANIFEST_NAME, MAX_MANIFEST_BYTES
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import path_of_id, reserved_reason
from gazetools.store import StoreEntry, list_store, open_store
from gazetools.store.listing import read_sidecar


@dataclass(frozen=True, kw_only=True)
class BoxLayout:
    """How boxes and gaze points of a video are written."""

    name: str
    suffix: str
    write: Callable[[TextIO, StoredPeople], None]
    """Writes one video; equal columns give equal text."""
    notes: tuple[str, ...]
    """What the file does not keep, and how it is loaded."""


def export_boxes(
    layout: BoxLayout, source: Path, output: Path, options: ConvertOptions, progress: Progress
) -> ExportReport:
    """Write `OUTPUT/<video_id><suffix>` for every video of a store, and the manifest; an Export of the registry.

    Files that are there, from the same source, are left untouched. Files that were changed since they were written,
    as by corrections, are replaced only with `options.overwrite`.
    """
    if options.dtype is not None:
        raise UsageError(f"--layout {layout.name} writes no maps, so --dtype has no meaning.", hint="Leave it out.")
    entries = _entries(source, progress)
    progress = SharedProgress(progress)
    check_writable_folder(output, option="-o")
    remove_stale_temps(output)
    manifest = _old_manifest(output, layout)
    progress.start("videos", len(entries), unit="videos")

    def one(entry: StoreEntry) -> tuple[ExportedItem, ExportedVideo | None]:
        began = time.monotonic()
        try:
            item, written = _one_video(entry, layout, output, manifest, options.overwrite, progress)
            item = item.model_copy(update={"seconds": time.monotonic() - began})
        except UsageError as error:
            progress.say(f"failed: {entry.video_id}: {error}")
            item, written = ExportedItem(video_id=entry.video_id, status="failed", reason=str(error)), None
        progress.finish(entry.video_id)
        progress.advance("videos")
        return item, written

    done = each(one, entries, workers=options.workers or min(4, os.cpu_count() or 1))
    progress.finish("videos")
    videos = {**manifest.videos, **{item.video_id: written for item, written in done if written is not None}}
    new = manifest.model_copy(update={"tool_version": __version__, "videos": dict(sorted(videos.items()))})
    write_json_atomic(output / MANIFEST_NAME, new.model_dump(mode="json"))
    items = [item for item, _ in done]
    return ExportReport(output=str(output), layout=layout.name, items=items, notes=list(layout.notes))


def _entries(source: Path, progress: Progress) -> list[StoreEntry]:
    notes = SearchNotes()
    entries = list_store(source, notes)
    if (source / MANIFEST_NAME).is_file() and all(entry.problem is not None for entry in entries):
        raise UsageError(
            f"{source} is a packed dataset ({MANIFEST_NAME}), whose maps have no boxes.",
            hint="Pass the store that it was packed from (extract -o).",
        )
    if not entries:
        raise UsageError(f"{source} holds no store files (<video id>.h5).", hint="Pass the folder of extract -o.")
    for fault in notes.faults():
        progress.say(f"left out of {source}: {fault}")
    return entries


def _old_manifest(output: Path, layout: BoxLayout) -> ExportManifest:
    """The manifest of an earlier run into this folder, or a new one. UsageError where it is of something else."""
    path = output / MANIFEST_NAME
    new = ExportManifest(tool_version=__version__, layout=layout.name, notes=list(layout.notes), videos={})
    if not path.exists():
        return new
    old = None
    with suppress(ValidationError):
        old = ExportManifest.model_validate(read_json(path, max_bytes=MAX_MANIFEST_BYTES))
    if old is None or old.layout != layout.name:
        what = "no export of gazetools" if old is None else f"an export with --layout {old.layout}"
        raise UsageError(f"{output} has a {MANIFEST_NAME} of {what}.", hint="Choose another -o.")
    return new.model_copy(update={"videos": old.videos})


def _one_video(
    entry: StoreEntry,
    layout: BoxLayout,
    output: Path,
    manifest: ExportManifest,
    overwrite: bool,
    progress: Progress,
) -> tuple[ExportedItem, ExportedVideo]:
    if entry.problem is not None:
        raise DataFileError(
            f"{entry.payload} is not complete: {entry.problem}.", hint="Run the same extract command again."
        )
    if (reason := reserved_reason(entry.video_id)) is not None:
        raise UsageError(reason)
    path = path_of_id(output, entry.video_id, layout.suffix)
    known = manifest.videos.get(entry.video_id)
    found = sha256_of_file(path) if path.is_file() else None
    source_sha256 = read_sidecar(entry.sidecar).payload_sha256
    ours = found is not None and known is not None and found == known.sha256
    if ours and known is not None and known.source_sha256 == source_sha256 and known.tool_version == __version__:
        return _item(entry.video_id, "unchanged", known), known
    people = _people(entry, progress)
    with atomic_path(path) as temp:
        with temp.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            layout.write(file, people)
        sha256, size = sha256_of_file(temp), temp.stat().st_size
        if path.exists() and not (ours or overwrite or found == sha256):
            raise UsageError(
                f"{path} is there and not as gazetools wrote it: corrections in it would be lost.",
                hint="Choose another -o, or pass --overwrite.",
            )
    written = ExportedVideo(
        file=entry.video_id + layout.suffix,
        frames=len(people.index),
        boxes=len(people.frame),
        gaze_points=int(people.gaze_inside.sum()),
        sha256=sha256,
        bytes=size,
        source_sha256=source_sha256,
        tool_version=__version__,
    )
    return _item(entry.video_id, "written", written), written


def _people(entry: StoreEntry, progress: Progress) -> StoredPeople:
    with open_store(entry.payload, verify_checksum=True) as store:
        if store.video_id != entry.video_id:
            raise DataFileError(
                f"{entry.payload} holds the video {store.video_id!r}, not {entry.video_id!r}.",
                hint="Undo the renaming.",
            )
        if store.provenance.heads.spec == "whole":
            raise UsageError(
                f"{entry.payload} has no head boxes: it was made with --heads whole.",
                hint="Run extract with --heads file:PATH or detect.",
            )
        progress.start(entry.video_id, len(store), unit="rows")
        return stored_people(store, lambda rows: progress.advance(entry.video_id, rows))


def _item(video_id: str, status: str, video: ExportedVideo) -> ExportedItem:
    return ExportedItem.model_validate(
        {"video_id": video_id, "status": status, "frames": video.frames, "rows": video.boxes, "bytes": video.bytes}
    )
