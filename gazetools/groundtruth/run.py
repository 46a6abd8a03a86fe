"""`groundtruth`: list the videos of an Ego-Exo4D or Ego4D root, render one store file per video, account for all."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gazetools._version import __version__
from gazetools.egoexo.geometry import Floats
from gazetools.groundtruth.inputs import TruthVideo, truth_videos
from gazetools.groundtruth.render import SIZE
from gazetools.groundtruth.targets import Frames, Targets
from gazetools.io.atomic import check_writable_folder, remove_stale_temps
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.sampling import choose_frames
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.extract import PIECE_FRAMES
from gazetools.schemas.groundtruth import GroundTruthItem, GroundTruthOptions, GroundTruthReport
from gazetools.schemas.provenance import GROUND_TRUTH, HeadSource, ModelRecord, Provenance, SourceVideo
from gazetools.schemas.store import FINGERPRINT_SIZE, GROUND_TRUTH_REPORT_NAME, Piece, Prompt, Rows, Sidecar
from gazetools.store.listing import is_complete
from gazetools.store.writer import FilledStore, StoreContent, fill_store
from gazetools.video import VideoReader
from gazetools.video.facts import source_video

REVISION = 2
"""Raised whenever the same inputs would give other numbers."""


def groundtruth(
    root: str | Path,
    output: str | Path,
    *,
    options: GroundTruthOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> GroundTruthReport:
    """Render where the wearer looks, by eye tracking, into one store file per video.

    Args:
        root: what `egoexo -o` filled (takes.json, takes/), or `ego4d -o` (gaze/ next to the videos; `view="ego"`).
        output: the store folder; finished videos in it are not done again.
        options: how; or give its fields as keyword arguments.

    Returns:
        The report that is also written to `output/groundtruth_report.json`: every video, the failed ones with reasons.

    Raises:
        UsageError: a root, choice or output that can't work; nothing was done.
        FaultError: the disk is full; finished videos are kept.

    >>> report = groundtruth("EGOEXO", "TRUTH", takes="iiith_cooking_*")     # doctest: +SKIP
    >>> report.items[0].counts["depth_measured"]                                       # doctest: +SKIP
    812.0
    """
    options = given_or_parsed(options, GroundTruthOptions, settings, what="groundtruth options")
    progress = progress or NoProgress()
    store = Path(output)
    videos = truth_videos(Path(root).expanduser(), options)
    check_writable_folder(store, option="-o")
    remove_stale_temps(store)
    items: list[GroundTruthItem] = []
    progress.start("videos", len(videos), unit="videos")
    # One thread hashes and syncs a file while the next video is rendered; both release the interpreter lock.
    with ThreadPoolExecutor(1) as writer:
        previous: Future[Sidecar | None] = writer.submit(lambda: None)
        for video in videos:
            filled = None
            try:
                item, filled = _render(store, video, options, progress)
            except UsageError as error:  # of this video alone
                progress.say(f"failed: {video.video_id}: {error}")
                path = str(video.path or "")
                item = GroundTruthItem(video_id=video.video_id, path=path, status="failed", reason=str(error))
            items.append(item)
            if filled is not None:
                try:
                    previous.result()  # a commit that fails (a full disk) ends the run
                except BaseException:
                    filled.discard()
                    raise
                previous = writer.submit(filled.commit)
            progress.advance("videos")
        previous.result()
    progress.finish("videos")
    report = GroundTruthReport(tool_version=__version__, options=options.model_dump(), items=items)
    write_json_atomic(store / GROUND_TRUTH_REPORT_NAME, report.model_dump(mode="json"))
    return report


def _render(
    store: Path, video: TruthVideo, options: GroundTruthOptions, progress: Progress
) -> tuple[GroundTruthItem, FilledStore | None]:
    """One video and, unless the store has it already, the file that waits for its commit."""
    if video.path is None or video.targets is None:
        raise DataFileError(video.lacking)
    began = time.monotonic()
    with VideoReader(video.path, **options.for_reader()) as reader:
        frames = choose_frames(reader.pts_seconds, fps=options.fps, stride=options.stride)
        targets = video.targets(reader, frames)
        for note in targets.warnings:
            progress.say(f"{video.video_id}: {note}")
        counted_by: Literal["decoding", "index"] = "decoding" if reader.counted_by == "decoding" else "index"
        source = source_video(reader, counted_by, store=store)
        pts = reader.pts_seconds
    key = _key(options, targets, source.sha256)
    done = is_complete(store, video.video_id)
    if done is not None and done.options_key != key and not options.overwrite:
        raise UsageError(
            f"The store already has {video.video_id!r}, made from other recordings or with other options.",
            hint="Pass --overwrite to replace it, or choose another -o.",
        )
    filled = None
    if done is None or done.options_key != key:
        content = StoreContent(
            provenance=_provenance(video.video_id, source, targets, options, key),
            pieces=_pieces(targets, frames, pts, draw=True),
            outline=_pieces(targets, frames, pts, draw=False),
            track_roles={targets.track_id: "wearer"},
            heatmap_shape=(SIZE, SIZE),
            extras=targets.extras,
        )
        filled = fill_store(store, video.video_id, content)
    item = GroundTruthItem(
        video_id=video.video_id,
        path=str(video.path),
        status="done" if filled is not None else "complete",
        frames=len(frames),
        rows=len(targets.frame),
        counts=targets.counts,
        notes=targets.notes,
        seconds=round(time.monotonic() - began, 3),
    )
    return item, filled


def _provenance(
    video_id: str, video: SourceVideo, targets: Targets, options: GroundTruthOptions, options_key: str
) -> Provenance:
    prompts = {kind.name.lower(): int((targets.prompt == kind).sum()) for kind in Prompt}
    return Provenance(
        video_id=video_id,
        tool_version=__version__,
        video=video,
        model=ModelRecord(
            name=GROUND_TRUTH,
            weights_sha256=targets.sources,
            backbone="none",
            in_size=(video.height, video.width),
            out_size=(SIZE, SIZE),
            inout=True,
            dtype="float64",
            device="cpu",
            implementation=f"gazetools {__version__}",
        ),
        heads=HeadSource(
            spec="calib" if options.view == "exo" else "whole",
            sha256=None,
            rows=len(targets.frame),
            clipped_boxes=0,
            small_heads="none",
            prompts={name: count for name, count in prompts.items() if count},
            counts=targets.counts,
        ),
        batch_size=1,
        piece_frames=PIECE_FRAMES,
        options={**options.shaping(), "notes": targets.notes, "geometry": targets.geometry},
        options_key=options_key,
        libraries={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("numpy", "h5py", "av")},
    )


def _key(options: GroundTruthOptions, targets: Targets, video_sha256: str) -> str:
    parts = {
        "revision": REVISION,
        "options": options.shaping(),
        "sources": targets.sources,
        "video": video_sha256,
        "geometry": targets.geometry,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _pieces(targets: Targets, frames: Frames, pts_seconds: Floats, *, draw: bool) -> list[Callable[[], Piece]]:
    """One loader per 256 frames; maps are drawn when a loader is called, so that memory stays bounded."""
    blank = np.zeros((), np.float16)

    def load(start: int) -> Piece:
        index = frames[start : start + PIECE_FRAMES]
        first, stop = (int(i) for i in np.searchsorted(targets.frame, [index[0], index[-1] + 1]))
        rows = slice(first, stop)
        return Piece(
            frame_index=index,
            pts_seconds=pts_seconds[index],
            fingerprint=np.zeros((0, FINGERPRINT_SIZE, FINGERPRINT_SIZE), np.uint8),
            fingerprint_index=np.zeros(0, np.int64),
            rows=Rows(
                frame=targets.frame[rows],
                track_id=np.full(stop - first, targets.track_id, np.int32),
                box_xyxy=targets.box_xyxy[rows].astype(np.float32),
                inout=targets.inout[rows].astype(np.float32),
                prompt=targets.prompt[rows].astype(np.uint8),
                heatmap=targets.maps(first, stop) if draw else np.broadcast_to(blank, (stop - first, SIZE, SIZE)),
            ),
            batch_size=1,
        )

    return [partial(load, start) for start in range(0, len(frames), PIECE_FRAMES)]
