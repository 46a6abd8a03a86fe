"""The one worker of every engine: a loaded model and a decoding process that do one task after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.tasks import Task, failure
from gazetools.extraction.work import WorkerTools, WorkOrder
from gazetools.io.closing import Closing
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ItemResult, StageTimes
from gazetools.store.lock import BusyError

T = TypeVar("T")


class Worker(Closing):
    """Loads the model once, then does tasks; UsageError, CheckpointError, EnvironmentLacksError: it can't be loaded."""

    def __init__(self, order: WorkOrder, progress: Progress) -> None:
        decoder = Decoder(order.decoding)  # its imports overlap with those of torch
        try:
            self._tools = _load(order, decoder, progress)
        except BaseException:
            decoder.close()
            raise

    def close(self) -> None:
        """Wait for the last store file, then end the decoding process."""
        self._tools.store_writer.shutdown()
        self._tools.decoder.close()

    def start(self, task: Task, *, ahead: Path | None = None) -> Future[ItemResult | None]:
        """Compute a task in this thread; its store file may still be being written when this returns.

        What is wrong with one video alone is its result (None: another process holds it); faults and missing weights
        raise, here or from the future. `ahead` probably follows. At most one future should be outstanding.
        """
        from gazetools.extraction.video import StoreWrite, extract_video

        made = self._decided(task, partial(extract_video, self._tools, task, ahead=ahead))
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
        return self._tools.clock.times()

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


def _load(order: WorkOrder, decoder: Decoder, progress: Progress) -> WorkerTools:
    """Load the model, and the detector where one is asked for."""
    from gazetools.extraction.clock import StageClock
    from gazetools.extraction.model.batches import BatchRunner
    from gazetools.gazemodels import load_gaze_model
    from gazetools.heads.detection import HeadDetection
    from gazetools.heads.spec import open_heads

    options = order.options
    head_files = open_heads(options, order.video_ids)
    progress.start("loading model", None, unit="steps")
    names = ("checkpoint", "backbone", "device", "dtype", "preprocess", "backend")
    model = load_gaze_model(options.model, **{name: getattr(options, name) for name in names}, progress=progress)
    detection = HeadDetection.load(detect, hdr=options.hdr) if (detect := options.detection()) is not None else None
    progress.finish("loading model")
    return WorkerTools(
        store=order.store,
        options=options,
        head_files=head_files,
        runner=BatchRunner(model, options.batch_size, token_grid=options.kept_token_grid),
        decoder=decoder,
        detection=detection,
        clock=StageClock(),
        progress=progress,
        store_writer=ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer"),
    )
