"""Make the missing pieces of a video: frames to prompts to batches to pieces, which a second thread writes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.clock import StageClock
from gazetools.extraction.model.batches import BatchResult, Pending
from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.heads.prompts import FramePrompts, prompts_of_frame
from gazetools.schemas.store import FINGERPRINT_SIZE, Piece, Prompt, Rows
from gazetools.schemas.video import Frame
from gazetools.store.pieces import PieceFolder
from gazetools.video.fingerprint import FINGERPRINT_EVERY, fingerprint


@dataclass
class VideoTally:
    """Counts over the pieces of one video."""

    prompts: Counter[str] = field(default_factory=Counter)
    backoffs: list[dict[str, int]] = field(default_factory=list)
    rows: int = 0
    resumed_frames: int = 0
    lost_frames: list[int] = field(default_factory=list)
    """Frames that were wanted and can't be decoded (`--allow-damaged`)."""
    not_evaluated: int = 0
    """People of the box file that have no row, since their box is none that the model could take."""

    def add(self, number: int, piece: Piece, video: VideoWork, batch_size: int) -> None:
        """Count a finished piece of `video`; one made in little memory has less than the `batch_size`."""
        wanted = video.parts[number]
        self.not_evaluated += int(video.heads.people_in(piece.frame_index).sum()) - len(piece.rows)
        self.lost_frames += np.setdiff1d(wanted, piece.frame_index).tolist()
        self.rows += len(piece.rows)
        for kind in Prompt:
            if count := int((piece.rows.prompt == kind).sum()):
                self.prompts[kind.name.lower()] += count
        if piece.batch_size < batch_size:
            self.backoffs.append({"piece": number, "batch_size": piece.batch_size})

    @property
    def small_heads(self) -> int:
        """Rows whose box rounded to no cell."""
        return sum(self.prompts[kind] for kind in ("grown", "cropped", "none"))


def make_pieces(
    tools: WorkerTools, video: VideoWork, numbers: range, *, name: str, ahead: Path | None = None
) -> VideoTally:
    """Make the missing ones of `numbers` in one pass, as the progress task `name`; `ahead` opens with the last one."""
    tally = VideoTally()
    runner, progress = tools.runner, tools.progress
    progress.start(name, sum(len(video.parts[number]) for number in numbers))
    missing: list[int] = []
    for number in numbers:
        if (piece := video.pieces.load_if_good(number)) is None:
            missing.append(number)
            continue
        tally.add(number, piece, video, runner.batch_size)
        tally.resumed_frames += len(video.parts[number])
        progress.advance(name, len(video.parts[number]))
    wanted = np.concatenate([video.parts[number] for number in missing]) if missing else np.zeros(0, np.int64)
    frames = _Frames(video.source.frames(wanted))
    busy_before = video.source.decode_seconds
    with PieceWriter(video.pieces, tools.clock) as writer:
        maker = _PieceMaker(tools=tools, video=video, writer=writer, tally=tally, name=name)
        try:
            for number in missing:
                fitted = runner.fitting_batch_size
                maker.make(number, frames, ahead=ahead if number == missing[-1] else None)
                if (fitting := runner.fitting_batch_size) < fitted:
                    progress.say(f"{name}: out of memory with {fitted} frames at a time, now {fitting}")
        except BaseException:  # a frame that can't be decoded costs no piece before it
            with suppress(Exception):
                maker.finish()
            raise
        maker.finish()
    tools.clock.decode_busy += video.source.decode_seconds - busy_before
    progress.finish(name)
    return tally


class _Frames:
    """The frames of a video in order; a wanted one that can't be decoded is None (where that is allowed)."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._following: Frame | None = None

    def take(self, index: int) -> Frame | None:
        """The frame `index`, or None; called once for each wanted frame."""
        if self._following is None:
            self._following = next(self._frames, None)
        if self._following is None or self._following.index != index:
            return None
        frame, self._following = self._following, None
        return frame


class PieceWriter:
    """Writes pieces in order, one at a time; leaving the block waits for the last, and the first error is raised."""

    def __init__(self, pieces: PieceFolder, clock: StageClock) -> None:
        self._pieces = pieces
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="piece-writer")
        self._previous: Future[None] | None = None

    def __enter__(self) -> PieceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._pool.shutdown()

    def save(self, number: int, piece: Piece) -> None:
        """Begin to write a piece. Raises FaultError where the previous one could not be written."""
        self._wait()
        self._previous = self._pool.submit(self._write, number, piece)

    def _wait(self) -> None:
        if self._previous is not None:
            with self._clock.stage("write_wait"):
                self._previous.result()
            self._previous = None

    def _write(self, number: int, piece: Piece) -> None:
        began = time.perf_counter()
        self._pieces.save(number, piece)
        self._clock.write_busy += time.perf_counter() - began


@dataclass
class _Gathered:
    """The frames, people and maps of one piece so far."""

    number: int
    batch_size: int = 0
    """Frames per batch that fitted into memory."""
    frame_index: list[int] = field(default_factory=list)
    pts_seconds: list[float] = field(default_factory=list)
    prints: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    people: list[tuple[int, FramePrompts]] = field(default_factory=list)
    """(frame index, people) of each frame that has people."""
    results: list[BatchResult] = field(default_factory=list)
    """Maps in the order of `people`."""

    def add(self, frame: Frame) -> None:
        """Note a frame of the piece."""
        if len(self.frame_index) % FINGERPRINT_EVERY == 0:
            self.prints.append(fingerprint(frame.rgb))
        self.frame_index.append(frame.index)
        self.pts_seconds.append(frame.pts_seconds)

    def as_piece(self, heatmap_shape: tuple[int, int], tokens_shape: tuple[int, int, int] | None) -> Piece:
        """The finished piece; the shapes of a row's map and tokens (None: not kept) are for a piece without people."""
        people, results = self.people, self.results
        tokens = None
        if tokens_shape is not None:
            kept = [result.tokens for result in results if result.tokens is not None]
            tokens = np.concatenate([np.zeros((0, *tokens_shape), np.float16), *kept])
        rows = Rows(
            frame=np.repeat([f for f, _ in people], [len(p.track_id) for _, p in people]).astype(np.int64),
            track_id=np.concatenate([np.zeros(0, np.int32), *(p.track_id for _, p in people)]),
            box_xyxy=np.concatenate([np.zeros((0, 4), np.float32), *(p.box_xyxy for _, p in people)]),
            inout=np.concatenate([np.zeros(0, np.float32), *(r.inout for r in results)]),
            prompt=np.concatenate([np.zeros(0, np.uint8), *(p.prompt for _, p in people)]),
            heatmap=np.concatenate([np.zeros((0, *heatmap_shape), np.float16), *(r.heatmap for r in results)]),
            tokens=tokens,
        )
        return Piece(
            frame_index=np.array(self.frame_index, np.int64),
            pts_seconds=np.array(self.pts_seconds, np.float64),
            fingerprint=np.array(self.prints, np.uint8).reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE),
            fingerprint_index=np.array(self.frame_index[::FINGERPRINT_EVERY], np.int64),
            rows=rows,
            batch_size=self.batch_size,
        )


