"""The one worker of every engine: a loaded model and a decoding process that do one task after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.tasks import Task, failure
from gazetools.extraction.work import WorkerTools, WorkOrder
from gazetools.io.closing import Closing
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ItemResult
from gazetools.schemas.stage_times import StageTimes
from gazetools.store.lock import BusyError

if TYPE_CHECKING:
    from gazetools.extraction.model.runners import RunnerChoice
    from gazetools.extraction.video import StoreWrite

T = TypeVar("T")


class Worker(Closing):
    """Loads the model once, then does tasks; UsageError, CheckpointError, EnvironmentLacksError: it can't be loaded."""

    def __init__(self, order: WorkOrder, progress: Progress) -> None:
        decoder = Decoder(order.decoding)  # its imports overlap with those of torch
        try:
            self._tools, self._choice = load_tools(order, decoder, progress)
        except BaseException:
            decoder.close()
            raise

    @property
    def decoder(self) -> Decoder:
        """The decoding processes, which are free between two tasks."""
        return self._tools.decoder

    def close(self) -> None:
        """Wait for the last store file, then end the decoding process."""
        self._tools.store_writer.shutdown()
        self._tools.decoder.close()

    def start(self, task: Task, *, ahead: Path | None = None) -> Future[ItemResult | None]:
        """Compute a task in this thread; its store file may still be being written when this returns.

        What is wrong with one video alone is its result (None: another process holds it); faults and missing weights
        raise, here or from the future. `ahead` probably follows. At most one future should be outstanding.
        """
        from gazetools.extraction.video import StoreWrite

        made = self._decided(task, partial(self._compute, task, ahead))
        if isinstance(made, StoreWrite):
            return self._tools.store_writer.submit(self._decided, task, made.commit)
        finished: Future[ItemResult | None] = Future()
        finished.set_result(made)
        return finished

    def result_of(self, started: Future[ItemResult | None]) -> ItemResult | None:
        """Wait for a started task; the profile counts the wait as joining."""
        with self._tools.clock.stage("join"):
            return started.result()

    def times(self) -> StageTimes:
        """Time of this worker by stage since its model was loaded."""
        return self._tools.clock.times(peak_device_memory=self._tools.runner.peak_device_memory)

    def _compute(self, task: Task, ahead: Path | None) -> ItemResult | StoreWrite:
        """Make what is missing of a video; before the first one its frames may have to choose the number type."""
        from gazetools.extraction.model.number_types import CHECK_FRAMES
        from gazetools.extraction.people_frames import people_frames
        from gazetools.extraction.video import extract_video

        runner = self._choice.settled(lambda: people_frames(self._tools, task.item, CHECK_FRAMES))
        if runner is not self._tools.runner:
            self._tools = replace(self._tools, runner=runner)
        return extract_video(self._tools, task, ahead=ahead)

    def _decided(self, task: Task, step: Callable[[], T]) -> T | ItemResult | None:
        """The value of a step: None while another process holds the video, a failed item where it can't be done."""
        try:
            return step()
        except BusyError:
            return None
        except UsageError as error:  # videos, boxes and ids
            self._tools.progress.finish(task.name)
            self._tools.progress.say(f"failed: {task.name}: {error}")
            return failure(task.item, str(error))


def load_tools(order: WorkOrder, decoder: Decoder, progress: Progress) -> tuple[WorkerTools, RunnerChoice]:
    """Load the model, and the detector where one is asked for; also what may still choose the number type."""
    from gazetools.extraction.clock import StageClock
    from gazetools.extraction.model.runners import RunnerChoice
    from gazetools.gazemodels.interface import needs_boxes
    from gazetools.heads.detection import HeadDetection
    from gazetools.heads.spec import open_heads

    options = order.options
    head_files = open_heads(options, order.video_ids)
    progress.start("loading model", None, unit="steps")
    choice = RunnerChoice(options, order.store, order.video_ids, progress)
    detection = HeadDetection.load(detect, hdr=options.hdr) if (detect := options.detection()) is not None else None
    progress.finish("loading model")
    model = choice.runner.model
    if needs_boxes(model) and options.heads == "whole":
        raise UsageError(
            f"{model.name} sees a crop of each head, and --heads whole has no boxes.",
            hint="Give --heads file:PATH, or --heads detect to find them, or use a model of Gaze-LLE.",
        )
    tools = WorkerTools(
        store=order.store,
        options=options,
        head_files=head_files,
        runner=choice.runner,
        decoder=decoder,
        detection=detection,
        clock=StageClock(),
        progress=progress,
        store_writer=ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer"),
    )
    return tools, choice
