"""Extract one video: make the pieces that are missing, then commit its store file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gazetools.extraction.detected import detected_boxes
from gazetools.extraction.disk import check_space_for_video
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.notes import note_of_lost, note_of_not_evaluated, note_of_taken_over, notes_at_opening
from gazetools.extraction.origin import build_provenance, options_key
from gazetools.extraction.pieces import VideoTally, make_pieces
from gazetools.extraction.takeover import differs_in_boxes, earlier_rows
from gazetools.extraction.tasks import Task
from gazetools.extraction.work import VideoWork, WorkerTools, open_video
from gazetools.heads.spec import heads_digest, track_roles
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.extract import ItemResult
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video import HDR_TRANSFERS
from gazetools.schemas.video_id import path_of_id
from gazetools.store import open_store
from gazetools.store.attempts import attempted
from gazetools.store.listing import is_complete
from gazetools.store.lock import locked
from gazetools.store.pieces import PieceFolder
from gazetools.store.writer import StoreContent, write_store
from gazetools.video.facts import hashing, probe_digest

_JOIN_WAIT_SECONDS = 600.0
"""How long the join of a split video waits for the other shares, whose pieces are all there, to release the lock."""


@dataclass(frozen=True, kw_only=True)
class StoreWrite:
    """A video whose pieces are all made: what is left is to write its store file."""

    tools: WorkerTools
    video: VideoWork
    tally: VideoTally
    provenance: Provenance
    resumed_frames: int
    notes: list[str]
    began: float
    """`time.monotonic()` at the start of the task."""
    held: ExitStack
    """The video's lock and its attempt, released by `commit`."""

    def commit(self) -> ItemResult:
        """Write the store file and remove the pieces; runs in the thread of the store writer."""
        began = time.perf_counter()
        item, heads, pieces = self.video.item, self.video.heads, self.video.pieces
        try:
            with self.held:
                sidecar = write_store(
                    self.tools.store,
                    item.video_id,
                    StoreContent(
                        provenance=self.provenance,
                        pieces=[partial(pieces.load, number) for number in range(len(self.video.parts))],
                        track_roles=track_roles(heads),
                        heatmap_shape=self.tools.runner.heatmap_shape,
                        tokens_shape=self.tools.runner.tokens_shape,
                    ),
                )
                pieces.remove()
        finally:
            self.tools.clock.write_busy += time.perf_counter() - began
        return ItemResult(
            video_id=item.video_id,
            path=str(item.path),
            status="done",
            frames=sidecar.frames,
            rows=sidecar.rows,
            frames_without_people=sidecar.frames_without_people,
            small_heads=self.tally.small_heads if heads.table else 0,
            people_not_evaluated=self.tally.not_evaluated,
            clipped_boxes=heads.table.clipped if heads.table else 0,
            head_counts=heads.counts,
            head_notes=heads.notes,
            resumed_frames=self.resumed_frames,
            taken_over_frames=self.tally.taken_over.frames if self.tally.taken_over else 0,
            seconds=round(time.monotonic() - self.began, 3),
            notes=self.notes,
        )


def extract_video(tools: WorkerTools, task: Task, *, ahead: Path | None = None) -> ItemResult | StoreWrite:
    """Make the missing pieces of a task; the result, or the write of the store file, which must be committed.

    Of a share only its own pieces are made; whoever makes the last missing piece of the video joins all of them.
    `ahead` is the video that probably follows; it is opened while this one is computed.

    VideoError, HeadsError, UsageError: it can't be done; BusyError: another process has it; FaultError: the run stops.
    """
    began = time.monotonic()
    item, store = task.item, tools.store
    ahead = None if ahead == item.path else ahead
    head_files = head_files_of(tools, item)
    box_file = (head_files or {}).get(item.video_id)
    heads_sha256 = heads_digest(tools.options, box_file) if box_file else None
    digest = probe_digest(item.path, tools.options.of_pictures())
    key = options_key(tools.options.shaping(), tools.runner, digest, heads_sha256)
    if (done := _already_done(tools, item, key)) is not None:
        return done
    pieces = PieceFolder(store, item.video_id, key)
    part: ItemResult | None = None
    if task.share_count > 1:
        with locked(store, item.video_id, shared=True), locked(store, task.name):
            if (done := _already_done(tools, item, key)) is not None:
                return done
            with (
                attempted(store, item.video_id, task.name, key=key, finished=pieces.finished),
                open_video(tools, item, head_files, pieces, key) as video,
            ):
                part = _make_share(tools, video, task, ahead)
                missing = not all(pieces.exists(number) for number in range(len(video.parts)))
        if missing:
            return part.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
    with ExitStack() as held:
        held.enter_context(locked(store, item.video_id, wait_seconds=_JOIN_WAIT_SECONDS if part else 0.0))
        # again under the lock: another run, or another share that ended at the same moment, may have been faster
        if (done := _already_done(tools, item, key)) is not None:
            return done
        held.enter_context(attempted(store, item.video_id, "whole", key=key, finished=pieces.finished))
        with open_video(tools, item, head_files, pieces, key) as video, hashing(item.path) as video_sha256:
            every = range(len(video.parts))
            tally = _make_missing(tools, video, every, video_sha256, name=item.video_id, ahead=ahead)
            lost = note_of_lost(sorted(tally.lost_frames))
            lost += note_of_not_evaluated(tally.not_evaluated, tools.runner.model.name)
            lost += note_of_taken_over(tally.taken_over, sum(map(len, video.parts)))
            for note in lost:
                tools.progress.say(f"{item.video_id}: {note}")
            with tools.clock.stage("join"):
                provenance = build_provenance(tools, video, tally, video_sha256=video_sha256())
        return StoreWrite(
            tools=tools,
            video=video,
            tally=tally,
            provenance=provenance,
            # the pieces that this join took over were made by the other shares of the same run
            resumed_frames=part.resumed_frames if part else tally.resumed_frames,
            notes=notes_at_opening(video.source) + lost,
            began=began,
            held=held.pop_all(),
        )


