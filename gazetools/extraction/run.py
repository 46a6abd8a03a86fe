"""`extract`: plan all inputs, check what can fail early, then do one task after the other on all workers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gazetools.extraction.decoding.costs import cost_by_size
from gazetools.extraction.decoding.decoder import Decoder, DecodeSettings
from gazetools.extraction.disk import check_space_for_run
from gazetools.extraction.disk_estimate import PlannedRun
from gazetools.extraction.inputs import VideoItem, plan_inputs, refuse_untimed
from gazetools.extraction.pool.dispatch import Dispatch, WorkerPool
from gazetools.extraction.pool.local import LocalPool
from gazetools.extraction.report import Plan, Reporter, not_reached, say_where_it_ended, unfinished, what_ended
from gazetools.extraction.tasks import (
    Task,
    WorkQueue,
    balanced_shard,
    cut_for_workers,
    cut_tasks,
    plan_digest,
)
from gazetools.extraction.work import WorkOrder
from gazetools.extraction.worker import Worker
from gazetools.heads.spec import heads_for_video, open_heads
from gazetools.io.atomic import check_writable_folder, remove_stale_temps
from gazetools.io.find_files import SearchNotes
from gazetools.io.picture_names import is_picture
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.errors import FaultError, UsageError, VideoError
from gazetools.schemas.extract import ExtractOptions, ExtractReport, ItemResult
from gazetools.schemas.stage_times import StageTimes
from gazetools.store.attempts import forget_attempts
from gazetools.video.picture_folders import about_pictures

_BUSY_WAIT_SECONDS = 0.5
OnResult = Callable[[ItemResult, bool], None]
"""Called with the result of each task, and whether its video has ended."""


@dataclass(frozen=True)
class Workers:
    """The workers of an engine."""

    count: int
    start: Callable[[WorkOrder], WorkerPool]
    """Starts them; called once, and only where there is work to do."""


def extract(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    options: ExtractOptions | None = None,
    progress: Progress | None = None,
    decoding: DecodeSettings | None = None,
    workers: Workers | None = None,
    **settings: Any,
) -> ExtractReport:
    """Turn videos into raw heatmaps with Gaze-LLE, one store file per video.

    Args:
        inputs: files, folders (recursive), globs or `@list.txt`.
        output: the store folder. Finished videos in it are kept, so the same call resumes an interrupted run.
        options: all settings; or give its fields as keyword arguments, such as `heads="file:boxes.csv"`.
        decoding: how frames are decoded, for readers of other formats; None: as the options say.
        workers: workers of an engine; None: this process, or one process per device.

    Returns:
        The report that is also written to `output/extract_report.json`: every input, the failed ones with reasons.

    Raises:
        UsageError: inputs, boxes, weights or output can't be used; nothing was done.
        EnvironmentLacksError: weights or a device are missing.
        FaultError: the disk is full or has too little room, or memory ran out; finished videos and pieces are kept.

    >>> report = gazetools.extract("clip.mp4", "STORE", heads="whole", model="tiny.safetensors")  # doctest: +SKIP
    >>> report.items[0].rows                                                                      # doctest: +SKIP
    101
    """
    options = given_or_parsed(options, ExtractOptions, settings, what="extract options")
    progress = progress or NoProgress()
    store = Path(output)
    notes = SearchNotes()
    items, head_files = plan(inputs, options, notes)
    for line in notes.lines():
        progress.say(line)
    usable = [item for item in items if item.problem is None]
    check_writable_folder(store, option="-o")
    remove_stale_temps(store)

    order = WorkOrder(
        store=store,
        options=options,
        decoding=decoding or decode_settings(options),
        video_ids=[item.video_id for item in usable],
    )
    if workers is None and len(options.devices) > 1:
        workers = Workers(len(options.devices), lambda order: LocalPool(order, progress))
    tasks, digest = _plan_tasks(usable, order, progress, workers.count if workers else 1)
    if options.check_space:
        _check_space(tasks, order, head_files, progress, workers)
    own_ids = {task.item.video_id for task in tasks}
    if options.shard_index_and_count[0] == 0:  # the first shard reports what can't be worked on
        own_ids |= {item.video_id for item in items if item.problem is not None}
    queue = WorkQueue([item for item in items if item.video_id in own_ids], tasks)
    reporter = Reporter(store, options, items, Plan.of(_listed(inputs), tasks, digest, notes.report()))

    def on_result(result: ItemResult, video_ended: bool) -> None:
        if result.status == "failed":  # reported, so that the next run tries it again
            forget_attempts(store, [result.video_id])
        if video_ended:
            progress.advance("videos")
        reporter.update(queue.results(not_reached), result if video_ended else None)

    progress.start("videos", len({task.item.video_id for task in tasks}), unit="videos")
    profile = None
    try:
        if tasks and workers is None:
            profile = _run_here(order, queue, progress, on_result, reporter)
        elif tasks and workers:
            profile = _run_on(workers.start(order), store, queue, progress, on_result)
            reporter.draw_apart(queue.results(not_reached), order.decoding)
    except BaseException as error:
        results = queue.results(partial(unfinished, queue, error))
        say_where_it_ended(reporter.write(results, state=what_ended(error)), progress)
        raise
    progress.finish("videos")
    return reporter.write(queue.results(not_reached), profile)


def _videos_of(listed: Sequence[str | Path], options: ExtractOptions, notes: SearchNotes | None) -> list[VideoItem]:
    """The videos of all inputs; UsageError says what to do with pictures that are given in the place of a video."""
    try:
        items = plan_inputs(listed, takes=options.takes, cameras=options.cameras, views=options.views, notes=notes)
    except UsageError as error:
        about = about_pictures(Path(error.details["path"])) if "path" in error.details else None
        if about is None:
            raise
        raise UsageError(error.message, hint=about, **error.details) from None
    refuse_untimed(items, options)
    if items and all(is_picture(item.path.name) and item.path.is_file() for item in items):
        about = about_pictures(items[0].path)
        raise UsageError(f"The input is {len(items)} picture(s), and no video.", hint=about, path=str(items[0].path))
    return items


def _check_space(
    tasks: list[Task],
    order: WorkOrder,
    head_files: dict[str, Path] | None,
    progress: Progress,
    workers: Workers | None,
) -> None:
    """FaultError where the store has no room for the run; missing weights or a missing device are reported first."""
    parts: dict[str, float] = defaultdict(float)
    for task in tasks:
        parts[task.item.video_id] += 1 / task.share_count
    run = PlannedRun(
        items=list({task.item.video_id: task.item for task in tasks}.values()),
        store=order.store,
        options=order.options,
        head_files=head_files,
        decoding=order.decoding,
        parts=parts,
        workers=workers.count if workers else 1,
    )
    try:
        check_space_for_run(run, progress)
    except FaultError:
        if workers is None:  # exit code 3 goes before 4
            Worker(order, progress).close()
        raise


def _run_here(
    order: WorkOrder, queue: WorkQueue, progress: Progress, on_result: OnResult, reporter: Reporter
) -> StageTimes:
    """All tasks in this process, one after the other; a store file is written while the next task is computed."""

    def account(task: Task, result: ItemResult | None) -> None:
        if result is not None:
            on_result(result, queue.done(task, result))
            return
        if task.name not in queue.busy:
            progress.say(f"{task.name}: another run is working on it; it is tried again at the end")
        queue.put_back(task)

    with Worker(order, progress) as worker:
        pending: tuple[Task, Future[ItemResult | None]] | None = None
        """The previous task; its store file may still be being written."""
        try:
            while not queue.finished:
                if queue.only_busy_left:
                    time.sleep(_BUSY_WAIT_SECONDS)
                started = None
                if (task := queue.take()) is not None:
                    if pending is not None and pending[0].item.video_id == task.item.video_id:  # its lock is ours
                        account(pending[0], worker.result_of(pending[1]))
                        pending = None
                    following = queue.upcoming()
                    started = task, worker.start(task, ahead=None if following is None else following.item.path)
                previous, pending = pending, None
                if previous is not None:
                    account(previous[0], worker.result_of(previous[1]))
                pending = started
        except BaseException:
            if pending is not None:  # its pieces are made, so its result is reported
                with suppress(Exception):
                    account(pending[0], pending[1].result())
            raise
        times = worker.times()
        reporter.draw(queue.results(not_reached), worker.decoder)
        return times


def _run_on(
    pool: WorkerPool, store: Path, queue: WorkQueue, progress: Progress, on_result: OnResult
) -> StageTimes | None:
    """All tasks on the workers of a pool."""
    run = Dispatch(pool, queue, on_result=on_result, say=progress.say)
    try:
        run.run()
        return run.profile
    finally:
        pool.close()
        forget_attempts(store, [task.item.video_id for task in run.running])  # this run ended them, not their videos


def decode_settings(options: ExtractOptions) -> DecodeSettings:
    """The options of decoding."""
    return DecodeSettings(
        timeout_seconds=options.decode_timeout,
        memory_bytes=None if options.decode_memory is None else int(options.decode_memory * 2**30),
        threads=options.decode_threads,
        hdr=options.hdr,
        times=options.of_pictures().anywhere(),
        allow_damaged=options.allow_damaged,
    )


def _plan_tasks(items: list[VideoItem], order: WorkOrder, progress: Progress, workers: int) -> tuple[list[Task], str]:
    """Tasks of this shard, longest first (in order for a single worker), and the plan's digest that shards share."""
    index, count = order.options.shard_index_and_count
    if count == workers == 1:
        tasks = [Task(item=item, cost=cost_by_size(item.path)) for item in items]
        return tasks, plan_digest(tasks)
    progress.start("balancing", len(items), unit="videos")
    costs = []
    with Decoder(order.decoding) as decoder:
        for item in items:
            costs.append(float(decoder.estimate(item.path)))
            progress.advance("balancing")
    progress.finish("balancing")
    tasks = cut_for_workers(items, costs, workers) if count == 1 else cut_tasks(items, costs, count)
    return balanced_shard(tasks, index, count), plan_digest(tasks)


def _listed(inputs: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [inputs] if isinstance(inputs, str | Path) else inputs


def plan(
    inputs: str | Path | Sequence[str | Path], options: ExtractOptions, notes: SearchNotes | None = None
) -> tuple[list[VideoItem], dict[str, Path] | None]:
    """The videos of all inputs, and each video id's box file (None: no boxes); UsageError: they can't be used.

    `notes` receives what the search for videos leaves out.
    """
    items = _videos_of(_listed(inputs), options, notes)
    videos = {item.video_id: item.path for item in items if item.problem is None}
    head_files = open_heads(options, list(videos), videos=videos) if videos else None
    if head_files and len(items) == 1:  # the only box file must fit the only video
        try:
            with Decoder(decode_settings(options)) as decoder, decoder.open(items[0].path, batch_size=1) as reader:
                size = {"width": reader.info.width, "height": reader.info.height, "frame_count": reader.frame_count}
                times = reader.pts_seconds
        except VideoError:
            return items, head_files  # a broken video is a failed item of the run, not wrong usage
        heads_for_video(options, head_files, items[0].video_id, **size, pts_seconds=times)
    return items, head_files
