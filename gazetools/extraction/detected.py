"""Boxes of a video that a first pass detects, kept in the store and used again on resume."""

from __future__ import annotations

from pathlib import Path

from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.work import WorkerTools
from gazetools.heads.detection import HeadDetection, detect_heads
from gazetools.schemas.video_id import path_of_id
from gazetools.store.attempts import attempted
from gazetools.store.lock import locked

HEADS_FOLDER = ".heads"
"""Folder of the store with `<video_id>.csv` and its record. Hidden: it has no videos; `--heads file:` reads it."""


def detected_boxes(tools: WorkerTools, detection: HeadDetection, item: VideoItem) -> Path:
    """CSV of the head boxes of one video, made over the whole video now or taken over from an earlier run.

    Boxes made by another detector, or from another file of that name, are replaced. Raises BusyError while another
    worker detects, VideoError where the video can't be decoded or every attempt ended with its process.
    """
    label = f"heads {item.video_id}"
    key = detection.key(item.path)
    with locked(tools.store, label), attempted(tools.store, item.video_id, label, key=key, finished=0):
        return detect_heads(
            item.path,
            path_of_id(tools.store / HEADS_FOLDER, item.video_id, ".csv"),
            detection,
            label=label,
            allow_damaged=tools.options.allow_damaged,
            overwrite=True,
            open_video=lambda path: tools.decoder.open(path, batch_size=detection.batch_size),
            progress=tools.progress,
        ).path
