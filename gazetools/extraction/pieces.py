"""Make the pieces of a video that are missing: frames in, one committed piece per run of frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from gazetools.extraction.clock import StageClock
from gazetools.extraction.decoding.child_reader import ChildReader
from gazetools.extraction.model.batches import BatchResult, BatchRunner, Pending
from gazetools.extraction.piece_writer import PieceWriter
from gazetools.heads.prompts import FramePrompts, prompts_of_frame
from gazetools.heads.spec import VideoHeads
from gazetools.progress import Progress
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.store import FINGERPRINT_SIZE, Piece, Prompt, Rows
from gazetools.schemas.video import Frame
from gazetools.store.pieces import PieceFolder
from gazetools.video.fingerprint import FINGERPRINT_EVERY, fingerprint


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
    heads: VideoHeads,
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

        def take_in(number: int, piece: Piece) -> None:
            if only_piece:
                pieces.keep(number, piece)
            else:
                writer.save(number, piece)
            tally.add(number, piece, runner.batch_size)

        try:
            for number in missing:
                fitted = runner.fitting_batch_size
                begun = open_next if number == missing[-1] else None
                maker.make(frames, len(parts[number]), begun=begun, ended=partial(take_in, number))
                if runner.fitting_batch_size < fitted:
                    progress.say(
                        f"{name}: out of memory with {fitted} frames at a time, now {runner.fitting_batch_size}"
                    )
        except BaseException:  # a frame that can't be decoded costs no piece before it
            with suppress(Exception):
                maker.finish()
            raise
        maker.finish()
    clock.decode_busy += reader.decode_seconds - busy_before
    progress.finish(name)
    return tally


@dataclass
class _Gathered:
    """What there is of one piece so far."""

    frame_index: list[int] = field(default_factory=list)
    pts_seconds: list[float] = field(default_factory=list)
    prints: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    print_index: list[int] = field(default_factory=list)
    people: list[tuple[int, FramePrompts]] = field(default_factory=list)
    """(frame index, its people), of frames that have some."""
    results: list[BatchResult] = field(default_factory=list)
    """In the order of `people`."""

    def as_piece(self, heatmap_shape: tuple[int, int], batch_size: int) -> Piece:
        """The finished piece, made with `batch_size`."""
        people, results = self.people, self.results
        rows = Rows(
            frame=np.repeat([f for f, _ in people], [len(p.track_id) for _, p in people]).astype(np.int64),
            track_id=_joined([p.track_id for _, p in people], np.zeros(0, np.int32)),
            box_xyxy=_joined([p.box_xyxy for _, p in people], np.zeros((0, 4), np.float32)),
            inout=_joined([r.inout for r in results], np.zeros(0, np.float32)),
            prompt=_joined([p.prompt for _, p in people], np.zeros(0, np.uint8)),
            heatmap=_joined([r.heatmap for r in results], np.zeros((0, *heatmap_shape), np.float16)),
        )
        no_prints = np.zeros((0, FINGERPRINT_SIZE, FINGERPRINT_SIZE), np.uint8)
        return Piece(
            frame_index=np.array(self.frame_index, np.int64),
            pts_seconds=np.array(self.pts_seconds, np.float64),
            fingerprint=np.stack(self.prints) if self.prints else no_prints,
            fingerprint_index=np.array(self.print_index, np.int64),
            rows=rows,
            batch_size=batch_size,
        )


class _PieceMaker:
    """Turns the next frames of one video into a piece."""

    def __init__(
        self,
        reader: ChildReader,
        heads: VideoHeads,
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
        self._pending: tuple[Pending, list[BatchResult]] | None = None
        """The batch under way, and where its result belongs."""
        self._end: Callable[[], None] | None = None
        """Ends the piece before, whose last batch is the one under way."""

    def make(
        self,
        frames: Iterator[Frame],
        count: int,
        *,
        begun: Callable[[], None] | None,
        ended: Callable[[Piece], None],
    ) -> None:
        """A piece of the next `count` frames; batches are filled with frames that have people and never cross it.

        `begun` is called after the first frame, `ended` with the piece when its last map is there. Where the device
        works beside this process, that is when it has been given the first batch of the next piece, or by `finish`: it
        would idle between two pieces otherwise.
        """
        piece = _Gathered()
        batch: list[tuple[Frame, FramePrompts]] = []
        for position in range(count):
            with self._clock.stage("decode_wait"):
                frame = next(frames)
            if position == 0 and begun is not None:
                begun()
            with self._clock.stage("prompt"):
                piece.frame_index.append(frame.index)
                piece.pts_seconds.append(frame.pts_seconds)
                if position % FINGERPRINT_EVERY == 0:
                    piece.prints.append(fingerprint(frame.rgb))
                    piece.print_index.append(frame.index)
                prompts = prompts_of_frame(
                    self._heads, frame.index, grid_hw=self._runner.grid_hw, small_heads=self._small_heads
                )
            if len(prompts.track_id):
                piece.people.append((frame.index, prompts))
                batch.append((frame, prompts))
            else:
                self._reader.release(frame)
            if len(batch) == self._runner.batch_size or (batch and position == count - 1):
                self._run(batch, piece.results)
            if self._end is not None and position + 1 >= self._runner.batch_size:  # few people: don't put it off
                self.finish()
            self._clock.frames += 1
            self._progress.advance(self._name)
        if self._end is not None:  # this piece is shorter than a batch and has nobody
            self.finish()
        batch_size = self._runner.fitting_batch_size
        self._end = lambda: ended(piece.as_piece(self._runner.heatmap_shape, batch_size))
        if self._pending is None or not self._runner.works_beside:
            self.finish()

    def finish(self) -> None:
        """Wait for the batch under way and end its piece, where all its frames have been read."""
        if self._pending is not None:
            pending, results = self._pending
            self._pending = None
            with self._clock.stage("model"):
                results.append(pending())
        if self._end is not None:
            end, self._end = self._end, None
            end()

    def _run(self, batch: list[tuple[Frame, FramePrompts]], results: list[BatchResult]) -> None:
        """Begin with `batch`, then take in the one before: a GPU has the next one when it ends one."""
        with self._clock.stage("model"):
            begun = self._runner.begin([frame.rgb for frame, _ in batch], [prompts for _, prompts in batch])
        for frame, _ in batch:
            self._reader.release(frame)
        batch.clear()
        self.finish()
        self._pending = (begun, results)


def _joined(arrays: list[npt.NDArray], empty: npt.NDArray) -> npt.NDArray:  # type: ignore[type-arg]
    return np.concatenate(arrays) if arrays else empty
