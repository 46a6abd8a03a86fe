"""Is there room for one video: counted from its frames and boxes before the first frame is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.io.space import blocks, check_space, free_space
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import path_of_id
from gazetools.store.columns import piece_file_bytes, store_file_bytes
from gazetools.video.fingerprint import FINGERPRINT_EVERY

MARGIN_BYTES = 256 << 10
MARGIN_FILES = 8
"""Sidecar, lock and journal, temporary names, the report, and what the file system itself takes."""
_PLENTY_BYTES = 4 << 30
"""More than the store file before can take beyond what its pieces give back."""


@dataclass(frozen=True, kw_only=True)
class SpaceNeed:
    """What a video will take beside what is there, at its worst moment: all its pieces, and the store file of them."""

    bytes: int
    files: int
    rows: int


def need_of_video(video: VideoWork, store: Path, heatmap_shape: tuple[int, int]) -> SpaceNeed:
    """The need of `video`, all of whose missing pieces are made before its store file.

    The only piece of a video stays in memory.
    """
    rows_of = [int(video.heads.people_in(part).sum()) for part in video.parts]
    prints_of = [-(-len(part) // FINGERPRINT_EVERY) for part in video.parts]
    missing = [number for number in range(len(video.parts)) if not video.pieces.exists(number)]
    if len(video.parts) == 1:
        missing = []
    piece_bytes = [
        blocks(
            piece_file_bytes(
                frames=len(video.parts[number]),
                rows=rows_of[number],
                fingerprints=prints_of[number],
                heatmap_shape=heatmap_shape,
            )
        )
        for number in missing
    ]
    store_bytes = store_file_bytes(
        frames=sum(map(len, video.parts)),
        rows=sum(rows_of),
        fingerprints=sum(prints_of),
        heatmap_shape=heatmap_shape,
    )
    final = path_of_id(store, video.item.video_id, STORE_SUFFIX)
    folders = [folder for folder in (*final.parents, video.pieces.path) if not folder.exists()]
    return SpaceNeed(
        bytes=sum(piece_bytes) + blocks(store_bytes) + MARGIN_BYTES,
        files=len(missing) + len(folders) + MARGIN_FILES,
        rows=sum(rows_of),
    )


def check_space_for_video(tools: WorkerTools, video: VideoWork) -> None:
    """Raise FaultError where the store has no room for `video`.

    The store file of the previous video may still be being written: it takes room until it is there, and then its
    pieces give room back. Only where the disk is nearly full does this wait for it.
    """
    store, heatmap_shape = tools.store, tools.runner.heatmap_shape
    need = need_of_video(video, store, heatmap_shape)
    if free_space(store).bytes < 2 * need.bytes + _PLENTY_BYTES:
        tools.wait_for_store_writer()
    height, width = heatmap_shape
    check_space(
        store,
        needed_bytes=need.bytes,
        needed_files=need.files,
        what=f"The video {video.item.video_id} ({need.rows:,} heatmaps of {height}x{width})",
        hint="Make room and run the same command again: finished videos and pieces are kept. Or choose another -o, "
        "fewer frames (--stride, --fps) or --people; --no-check-space goes on all the same.",
    )
