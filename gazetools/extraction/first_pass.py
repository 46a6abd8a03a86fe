"""The first pass of a video whose heads are detected: its boxes, kept in the store and reused on resume."""

from __future__ import annotations

from pathlib import Path

from gazetools.extraction.inputs import VideoItem
from gazetools.heads.detection import HeadDetection, detect_heads
from gazetools.progress import Progress
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.video_id import path_of_id

HEADS_FOLDER = ".heads"
"""Below the store: `<video_id>.csv` with its record. Hidden, so that it is no video; `--heads file:` reads it."""


def detected_boxes(
    detection: HeadDetection, store: Path, item: VideoItem, options: ExtractOptions, progress: Progress
) -> Path:
    """The CSV of head boxes of one video, made now over the whole video or taken over from an earlier run.

    Boxes made by another detector, or from another file of that name, are replaced.
    """
    found = detect_heads(
        item.path,
        path_of_id(store / HEADS_FOLDER, item.video_id, ".csv"),
        detection,
        label=f"heads {item.video_id}",
        allow_damaged=options.allow_damaged,
        overwrite=True,
        progress=progress,
    )
    return found.path
