"""Save corrected boxes as a new CSV with its history, once for each revision."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from gazetools._version import __version__
from gazetools.heads.corrections import (
    INTERPOLATED,
    CorrectedBoxes,
    Corrections,
    as_csv,
    history_path,
    read_corrected,
    read_corrections,
)
from gazetools.io.atomic import sha256_of_file, write_bytes_atomic
from gazetools.schemas.box_edits import BoxSave, CorrectionBase, HistoryBegin, HistorySave
from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import path_of_id
from gazetools.store.lock import locked
from gazetools.viewer.box_edits import EditedBoxes
from gazetools.viewer.box_source import BoxSource

_LOCK_WAIT_SECONDS = 10.0


class StaleError(UsageError):
    """The boxes were saved by somebody else meanwhile; `details["revision"]` is the present one."""

    code = "stale"


@dataclass(frozen=True, kw_only=True)
class PresentBoxes:
    """The boxes that edits begin with now."""

    revision: str
    boxes: CorrectedBoxes
    base: CorrectionBase
    corrections: Corrections | None
    """What was saved before; None: nothing."""


def corrected_path(folder: Path, video_id: str) -> Path:
    """The CSV of a video in the folder of corrected boxes. Raises UsageError for an id that leads out of it."""
    return path_of_id(folder, video_id, ".csv")


def present_boxes(path: Path, source: BoxSource) -> PresentBoxes:
    """The corrected boxes at `path`, or those of `source` where nothing was saved yet.

    Raises UsageError for a file at `path` that `view` did not write, so that no original is ever replaced; HeadsError
    for one that can't be read.
    """
    if not os.path.lexists(path):
        revision = f"{source.base.kind}:{source.base.sha256}"
        return PresentBoxes(revision=revision, boxes=source.boxes, base=source.base, corrections=None)
    digest = sha256_of_file(path) if path.is_file() else ""
    corrections = read_corrections(path, digest) if digest else None
    if corrections is None:
        raise UsageError(
            f"{path} is there and is not what gazetools view saved last, so it is not replaced.",
            hint=f"Move it (and {history_path(path).name}) away, or give another folder as --boxes.",
        )
    boxes = read_corrected(path)
    return PresentBoxes(revision=digest, boxes=boxes, base=corrections.begin.base, corrections=corrections)


def save_boxes(path: Path, video_id: str, source: BoxSource, asked: BoxSave) -> PresentBoxes:
    """Apply the edits to the boxes at `path` and write them with their history; returns what is there now.

    One process at a time; the history is committed before the CSV, whose sha256 it states, so that a history without
    its CSV is known to be of a save that did not finish.

    Raises StaleError where the boxes have another revision than the edits were made on, HeadsError for an edit that
    can't be applied, BusyError while another process saves; FaultError for a full disk. Nothing is changed then.
    """
    folder = path.parents[len(Path(video_id).parts) - 1]
    with locked(folder, f"boxes {video_id}", wait_seconds=_LOCK_WAIT_SECONDS):
        present = present_boxes(path, source)
        if present.revision != asked.revision:
            raise StaleError(
                f"The boxes of {video_id!r} were saved meanwhile, in another tab or by another program.",
                hint="Take over what was saved; your own edits are put on top of it.",
                revision=present.revision,
            )
        video = source.video
        edited = EditedBoxes(
            present.boxes, width=video["width"], height=video["height"], frame_count=video["frame_count"]
        )
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        lines = [] if present.corrections is None else list(present.corrections.lines)
        if not lines:
            begin = HistoryBegin(time=time, tool_version=__version__, video_id=video_id, base=source.base)
            lines.append(begin.model_dump_json())
        lines += [edited.apply(edit, time=time).model_dump_json() for edit in asked.edits]
        boxes = edited.boxes()
        data = as_csv(boxes)
        before = 0 if present.corrections is None else present.corrections.save.edits
        save = HistorySave(
            time=time,
            based_on=present.revision,
            csv_sha256=hashlib.sha256(data).hexdigest(),
            rows=len(boxes),
            edits=before + len(asked.edits),
            interpolated=int((boxes.origin == INTERPOLATED).sum()),
        )
        lines.append(save.model_dump_json())
        write_bytes_atomic(history_path(path), ("\n".join(lines) + "\n").encode())
        write_bytes_atomic(path, data)
        begun = HistoryBegin.model_validate_json(lines[0])
        made = Corrections(begin=begun, save=save, lines=tuple(lines))
        return PresentBoxes(revision=save.csv_sha256, boxes=boxes, base=begun.base, corrections=made)
