"""Extract one video: decode, run the model piece by piece, commit the store file."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gazetools.extraction.clock import StageClock
from gazetools.extraction.decoding.decoder import Decoder, ReadAhead
from gazetools.extraction.detected import detected_boxes
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.opening import OpenVideo, open_video
from gazetools.extraction.origin import build_provenance, options_key
from gazetools.extraction.pieces import VideoTally, make_pieces
from gazetools.extraction.space import check_space_for_video
from gazetools.heads.detection import HeadDetection
from gazetools.heads.spec import heads_digest, track_roles
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ExtractOptions, ItemResult
from gazetools.store.attempts import attempted
from gazetools.store.listing import is_complete
from gazetools.store.lock import locked
from gazetools.store.pieces import PieceFolder
from gazetools.store.writer import StoreContent, write_store
from gazetools.video.facts import hashing

_JOIN_WAIT_SECONDS = 600.0
"""How long the join of a split video waits for the other shares, whose pieces are all there, to let go."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every video of one worker shares."""

    store: Path
    options: ExtractOptions
    head_files: dict[str, Path] | None
    """video id -> box file; None for `--heads whole`."""
    runner: BatchRunner
    progress: Progress
    decoder: Decoder
    clock: StageClock
    ahead: Path | None = None
    """The video that probably follows the present one."""
    beside: Executor | None = None
    """Where the store file of the video before may still be on its way; does one thing at a time."""
    detection: HeadDetection | None = None
    """With `--heads detect`: the loaded detector."""

    def open_next(self) -> None:
        """Begin to open the video that probably follows, and to decode its first batch."""
        if self.ahead is None:
            return
        options = self.options
        if self.detection is not None:  # its first pass comes first
            first = ReadAhead(frames=self.detection.batch_size, stride=self.detection.options.every)
        else:
            first = ReadAhead(
                frames=self.runner.batch_size,
                fps=options.fps,
                stride=options.stride,
                start=options.start,
                end=options.end,
            )
        self.decoder.open_ahead(self.ahead, first)

    def settle(self) -> None:
        """Wait for what is `beside`; its errors are told to whoever waits for its result."""
        if self.beside is not None:
            self.beside.submit(lambda: None).result()


