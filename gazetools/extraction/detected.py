"""The first pass of a video whose heads are detected: its boxes, kept in the store and reused on resume."""

from __future__ import annotations

from pathlib import Path

from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.inputs import VideoItem
from gazetools.heads.detection import HeadDetection, detect_heads
from gazetools.progress import Progress
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.video_id import path_of_id
from gazetools.store.attempts import attempted
from gazetools.store.lock import locked

HEADS_FOLDER = ".heads"
"""Below the store: `<video_id>.csv` with its record. Hidden, so that it is no video; `--heads file:` reads it."""


def detected_boxes(
    detection: HeadDetection,
    decoder: Decoder,
    store: Path,
    item: VideoItem,
    options: ExtractOptions,
    progress: Progress,
) -> Path:
    """The CSV of head boxes of one video, made now over the whole video or taken over from an earlier run.

    Frames come from a decoding process that can be killed. Boxes made by another detector, or from another file of
    that name, are replaced. Of several workers that need the boxes of one video, the first detects.

    Raises BusyError while another worker detects, VideoError where the video can't be decoded, or
    is given up because every attempt ended with its process.
    """
    label = f"heads {item.video_id}"
    key = detection.key(item.path)
    with locked(store, label), attempted(store, item.video_id, label, key=key, finished=0):
        found = detect_heads(
            item.path,
            path_of_id(store / HEADS_FOLDER, item.video_id, ".csv"),
            detection,
            label=label,
            allow_damaged=options.allow_damaged,
            overwrite=True,
            open_video=lambda path: decoder.open(path, batch_size=detection.batch_size),
            progress=progress,
        )
    return found.path
