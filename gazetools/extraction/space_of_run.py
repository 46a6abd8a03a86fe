"""Is there room for a whole run: an estimate against the disk, before the model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gazetools.extraction.decoding.decoder import DecodeSettings
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.space import MARGIN_BYTES, MARGIN_FILES
from gazetools.extraction.space_estimate import LEAST_FRAME_BYTES, estimate_space, file_size
from gazetools.gazemodels.registry import heatmap_shape_of
from gazetools.io.space import FreeSpace, check_space, free_space, size_text
from gazetools.progress import Progress
from gazetools.schemas.extract import PIECE_FRAMES, ExtractOptions
from gazetools.store.columns import store_file_bytes

_LEAST_BOX_BYTES = 12
"""Of a line in a box file."""


def check_space_for_run(
    items: Sequence[VideoItem],
    store: Path,
    options: ExtractOptions,
    head_files: Mapping[str, Path] | None,
    *,
    parts: Mapping[str, float] | None = None,
    workers: int = 1,
    decoding: DecodeSettings,
    progress: Progress,
) -> None:
    """Raise FaultError where `store` has no room for the run; say it where more than half of the room will go.

    Arguments as of `estimate_space`.
    """
    free = free_space(store)
    if _surely_fits(items, free, options, head_files):
        return
    estimate = estimate_space(
        items, store, options, head_files, parts=parts, workers=workers, decoding=decoding, progress=progress
    )
    if estimate is None:
        return
    guessed = f"estimated from {estimate.probed:,} of {estimate.videos:,} files, {estimate.people}"
    check_space(
        store,
        needed_bytes=estimate.needed_bytes,
        needed_files=estimate.needed_files,
        what=f"Extracting {estimate.videos:,} video{'s' * (estimate.videos != 1)} ({guessed})",
        hint="Nothing was done. Make room, or choose another -o, fewer frames (--stride, --fps) or --people; "
        "--no-check-space begins all the same.",
    )
    if estimate.needed_bytes > free.bytes / 2:
        progress.say(
            f"the store will take about {size_text(estimate.needed_bytes)} of the {size_text(free.bytes)} that are "
            f"free ({guessed})"
        )


def _surely_fits(
    items: Sequence[VideoItem], free: FreeSpace, options: ExtractOptions, head_files: Mapping[str, Path] | None
) -> bool:
    """Whether there is far more room than for as many frames and boxes as the bytes of the files can hold at all.

    Then a small run needs no estimate, which opens files and takes a moment.
    """
    frames = rows = sum(file_size(item.path) for item in items) // LEAST_FRAME_BYTES
    if head_files and options.heads.startswith("file:"):
        box_bytes = sum(file_size(path) for path in head_files.values())
        rows = box_bytes // _LEAST_BOX_BYTES * (1 + options.fill_gaps)
    stored = store_file_bytes(
        frames=frames, rows=rows, fingerprints=frames, heatmap_shape=heatmap_shape_of(options.model)
    )
    most_bytes = 2 * stored + len(items) * MARGIN_BYTES  # in pieces, then in store files
    most_files = frames // PIECE_FRAMES + len(items) * MARGIN_FILES
    return 2 * most_bytes < free.bytes and (free.files is None or 2 * most_files < free.files)
