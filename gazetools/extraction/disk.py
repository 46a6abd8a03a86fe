"""Room on the disk: does the whole run fit, asked before the model is loaded, and does the next video fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazetools.extraction.disk_estimate import (
    LEAST_FRAME_BYTES,
    MARGIN_BYTES,
    MARGIN_FILES,
    PlannedRun,
    RowShapes,
    estimate_space,
    file_size,
    fingerprints_of,
    row_shapes,
)
from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.io.space import FreeSpace, blocks, check_space, free_space, size_text
from gazetools.progress import Progress
from gazetools.schemas.extract import PIECE_FRAMES
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import path_of_id
from gazetools.store.columns import ContentSizes

_LEAST_BOX_BYTES = 12
"""Bytes of the shortest line in a box file."""
_PLENTY_BYTES = 4 << 30
"""More than the previous store file can take beyond what its pieces give back."""


def check_space_for_run(run: PlannedRun, progress: Progress) -> None:
    """Raise FaultError where its store has no room for `run`; say so where it will take more than half of the room."""
    free = free_space(run.store)
    if _surely_fits(run, free) or (estimate := estimate_space(run, progress)) is None:
        return
    guessed = f"estimated from {estimate.probed:,} of {estimate.videos:,} files, {estimate.people}"
    check_space(
        run.store,
        needed_bytes=estimate.needed_bytes,
        needed_files=estimate.needed_files,
        what=f"Extracting {estimate.videos:,} video{'s' * (estimate.videos != 1)} ({guessed})",
        hint="Nothing was done. Make room, or choose another -o, fewer frames (--stride, --fps) or --people; "
        "--no-check-space begins without this check.",
    )
    if estimate.needed_bytes > free.bytes / 2:
        progress.say(
            f"the store will take about {size_text(estimate.needed_bytes)} of the {size_text(free.bytes)} that are "
            f"free ({guessed})"
        )


def _surely_fits(run: PlannedRun, free: FreeSpace) -> bool:
    """Whether twice the frames and boxes that the files' bytes can hold at all fit; then no file must be opened."""
    frames = rows = sum(file_size(item.path) for item in run.items) // LEAST_FRAME_BYTES
    if run.head_files and run.options.heads.startswith("file:"):
        box_bytes = sum(map(file_size, run.head_files.values()))
        rows = box_bytes // _LEAST_BOX_BYTES * (1 + run.options.fill_gaps)
    sizes = ContentSizes(frames=frames, rows=rows, fingerprints=frames, **row_shapes(run.options))
    stored = sizes.store_file_bytes()
    most_bytes = 2 * stored + len(run.items) * MARGIN_BYTES  # in pieces, then in store files
    most_files = frames // PIECE_FRAMES + len(run.items) * MARGIN_FILES
    return 2 * most_bytes < free.bytes and (free.files is None or 2 * most_files < free.files)


@dataclass(frozen=True, kw_only=True)
class SpaceNeed:
    """Room that a video takes in addition to what is there, at its worst moment: all its pieces, and its store file."""

    bytes: int
    files: int
    rows: int


def need_of_video(
    video: VideoWork, store: Path, heatmap_shape: tuple[int, int], tokens_shape: tuple[int, int, int] | None = None
) -> SpaceNeed:
    """The need of `video`: all its missing pieces are made before its store file; an only piece stays in memory."""
    shapes: RowShapes = {"heatmap_shape": heatmap_shape, "tokens_shape": tokens_shape}
    sizes = [
        {
            "frames": len(part),
            "rows": int(video.heads.people_in(part).sum()),
            "fingerprints": fingerprints_of(len(part)),
        }
        for part in video.parts
    ]
    on_disk = len(sizes) > 1 or video.earlier is not None
    missing = [size for number, size in enumerate(sizes) if on_disk and not video.pieces.exists(number)]
    whole = {name: sum(size[name] for size in sizes) for name in ("frames", "rows", "fingerprints")}
    pieces_bytes = sum(blocks(ContentSizes(**size, **shapes).piece_file_bytes()) for size in missing)
    store_bytes = blocks(ContentSizes(**whole, **shapes).store_file_bytes())
    final = path_of_id(store, video.item.video_id, STORE_SUFFIX)
    folders = [folder for folder in (*final.parents, video.pieces.path) if not folder.exists()]
    return SpaceNeed(
        bytes=pieces_bytes + store_bytes + MARGIN_BYTES,
        files=len(missing) + len(folders) + MARGIN_FILES,
        rows=whole["rows"],
    )


def check_space_for_video(tools: WorkerTools, video: VideoWork) -> None:
    """Raise FaultError where `video` has no room; on a nearly full disk, wait for the previous store file first."""
    store, runner = tools.store, tools.runner
    need = need_of_video(video, store, runner.heatmap_shape, runner.tokens_shape)
    if free_space(store).bytes < 2 * need.bytes + _PLENTY_BYTES:
        tools.wait_for_store_writer()
    height, width = runner.heatmap_shape
    check_space(
        store,
        needed_bytes=need.bytes,
        needed_files=need.files,
        what=f"The video {video.item.video_id} ({need.rows:,} heatmaps of {height}x{width})",
        hint="Make room and run the same command again: finished videos and pieces are kept. Or choose another -o, "
        "fewer frames (--stride, --fps) or --people; --no-check-space continues without this check.",
    )
