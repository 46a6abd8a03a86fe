"""`extract_report.json` and its page: one result per input of the run, merged over shards that share a store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gazetools._version import __version__
from gazetools.extraction.command import extract_words
from gazetools.extraction.decoding.decoder import Decoder, DecodeSettings
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.page_of_run import PageOfRun
from gazetools.extraction.tasks import Task, WorkQueue, failure, merge_results
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.progress import Progress
from gazetools.schemas.errors import DataFileError, FaultError
from gazetools.schemas.extract import ExtractOptions, ExtractReport, ItemResult
from gazetools.schemas.left_out import LeftOutFiles
from gazetools.schemas.stage_times import StageTimes
from gazetools.schemas.store import REPORT_NAME
from gazetools.store.lock import BusyError, locked


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is about to do, as its report and page name it."""

    inputs: Sequence[str | Path]
    digest: str
    """Hash of the videos and their cuts, on which all shards of one run agree."""
    costs: Mapping[str, float]
    """Video id -> its size among the videos of this process, in any unit."""
    left_out: Sequence[LeftOutFiles] = ()

    @classmethod
    def of(
        cls, inputs: Sequence[str | Path], tasks: Sequence[Task], digest: str, left_out: Sequence[LeftOutFiles]
    ) -> Plan:
        """The plan of a run that does `tasks`."""
        costs: dict[str, float] = defaultdict(float)
        for task in tasks:
            costs[task.item.video_id] += task.cost
        return cls(inputs=inputs, digest=digest, costs=costs, left_out=left_out)


SHARD_REPORTS = ".reports"
"""Folder of the store with one report per shard; its name starts with a dot, so no video id can collide with it."""
_SHARE_OF_TIME = 0.01
"""Largest share of the run's time that writing reports may take, for any number of inputs."""


class Reporter:
    """Writes the run's report; a shard writes `.reports/<digest>_I_of_N.json` and merges those of its plan."""

    def __init__(
        self,
        store: Path,
        options: ExtractOptions,
        items: Sequence[VideoItem],
        plan: Plan,
    ) -> None:
        self._store = store
        self._left_out = list(plan.left_out)
        self._page = PageOfRun(store, extract_words(plan.inputs, store, options), plan.costs)
        self._options = options
        self._items = list(items)
        self._digest = plan.digest[:16]
        self._next_write = 0.0

    def update(self, results: Sequence[ItemResult], ended: ItemResult | None = None) -> None:
        """Write the results so far, unless the last write is too recent; `ended` is of a video that has just ended."""
        if ended is not None:
            self._page.forecasts.ended(ended)
        began = time.monotonic()
        if began >= self._next_write:
            self.write(results, state="running")
            written = time.monotonic()
            self._next_write = written + (written - began) / _SHARE_OF_TIME

    def draw(self, results: Sequence[ItemResult], decoder: Decoder) -> None:
        """Draw sample pictures for the page, in at most a hundredth of the run's time, or in half a second."""
        self._page.draw(results, decoder)

    def draw_apart(self, results: Sequence[ItemResult], decoding: DecodeSettings) -> None:
        """As `draw`, with a decoding process of its own: those of an engine's workers have ended."""
        with Decoder(decoding) as decoder:
            self._page.draw(results, decoder)

    def write(
        self, results: Sequence[ItemResult], profile: StageTimes | None = None, *, state: str = "finished"
    ) -> ExtractReport:
        """Write report and page and return the report; that of a shard has its own items only.

        `state`: `finished`, `running`, or the words that ended the run early.
        """
        report = ExtractReport(
            tool_version=__version__,
            options=self._options.model_dump(),
            shard=self._options.shard,
            profile=profile,
            items=list(results),
            left_out=self._left_out,
        )
        if self._options.shard is None:
            write_json_atomic(self._store / REPORT_NAME, report.model_dump(mode="json"))
            self._page.write(report, state)
            return report
        index, count = self._options.shard_index_and_count
        paths = [
            self._store / SHARD_REPORTS / f"{self._digest}_{shard:05d}_of_{count:05d}.json"
            for shard in range(1, count + 1)
        ]
        write_json_atomic(paths[index], report.model_dump(mode="json"))
        # busy: another shard is merging too, and the last shard to end merges everything
        with suppress(BusyError), locked(self._store, REPORT_NAME, wait_seconds=30.0):
            merged = self._merged(paths)
            write_json_atomic(self._store / REPORT_NAME, merged.model_dump(mode="json"))
            self._page.write(merged, state)
        return report

    def _merged(self, paths: Sequence[Path]) -> ExtractReport:
        """The report over the reports of all shards."""
        known: dict[str, list[ItemResult]] = defaultdict(list)
        for path in paths:
            with suppress(DataFileError):  # not written yet, or by another version: its inputs count as not reached
                for item in read_report(path).items:
                    known[item.video_id].append(item)
        return ExtractReport(
            tool_version=__version__,
            options={**self._options.model_dump(), "shard": None},
            items=[merge_results(known.get(item.video_id) or [not_reached(item)]) for item in self._items],
            left_out=self._left_out,
        )


def read_report(path: Path) -> ExtractReport:
    """Read the report at `path`. Raises DataFileError where it is missing, broken or no report."""
    try:
        return ExtractReport.model_validate(read_json(path, max_bytes=1 << 28))
    except ValidationError as error:
        raise DataFileError(f"{path} is not a report of extract: {error.errors()[0]['msg']}.", path=str(path)) from None


def not_reached(item: VideoItem) -> ItemResult:
    """Result of an input that has none yet, so that the report of a killed run accounts for it too."""
    if item.problem is not None:
        return failure(item, item.problem)
    reason = "not reached: the run ended, or has not come to it yet"
    return ItemResult(video_id=item.video_id, path=str(item.path), status="not_reached", reason=reason)


def unfinished(queue: WorkQueue, error: BaseException, item: VideoItem) -> ItemResult:
    """The result of a video without one, in a run that `error` ended: at which it came about, or not reached."""
    if isinstance(error, FaultError) and item.problem is None and item.video_id in queue.running_ids:
        return failure(item, str(error))
    return not_reached(item)


def what_ended(error: BaseException) -> str:
    """What ended a run early, as its page says it."""
    if isinstance(error, KeyboardInterrupt):
        return "It was interrupted."
    return str(error) or type(error).__name__


def say_where_it_ended(report: ExtractReport, progress: Progress) -> None:
    """Say how far a run came that a signal or a fault ended; nothing where it had not begun."""
    count, waiting, failed = len(report.items), len(report.not_reached), len(report.failed)
    if waiting < count:
        more = f", {failed} failed" if failed else ""
        progress.say(f"{count - waiting - failed} of {count} videos done{more}, {waiting} not reached.")