def head_files_of(tools: WorkerTools, item: VideoItem) -> dict[str, Path] | None:
    """The worker's box files, with what is known only once a video's turn has come."""
    if tools.detection is not None:
        with tools.clock.stage("detect"):
            return {item.video_id: detected_boxes(tools, tools.detection, item)}
    if tools.options.heads == "calib":  # the place of the video says which take it belongs to
        return {item.video_id: item.path}
    return tools.head_files


def _already_done(tools: WorkerTools, item: VideoItem, key: str) -> ItemResult | None:
    """The result of an earlier run; UsageError where it was made otherwise and may not be replaced."""
    done = is_complete(tools.store, item.video_id)
    if not done or (tools.options.overwrite and (done.options_key != key or _saw_raw_hdr(tools, item))):
        return None
    if done.options_key != key:
        what, hint = "made from another file, or with other options or weights", "Pass --overwrite to replace it"
        if differs_in_boxes(tools, item, done):
            what = "made with other head boxes"
            hint += ", which computes only the frames whose boxes have changed"
        raise UsageError(f"The store already has {item.video_id!r}, {what}.", hint=f"{hint}; or choose another -o.")
    return ItemResult(
        video_id=item.video_id,
        path=str(item.path),
        status="complete",
        frames=done.frames,
        rows=done.rows,
        frames_without_people=done.frames_without_people,
    )


def _saw_raw_hdr(tools: WorkerTools, item: VideoItem) -> bool:
    """Whether a version without tone mapping made the finished store file of an HDR video: keys do not tell."""
    try:
        with open_store(path_of_id(tools.store, item.video_id, STORE_SUFFIX)) as store:
            if store.provenance.video.tone_mapping is not None:
                return False
    except DataFileError:
        return False
    declared = tools.decoder.declared(item.path)
    return tools.options.hdr == "tonemap" and declared is not None and declared.transfer in HDR_TRANSFERS


def _make_missing(
    tools: WorkerTools,
    video: VideoWork,
    numbers: range,
    video_sha256: Callable[[], str],
    *,
    name: str,
    ahead: Path | None,
) -> VideoTally:
    """Make those of the pieces `numbers` that are missing, once there is room for the whole video."""
    with earlier_rows(tools, video, numbers, video_sha256) as earlier:
        video = replace(video, earlier=earlier)
        if tools.options.check_space:
            check_space_for_video(tools, video)
        return make_pieces(tools, video, numbers, name=name, ahead=ahead)


def _make_share(tools: WorkerTools, video: VideoWork, task: Task, ahead: Path | None) -> ItemResult:
    """Make the pieces of one share."""
    numbers = task.pieces_of(len(video.parts))
    whole_file = partial(sha256_of_file, task.item.path)
    tally = _make_missing(tools, video, numbers, whole_file, name=task.name, ahead=ahead)
    return ItemResult(
        video_id=task.item.video_id,
        path=str(task.item.path),
        status="part",
        frames=sum(len(video.parts[number]) for number in numbers),
        rows=tally.rows,
        small_heads=tally.small_heads if video.heads.table else 0,
        people_not_evaluated=tally.not_evaluated,
        resumed_frames=tally.resumed_frames,
        taken_over_frames=tally.taken_over.frames if tally.taken_over else 0,
    )
