"""Make the missing pieces of a video: frames to prompts to batches to pieces, which a second thread writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.earlier import KnownPart, in_frame_order
from gazetools.extraction.model.batches import BatchResult, Pending
from gazetools.extraction.piece_writer import PieceWriter
from gazetools.extraction.work import VideoWork, WorkerTools
from gazetools.heads.prompts import FramePrompts
from gazetools.schemas.provenance import TakenOver
from gazetools.schemas.store import FINGERPRINT_SIZE, Piece, Prompt, Rows
from gazetools.schemas.video import Frame
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
    taken_over: TakenOver | None = None
    """The finished store with other boxes that frames and rows were copied from, with their numbers."""

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
        if (more := piece.taken_over) is not None:
            sums = {name: getattr(more, name) + getattr(self.taken_over, name, 0) for name in ("frames", "rows")}
            self.taken_over = more.model_copy(update=sums)

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
    with PieceWriter(video.pieces, tools.clock) as writer:
        maker = _PieceMaker(tools=tools, video=video, writer=writer, tally=tally, name=name)
        wanted = [np.zeros(0, np.int64), *(video.parts[number][maker.computed(number)] for number in missing)]
        frames = _Frames(video.source.frames(np.concatenate(wanted)))
        busy_before = video.source.decode_seconds
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

    known: KnownPart | None = None
    """What an earlier store knows of this piece; its rows join those of `results`."""

    def add(self, frame: Frame) -> None:
        """Note a decoded frame of the piece."""
        self._note(frame.index, frame.pts_seconds, lambda: fingerprint(frame.rgb))

    def add_known(self, index: int, known: KnownPart) -> None:
        """Note the frame `index` of the piece, which comes next and is not decoded."""
        position = len(self.frame_index)
        self._note(index, float(known.pts_seconds[position]), lambda: known.fingerprints[index])

    def _note(self, index: int, pts_seconds: float, make_print: Callable[[], npt.NDArray[np.uint8]]) -> None:
        if len(self.frame_index) % FINGERPRINT_EVERY == 0:
            self.prints.append(make_print())
        self.frame_index.append(index)
        self.pts_seconds.append(pts_seconds)

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
        if self.known is not None:
            rows = in_frame_order(rows, self.known.rows)
        return Piece(
            frame_index=np.array(self.frame_index, np.int64),
            pts_seconds=np.array(self.pts_seconds, np.float64),
            fingerprint=np.array(self.prints, np.uint8).reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE),
            fingerprint_index=np.array(self.frame_index[::FINGERPRINT_EVERY], np.int64),
            rows=rows,
            batch_size=self.batch_size,
            taken_over=None if self.known is None or not self.known.origin.frames else self.known.origin,
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

    def computed(self, number: int) -> npt.NDArray[np.bool_]:
        """[F] which frames of piece `number` must be decoded: all, but for those that an earlier store still fits."""
        part, earlier = self.video.parts[number], self.video.earlier
        return np.ones(len(part), bool) if earlier is None else earlier.changed(part, self._people(part))

    def _people(self, part: npt.NDArray[np.int64]) -> list[FramePrompts]:
        """The people of each frame of a piece: [F]."""
        info = self.video.source.info
        return [self.tools.prompts(self.video.heads, index, (info.height, info.width)) for index in part.tolist()]

    def make(self, number: int, frames: _Frames, *, ahead: Path | None) -> None:
        """Read the frames of piece `number` and submit those with people in batches; `ahead` opens after the first.

        A device that works in parallel gets the first batch of the next piece before this one ends, so it never idles.
        """
        tools, runner = self.tools, self.tools.runner
        piece = _Gathered(number)
        batch: list[tuple[Frame, FramePrompts]] = []
        part = self.video.parts[number]
        piece.known = known = self._known(number)
        for position, index in enumerate(part.tolist()):
            if known is not None and not known.computed[position]:
                piece.add_known(index, known)
            else:
                self._read(index, frames, piece, batch)
            if position == 0 and ahead is not None:
                tools.open_ahead(ahead)
            if len(batch) == runner.batch_size or (batch and position == len(part) - 1):
                self._submit(batch, piece.results)
            if self._ending is not None and position + 1 >= runner.batch_size:  # few people: don't put it off
                self.finish()
            tools.progress.advance(self.name)
        if self._ending is not None:  # this piece is shorter than a batch and has nobody
            self.finish()
        piece.batch_size = min(runner.fitting_batch_size, known.batch_size if known else runner.batch_size)
        self._ending = piece
        if self._pending is None or not runner.works_in_parallel:
            self.finish()

    def _known(self, number: int) -> KnownPart | None:
        """What an earlier store knows of piece `number`; None: there is none."""
        if (earlier := self.video.earlier) is None:
            return None
        part = self.video.parts[number]
        people = self._people(part)
        return earlier.part(number, part, people, earlier.changed(part, people))

    def _read(self, index: int, frames: _Frames, piece: _Gathered, batch: list[tuple[Frame, FramePrompts]]) -> None:
        """Note the next frame in its piece, and put it into the batch where it has people."""
        tools = self.tools
        tools.clock.frames += 1
        with tools.clock.stage("decode_wait"):
            frame = frames.take(index)
        if frame is None:
            return
        with tools.clock.stage("prompt"):
            piece.add(frame)
            prompts = self.tools.prompts(self.video.heads, frame.index, (frame.rgb.shape[0], frame.rgb.shape[1]))
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
            if len(self.video.parts) == 1 and piece.taken_over is None:
                self.video.pieces.keep(gathered.number, piece)  # in memory, for the join that follows at once
            else:
                self.writer.save(gathered.number, piece)
            before = self.tally.not_evaluated
            self.tally.add(gathered.number, piece, self.video, self.tools.runner.batch_size)
            self.tools.clock.people += len(piece.rows) - (piece.taken_over.rows if piece.taken_over else 0)
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