@dataclass(kw_only=True)
class _PieceMaker:
    """Turns the next frames of one video into pieces."""

    tools: WorkerTools
    video: VideoWork
    writer: PieceWriter
    tally: VideoTally
    name: str
    _pending: tuple[Pending, list[BatchResult]] | None = None
    """The batch that the device computes, and the list that its result belongs to."""
    _ending: _Gathered | None = None
    """The previous piece, whose last batch is the pending one."""

    def make(self, number: int, frames: _Frames, *, ahead: Path | None) -> None:
        """Read the frames of piece `number` and submit those with people in batches; `ahead` opens after the first.

        A device that works in parallel gets the first batch of the next piece before this one ends, so it never idles.
        """
        tools, runner = self.tools, self.tools.runner
        piece = _Gathered(number)
        batch: list[tuple[Frame, FramePrompts]] = []
        part = self.video.parts[number]
        for position, index in enumerate(part.tolist()):
            with tools.clock.stage("decode_wait"):
                frame = frames.take(index)
            if position == 0 and ahead is not None:
                tools.open_ahead(ahead)
            if frame is not None:
                self._add(frame, piece, batch)
            if len(batch) == runner.batch_size or (batch and position == len(part) - 1):
                self._submit(batch, piece.results)
            if self._ending is not None and position + 1 >= runner.batch_size:  # few people: don't put it off
                self.finish()
            tools.clock.frames += 1
            tools.progress.advance(self.name)
        if self._ending is not None:  # this piece is shorter than a batch and has nobody
            self.finish()
        piece.batch_size = runner.fitting_batch_size
        self._ending = piece
        if self._pending is None or not runner.works_in_parallel:
            self.finish()

    def _add(self, frame: Frame, piece: _Gathered, batch: list[tuple[Frame, FramePrompts]]) -> None:
        """Note the frame in its piece, and put it into the batch where it has people."""
        tools = self.tools
        with tools.clock.stage("prompt"):
            piece.add(frame)
            prompts = prompts_of_frame(
                self.video.heads,
                frame.index,
                grid_hw=tools.runner.grid_hw,
                small_heads=tools.options.small_heads,
                needs_boxes_in=(frame.rgb.shape[0], frame.rgb.shape[1]) if tools.runner.needs_boxes else None,
            )
        if len(prompts.track_id):
            piece.people.append((frame.index, prompts))
            batch.append((frame, prompts))
        else:
            self.video.source.release(frame)

    def finish(self) -> None:
        """Wait for the pending batch, then end its piece where all frames of it have been read."""
        if self._pending is not None:
            pending, results = self._pending
            self._pending = None
            with self.tools.clock.stage("model"):
                results.append(pending.result())
        if self._ending is not None:
            gathered, self._ending = self._ending, None
            piece = gathered.as_piece(self.tools.runner.heatmap_shape, self.tools.runner.tokens_shape)
            if len(self.video.parts) == 1:
                self.video.pieces.keep(gathered.number, piece)  # in memory, for the join that follows at once
            else:
                self.writer.save(gathered.number, piece)
            before = self.tally.not_evaluated
            self.tally.add(gathered.number, piece, self.video, self.tools.runner.batch_size)
            self.tools.clock.people += len(piece.rows)
            self.tools.clock.people_not_evaluated += self.tally.not_evaluated - before

    def _submit(self, batch: list[tuple[Frame, FramePrompts]], results: list[BatchResult]) -> None:
        """Submit `batch` before collecting the previous result, so that a GPU is never idle."""
        with self.tools.clock.stage("model"):
            pending = self.tools.runner.begin([frame.rgb for frame, _ in batch], [prompts for _, prompts in batch])
        for frame, _ in batch:
            self.video.source.release(frame)
        batch.clear()
        self.finish()
        self._pending = (pending, results)