@dataclass(frozen=True)
class Share:
    """Share `index` of `count` of one video's pieces, split by their number: equal on every machine."""

    index: int
    count: int

    def of(self, pieces: int) -> range:
        """The numbers of the pieces that belong to this share of a video with so many."""
        return range(pieces * self.index // self.count, pieces * (self.index + 1) // self.count)

    def name(self, item: VideoItem) -> str:
        """`take/cam01 2/5`."""
        return f"{item.video_id} {self.index + 1}/{self.count}"


def extract_video(
    job: Job,
    item: VideoItem,
    share: Share | None = None,
    *,
    ahead: Path | None = None,
    beside: Executor | None = None,
) -> Callable[[], ItemResult]:
    """Extract one video into its store file, taking over finished pieces of an earlier, interrupted run.

    With `share` only these pieces are made; whoever makes the last missing piece of the video joins all of them.

    Args:
        ahead: the video that probably follows; it is opened while this one is computed.
        beside: where the store file is assembled and committed, beside the next video; None: before this returns.

    Returns:
        A function that gives the result, waiting for what is done `beside`; raises what went wrong there.

    Raises VideoError, HeadsError or UsageError where this video can't be done, BusyError while another process is at
    it, FaultError where the run must stop.
    """
    began = time.monotonic()
    options = job.options
    job = replace(job, ahead=None if ahead == item.path else ahead, beside=beside)
    if job.detection is not None:
        with job.clock.stage("detect"):
            boxes = detected_boxes(job.detection, job.decoder, job.store, item, options, job.progress)
        job = replace(job, head_files={item.video_id: boxes})
    elif options.heads == "calib":  # where the video lies tells its take
        job = replace(job, head_files={item.video_id: item.path})
    box_file = (job.head_files or {}).get(item.video_id)
    key = options_key(options, job.runner, item.path, heads_digest(options, box_file) if box_file else None)
    if (done := _already_done(job, item, key)) is not None:
        return _given(done)
    pieces = PieceFolder(job.store, item.video_id, key)
    part: ItemResult | None = None
    if share is not None:
        with locked(job.store, item.video_id, shared=True), locked(job.store, share.name(item)):
            if (done := _already_done(job, item, key)) is not None:
                return _given(done)
            with attempted(job.store, item.video_id, share.name(item), key=key, finished=pieces.finished):
                part, missing = _make_share(job, item, share, pieces)
        if missing:
            return _given(part.model_copy(update={"seconds": round(time.monotonic() - began, 3)}))
    with ExitStack() as held:
        held.enter_context(locked(job.store, item.video_id, wait_seconds=_JOIN_WAIT_SECONDS if part else 0.0))
        # again under the lock: another run, or another share that ended at the same moment, may have been faster
        if (done := _already_done(job, item, key)) is not None:
            return _given(done)
        held.enter_context(attempted(job.store, item.video_id, "whole", key=key, finished=pieces.finished))
        join = _make_whole(job, item, pieces, key)
        lock = held.pop_all()

    def finish() -> ItemResult:
        with lock:
            result = join()
        update: dict[str, float] = {"seconds": round(time.monotonic() - began, 3)}
        if part:
            update["resumed_frames"] = part.resumed_frames  # what the join took over was made by the other shares now
        return result.model_copy(update=update)

    if beside is None:
        with job.clock.stage("join"):
            return _given(finish())
    ending = beside.submit(_timed, finish, job.clock)

    def wait() -> ItemResult:
        with job.clock.stage("join"):
            return ending.result()

    return wait


def _given(result: ItemResult) -> Callable[[], ItemResult]:
    return lambda: result


def _timed(finish: Callable[[], ItemResult], clock: StageClock) -> ItemResult:
    began = time.perf_counter()
    try:
        return finish()
    finally:
        clock.write_busy += time.perf_counter() - began


def _already_done(job: Job, item: VideoItem, key: str) -> ItemResult | None:
    """The result of an earlier run; UsageError where it was made otherwise and may not be replaced."""
    if not (done := is_complete(job.store, item.video_id)) or (job.options.overwrite and done.options_key != key):
        return None
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


def _opened(job: Job, item: VideoItem) -> AbstractContextManager[OpenVideo]:
    return open_video(item, job.decoder, job.options, job.head_files, batch_size=job.runner.batch_size, clock=job.clock)


def _make_missing(job: Job, video: OpenVideo, pieces: PieceFolder, numbers: range, *, name: str) -> VideoTally:
    """Make those of `numbers` that are missing, once there is room for the whole video."""
    if job.options.check_space:
        check_space_for_video(video, job.store, pieces, job.runner.heatmap_shape, settle=job.settle)
    return make_pieces(
        video.reader,
        video.heads,
        {number: video.parts[number] for number in numbers},
        pieces,
        options=job.options,
        runner=job.runner,
        progress=job.progress,
        clock=job.clock,
        name=name,
        only_piece=len(video.parts) == 1,
        open_next=job.open_next,
    )


def _make_share(job: Job, item: VideoItem, share: Share, pieces: PieceFolder) -> tuple[ItemResult, bool]:
    """Make the pieces of one share; its result, and whether pieces of the video are still missing."""
    with _opened(job, item) as video:
        numbers = share.of(len(video.parts))
        tally = _make_missing(job, video, pieces, numbers, name=share.name(item))
        result = ItemResult(
            video_id=item.video_id,
            path=str(item.path),
            status="part",
            frames=sum(len(video.parts[number]) for number in numbers),
            rows=tally.rows,
            small_heads=tally.small_heads if video.heads.table else 0,
            resumed_frames=tally.resumed_frames,
        )
        return result, not all(pieces.exists(number) for number in range(len(video.parts)))


def _make_whole(job: Job, item: VideoItem, pieces: PieceFolder, key: str) -> Callable[[], ItemResult]:
    """Make what is missing of the video; what is returned commits its store file."""
    with _opened(job, item) as video, hashing(item.path) as video_sha256:
        reader, heads, parts = video.reader, video.heads, video.parts
        tally = _make_missing(job, video, pieces, range(len(parts)), name=item.video_id)
        all_decoded = sum(map(len, parts)) == reader.frame_count and not tally.resumed_frames
        with job.clock.stage("join"):
            provenance = build_provenance(
                options=job.options,
                video_id=item.video_id,
                reader=reader,
                counted_by="decoding" if all_decoded or reader.counted_by == "decoding" else "index",
                runner=job.runner,
                heads=heads,
                key=key,
                prompts=tally.prompts,
                backoffs=tally.backoffs,
                video_sha256=video_sha256(),
            )

    def join() -> ItemResult:
        sidecar = write_store(
            job.store,
            item.video_id,
            StoreContent(
                provenance=provenance,
                pieces=[pieces.loader(number) for number in range(len(parts))],
                track_roles=track_roles(heads),
                heatmap_shape=job.runner.heatmap_shape,
            ),
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
        )

    return join
