"""The one worker of every engine: a loaded model and a decoding process that do one task after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gazetools.extraction.decoding.decoder import Decoder, DecodeSettings
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.tasks import Task, failure
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ExtractOptions, ItemResult, StageTimes
from gazetools.store.lock import BusyError


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """What a worker must know besides its tasks; goes to other processes as JSON."""

    store: Path
    options: ExtractOptions
    """With the one `device` of this worker."""
    decoding: DecodeSettings
    video_ids: list[str]
    """All videos of the run: head boxes are matched against them, in every worker alike."""

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` takes back."""
        return {
            "store": str(self.store.absolute()),
            "options": self.options.model_dump(),
            "decoding": vars(self.decoding),
            "video_ids": self.video_ids,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> WorkOrder:
        """The order that `to_json` wrote."""
        return cls(
            store=Path(document["store"]),
            options=ExtractOptions(**document["options"]),
            decoding=DecodeSettings(**document["decoding"]),
            video_ids=document["video_ids"],
        )


def task_to_json(task: Task) -> dict[str, Any]:
    """A task as a document for another process."""
    return {
        "video_id": task.item.video_id,
        "path": str(task.item.path),
        "cost": task.cost,
        "share_index": task.share_index,
        "share_count": task.share_count,
    }


def task_message(task: Task, ahead: Task | None) -> dict[str, Any]:
    """What a worker process is told of its next task and the video that will probably follow."""
    return {"task": task_to_json(task), "ahead": None if ahead is None else str(ahead.item.path)}


def task_from_json(document: dict[str, Any]) -> Task:
    """The task that `task_to_json` wrote."""
    item = VideoItem(video_id=document["video_id"], path=Path(document["path"]))
    return Task(item=item, **{name: document[name] for name in ("cost", "share_index", "share_count")})


class Worker:
    """Loads the model once, then does tasks. Use as a context manager, so that its decoding process ends with it.

    Raises UsageError, CheckpointError or EnvironmentLacksError where the model can't be loaded.
    """

    def __init__(self, order: WorkOrder, progress: Progress) -> None:
        decoder = Decoder(order.decoding)  # its imports overlap with those of torch
        try:
            from gazetools.extraction.clock import StageClock
            from gazetools.extraction.model.batches import BatchRunner
            from gazetools.extraction.video import Job
            from gazetools.gazemodels import load_gaze_model
            from gazetools.heads.detection import HeadDetection
            from gazetools.heads.spec import open_heads

            options = order.options
            head_files = open_heads(options, order.video_ids)
            progress.start("loading model", None, unit="steps")
            model = load_gaze_model(
                options.model,
                checkpoint=options.checkpoint,
                backbone=options.backbone,
                device=options.device,
                dtype=options.dtype,
                preprocess=options.preprocess,
                backend=options.backend,
                progress=progress,
            )
            detect = options.detection()
            detection = HeadDetection.load(detect) if detect is not None else None
            progress.finish("loading model")
            self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
            self._job = Job(
                store=order.store,
                options=options,
                head_files=head_files,
                runner=BatchRunner(model, options.batch_size),
                progress=progress,
                decoder=decoder,
                clock=StageClock(),
                detection=detection,
            )
        except BaseException:
            decoder.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beside.shutdown()  # a store file on its way gets there
        self._job.decoder.close()

    def do(self, task: Task, *, ahead: Path | None = None) -> ItemResult | None:
        """The task's result; None while another process holds its video. `ahead`: the video that probably follows.

        What is wrong with one video alone is its result, so that the others go on; faults and missing weights raise.
        """

        def extract() -> ItemResult:
            return self._extract(task, ahead, None)()

        return self._result(task, extract)

    def begin(self, task: Task, *, ahead: Path | None = None) -> Callable[[], ItemResult | None]:
        """As `do`, but the store file may still be on its way when this returns: the next task can begin meanwhile.

        What is returned waits for it and gives the result. At most one should be outstanding.
        """
        unfinished: list[Callable[[], ItemResult]] = []

        def compute() -> None:
            unfinished.append(self._extract(task, ahead, self._beside))

        ended = self._result(task, compute)
        return (lambda: self._result(task, unfinished[0])) if unfinished else (lambda: ended)

    def _extract(self, task: Task, ahead: Path | None, beside: Executor | None) -> Callable[[], ItemResult]:
        from gazetools.extraction.video import Share, extract_video

        share = Share(task.share_index, task.share_count) if task.share_count > 1 else None
        return extract_video(self._job, task.item, share, ahead=ahead, beside=beside)

    def _result(self, task: Task, call: Callable[[], ItemResult | None]) -> ItemResult | None:
        """What `call` gives; None while another process holds the video, and its failure where it can't be done."""
        try:
            return call()
        except BusyError:
            return None
        except UsageError as error:  # videos, boxes and ids
            self._job.progress.finish(task.name)
            self._job.progress.say(f"failed: {task.name}: {error}")
            return failure(task.item, str(error))

    def times(self) -> StageTimes:
        """Where this worker's time went since its model was loaded."""
        return self._job.clock.times()
