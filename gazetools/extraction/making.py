"""Make the pieces of a video that are missing: frames in, one committed piece per run of frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gazetools.extraction.batching import BatchResult, BatchRunner, Pending
from gazetools.extraction.child_reader import ChildReader
from gazetools.extraction.fingerprint import FINGERPRINT_EVERY, fingerprint
from gazetools.extraction.piece_writer import PieceWriter
from gazetools.extraction.profile import StageClock
from gazetools.extraction.prompts import FramePrompts, prompts_of_frame
from gazetools.heads.sources import HeadSourceForVideo
from gazetools.progress import Progress
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.store import FINGERPRINT_SIZE, Piece, Prompt, Rows
from gazetools.schemas.video import Frame
from gazetools.store.pieces import PieceFolder


@dataclass
class VideoTally:
    """Counts over the pieces of one video."""

    prompts: dict[str, int] = field(default_factory=dict)
    backoffs: list[dict[str, int]] = field(default_factory=list)
    rows: int = 0
    resumed_frames: int = 0

    def add(self, number: int, piece: Piece, batch_size: int) -> None:
        """Count a finished piece; `batch_size` is the run's, which a piece made in little memory falls short of."""
        self.rows += len(piece.rows)
        for kind in Prompt:
            if count := int((piece.rows.prompt == kind).sum()):
                self.prompts[kind.name.lower()] = self.prompts.get(kind.name.lower(), 0) + count
        if piece.batch_size < batch_size:
            self.backoffs.append({"piece": number, "batch_size": piece.batch_size})

    @property
    def small_heads(self) -> int:
        """Rows whose box rounded to no cell."""
        return sum(self.prompts.get(kind, 0) for kind in ("grown", "cropped", "none"))


def make_pieces(
    reader: ChildReader,
    heads: HeadSourceForVideo,
    parts: Mapping[int, npt.NDArray[np.int64]],
    pieces: PieceFolder,
    *,
    options: ExtractOptions,
    runner: BatchRunner,
    progress: Progress,
    clock: StageClock,
    name: str,
    only_piece: bool = False,
    open_next: Callable[[], None] = lambda: None,
) -> VideoTally:
    """Make those of `parts` (piece number -> frame indices) that are missing, in one pass over the video.

    The decoding process reads ahead, this thread runs the model, a third commits the piece before. `name` is the
    task that `progress` is told of. The piece of a video with no other (`only_piece`) stays in memory for its join.
    `open_next` is called when the last piece has begun.
    """
    tally = VideoTally()
    progress.start(name, sum(len(part) for part in parts.values()))
    missing: list[int] = []
    for number, part in parts.items():
        if (piece := pieces.load_if_good(number)) is None:
            missing.append(number)
            continue
        tally.add(number, piece, runner.batch_size)
        tally.resumed_frames += len(part)
        progress.advance(name, len(part))
    wanted = np.concatenate([parts[number] for number in missing]) if missing else np.zeros(0, np.int64)
    maker = _PieceMaker(reader, heads, options=options, runner=runner, progress=progress, clock=clock, name=name)
    frames = reader.frames(wanted)
    busy_before = reader.decode_seconds
    with PieceWriter(pieces, clock) as writer:
        for number in missing:
            fitted = runner.fitting_batch_size
            piece = maker.make(frames, len(parts[number]), begun=open_next if number == missing[-1] else None)
            if runner.fitting_batch_size < fitted:
                progress.say(f"{name}: out of memory with {fitted} frames at a time, now {runner.fitting_batch_size}")
            if only_piece:
                pieces.keep(number, piece)
            else:
                writer.save(number, piece)
            tally.add(number, piece, runner.batch_size)
    clock.decode_busy += reader.decode_seconds - busy_before
    progress.finish(name)
    return tally


class _PieceMaker:
    """Turns the next frames of one video into a piece."""

    def __init__(
        self,
        reader: ChildReader,
        heads: HeadSourceForVideo,
        *,
        options: ExtractOptions,
        runner: BatchRunner,
        progress: Progress,
        clock: StageClock,
        name: str,
    ) -> None:
        self._reader = reader
        self._heads = heads
        self._small_heads = options.small_heads
        self._runner = runner
        self._progress = progress
        self._clock = clock
        self._name = name
        self._pending: Pending | None = None

    def make(self, frames: Iterator[Frame], count: int, *, begun: Callable[[], None] | None) -> Piece:
        """The next `count` frames; batches are filled with frames that have people and never cross the piece.

        `begun` is called after the first frame.
        """
        index, pts, prints, print_index = [], [], [], []
        people: list[tuple[int, FramePrompts]] = []
        results: list[BatchResult] = []
        batch: list[tuple[Frame, FramePrompts]] = []
        for position in range(count):
            with self._clock.stage("decode_wait"):
                frame = next(frames)
            if position == 0 and begun is not None:
                begun()
            with self._clock.stage("prompt"):
                index.append(frame.index)
                pts.append(frame.pts_seconds)
                if position % FINGERPRINT_EVERY == 0:
                    prints.append(fingerprint(frame.rgb))
                    print_index.append(frame.index)
                prompts = prompts_of_frame(
                    self._heads, frame.index, grid_hw=self._runner.grid_hw, small_heads=self._small_heads
                )
            if len(prompts.track_id):
                people.append((frame.index, prompts))
                batch.append((frame, prompts))
            else:
                self._reader.release(frame)
            if len(batch) == self._runner.batch_size or (batch and position == count - 1):
                self._run(batch, results)
            self._clock.frames += 1
            self._progress.advance(self._name)
        self._take(results)
        h, w = self._runner.heatmap_shape
        rows = Rows(
            frame=np.repeat([f for f, _ in people], [len(p.track_id) for _, p in people]).astype(np.int64),
            track_id=_joined([p.track_id for _, p in people], np.zeros(0, np.int32)),
            box_xyxy=_joined([p.box_xyxy for _, p in people], np.zeros((0, 4), np.float32)),
            inout=_joined([r.inout for r in results], np.zeros(0, np.float32)),
            prompt=_joined([p.prompt for _, p in people], np.zeros(0, np.uint8)),
            heatmap=_joined([r.heatmap for r in results], np.zeros((0, h, w), np.float16)),
        )
        return Piece(
            frame_index=np.array(index, np.int64),
            pts_seconds=np.array(pts, np.float64),
            fingerprint=np.stack(prints) if prints else np.zeros((0, FINGERPRINT_SIZE, FINGERPRINT_SIZE), np.uint8),
            fingerprint_index=np.array(print_index, np.int64),
            rows=rows,
            batch_size=self._runner.fitting_batch_size,
        )

    def _run(self, batch: list[tuple[Frame, FramePrompts]], results: list[BatchResult]) -> None:
        """Begin with `batch`, then take in the one before: a GPU has the next one when it ends one."""
        with self._clock.stage("model"):
            begun = self._runner.begin([frame.rgb for frame, _ in batch], [prompts for _, prompts in batch])
        for frame, _ in batch:
            self._reader.release(frame)
        batch.clear()
        self._take(results)
        self._pending = begun

    def _take(self, results: list[BatchResult]) -> None:
        """Wait for the batch that is under way, if there is one."""
        if self._pending is not None:
            with self._clock.stage("model"):
                results.append(self._pending())
            self._pending = None


def _joined(arrays: list[npt.NDArray], empty: npt.NDArray) -> npt.NDArray:  # type: ignore[type-arg]
    return np.concatenate(arrays) if arrays else empty
