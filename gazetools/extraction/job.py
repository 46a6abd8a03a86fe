"""Extract one video: decode, run the model piece by piece, commit the store file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.batching import BatchRunner
from gazetools.extraction.fingerprint import FINGERPRINT_EVERY, fingerprint
from gazetools.extraction.first_pass import detected_boxes
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.origin import build_provenance, options_key
from gazetools.extraction.prompts import FramePrompts, prompts_of_frame
from gazetools.heads.detection import HeadDetection
from gazetools.heads.sources import HeadSourceForVideo, heads_digest, heads_for_video, track_roles
from gazetools.progress import Progress
from gazetools.sampling import choose_frames
from gazetools.schemas.errors import UsageError, VideoError
from gazetools.schemas.extract import PIECE_FRAMES, ExtractOptions, ItemResult
from gazetools.schemas.store import FINGERPRINT_SIZE, Piece, Prompt, Rows
from gazetools.schemas.video import Frame
from gazetools.store.listing import is_complete
from gazetools.store.pieces import PieceFolder
from gazetools.store.writer import write_store
from gazetools.video import VideoReader


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every video of one run shares."""

    store: Path
    options: ExtractOptions
    head_files: dict[str, Path] | None
    """video id -> box file; None for `--heads whole`."""
    runner: BatchRunner
    progress: Progress
    detection: HeadDetection | None = None
    """With `--heads detect`: the loaded detector."""


def extract_video(job: Job, item: VideoItem) -> ItemResult:
    """Extract one video into its store file, taking over finished pieces of an earlier, interrupted run.

    Raises VideoError, HeadsError or UsageError where this video can't be done, FaultError where the run must stop.
    """
    began = time.monotonic()
    options = job.options
    if job.detection is not None:
        boxes = detected_boxes(job.detection, job.store, item, options, job.progress)
        job = replace(job, head_files={item.video_id: boxes})
    box_file = (job.head_files or {}).get(item.video_id)
    key = options_key(options, job.runner, item.path, heads_digest(options, box_file) if box_file else None)
    if (done := is_complete(job.store, item.video_id)) and not options.overwrite:
        if done.options_key != key:
            raise UsageError(
                f"The store already has {item.video_id!r}, made from another file, or with other options or weights.",
                hint="Pass --overwrite to replace it, or choose another -o.",
            )
        return ItemResult(
            video_id=item.video_id,
            path=str(item.path),
            status="complete",
            frames=done.frames,
            rows=done.rows,
            frames_without_people=done.frames_without_people,
        )
    pieces = PieceFolder(job.store, item.video_id, key)
    with VideoReader(item.path) as reader:
        _refuse_damage(reader, options)
        heads = heads_for_video(
            options,
            job.head_files,
            item.video_id,
            width=reader.info.width,
            height=reader.info.height,
            frame_count=reader.frame_count,
        )
        chosen = choose_frames(
            reader.pts_seconds, fps=options.fps, stride=options.stride, start=options.start, end=options.end
        )
        if not len(chosen):
            raise VideoError(
                f"No frame of {item.path} lies in the chosen range (its times are {reader.pts_seconds[0]:.3f} to "
                f"{reader.pts_seconds[-1]:.3f} s).",
                hint="Change --start and --end.",
            )
        parts = [chosen[i : i + PIECE_FRAMES] for i in range(0, len(chosen), PIECE_FRAMES)]
        tally = _make_pieces(job, item, reader, heads, pieces, parts)
        all_decoded = len(chosen) == reader.frame_count and not tally.resumed_frames
        provenance = build_provenance(
            options=options,
            video_id=item.video_id,
            reader=reader,
            counted_by="decoding" if all_decoded or reader.counted_by == "decoding" else "index",
            runner=job.runner,
            heads=heads,
            key=key,
            prompts=tally.prompts,
            backoffs=tally.backoffs,
        )
    sidecar = write_store(
        job.store,
        item.video_id,
        provenance=provenance,
        pieces=[pieces.loader(number) for number in range(len(parts))],
        track_roles=track_roles(heads),
        heatmap_shape=job.runner.heatmap_shape,
    )
    pieces.remove()
    return ItemResult(
        video_id=item.video_id,
        path=str(item.path),
        status="done",
        frames=sidecar.frames,
        rows=sidecar.rows,
        frames_without_people=sidecar.frames_without_people,
        small_heads=tally.small_heads if heads.table else 0,
        clipped_boxes=heads.table.clipped if heads.table else 0,
        head_counts=heads.counts,
        resumed_frames=tally.resumed_frames,
        seconds=round(time.monotonic() - began, 3),
    )


@dataclass
class _Tally:
    """Counts over the pieces of one video."""

    prompts: dict[str, int] = field(default_factory=dict)
    backoffs: list[dict[str, int]] = field(default_factory=list)
    resumed_frames: int = 0

    def add(self, number: int, piece: Piece, batch_size: int) -> None:
        for kind in Prompt:
            if count := int((piece.rows.prompt == kind).sum()):
                self.prompts[kind.name.lower()] = self.prompts.get(kind.name.lower(), 0) + count
        if piece.batch_size < batch_size:
            self.backoffs.append({"piece": number, "batch_size": piece.batch_size})

    @property
    def small_heads(self) -> int:
        return sum(self.prompts.get(kind, 0) for kind in ("grown", "cropped", "none"))


def _refuse_damage(reader: VideoReader, options: ExtractOptions) -> None:
    if reader.damage and not options.allow_damaged:
        raise VideoError(
            f"{reader.info.path} is not whole: {'; '.join(reader.damage)}.",
            hint="Get the file again, or pass --allow-damaged to take what can be decoded.",
        )


def _make_pieces(
    job: Job,
    item: VideoItem,
    reader: VideoReader,
    heads: HeadSourceForVideo,
    pieces: PieceFolder,
    parts: list[npt.NDArray[np.int64]],
) -> _Tally:
    """Make the pieces that are missing, in one pass over the video."""
    tally = _Tally()
    missing = [number for number in range(len(parts)) if not pieces.has(number)]
    job.progress.start(item.video_id, sum(len(part) for part in parts))
    for number in range(len(parts)):
        if number not in missing:
            tally.add(number, pieces.load(number), job.runner.batch_size)
            tally.resumed_frames += len(parts[number])
            job.progress.advance(item.video_id, len(parts[number]))
    wanted = np.concatenate([parts[number] for number in missing]) if missing else np.zeros(0, np.int64)
    frames = iter(reader.frames(wanted))
    for number in missing:
        piece = _make_piece(job, item, frames, heads, len(parts[number]), (reader.info.height, reader.info.width))
        pieces.save(number, piece)
        tally.add(number, piece, job.runner.batch_size)
    job.progress.finish(item.video_id)
    return tally


def _make_piece(
    job: Job,
    item: VideoItem,
    frames: Iterator[Frame],
    heads: HeadSourceForVideo,
    count: int,
    frame_hw: tuple[int, int],
) -> Piece:
    """The next `count` frames; batches are filled with frames that have people and never cross the piece."""
    index, pts, prints, print_index = [], [], [], []
    people: list[tuple[int, FramePrompts]] = []
    maps, inouts = [], []
    batch: list[tuple[npt.NDArray[np.uint8], FramePrompts]] = []

    def run_batch() -> None:
        result = job.runner.run([rgb for rgb, _ in batch], [prompts for _, prompts in batch])
        maps.append(result.heatmap)
        inouts.append(result.inout)
        batch.clear()

    for position in range(count):
        frame = next(frames)
        if frame.rgb.shape[:2] != frame_hw:
            raise VideoError(
                f"Frame {frame.index} of {item.path} is {frame.rgb.shape[1]}x{frame.rgb.shape[0]}, the stream is "
                f"{frame_hw[1]}x{frame_hw[0]}: the picture size changes inside the stream, which is not supported."
            )
        index.append(frame.index)
        pts.append(frame.pts_seconds)
        if position % FINGERPRINT_EVERY == 0:
            prints.append(fingerprint(frame.rgb))
            print_index.append(frame.index)
        prompts = prompts_of_frame(heads, frame.index, grid_hw=job.runner.grid_hw, small_heads=job.options.small_heads)
        if len(prompts.track_id):
            people.append((frame.index, prompts))
            batch.append((frame.rgb, prompts))
        if len(batch) == job.runner.batch_size:
            run_batch()
        job.progress.advance(item.video_id)
    if batch:
        run_batch()
    h, w = job.runner.heatmap_shape
    rows = Rows(
        frame=np.repeat([f for f, _ in people], [len(p.track_id) for _, p in people]).astype(np.int64),
        track_id=_joined([p.track_id for _, p in people], np.zeros(0, np.int32)),
        box_xyxy=_joined([p.box_xyxy for _, p in people], np.zeros((0, 4), np.float32)),
        inout=_joined(inouts, np.zeros(0, np.float32)),
        prompt=_joined([p.prompt for _, p in people], np.zeros(0, np.uint8)),
        heatmap=_joined(maps, np.zeros((0, h, w), np.float16)),
    )
    return Piece(
        frame_index=np.array(index, np.int64),
        pts_seconds=np.array(pts, np.float64),
        fingerprint=np.stack(prints) if prints else np.zeros((0, FINGERPRINT_SIZE, FINGERPRINT_SIZE), np.uint8),
        fingerprint_index=np.array(print_index, np.int64),
        rows=rows,
        batch_size=job.runner.fitting_batch_size,
    )


def _joined(arrays: list[npt.NDArray], empty: npt.NDArray) -> npt.NDArray:  # type: ignore[type-arg]
    return np.concatenate(arrays) if arrays else empty
