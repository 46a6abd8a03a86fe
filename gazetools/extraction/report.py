"""`extract_report.json`: one result per input of the run, merged over shards that share a store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from gazetools._version import __version__
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.tasks import failure, merge_results
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.extract import ExtractOptions, ExtractReport, ItemResult, StageTimes
from gazetools.schemas.left_out import LeftOutFiles
from gazetools.schemas.store import REPORT_NAME
from gazetools.store.lock import BusyError, locked

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
        plan_digest: str,
        left_out: Sequence[LeftOutFiles] = (),
    ) -> None:
        self._store = store
        self._left_out = list(left_out)
        self._options = options
        self._items = list(items)
        self._digest = plan_digest[:16]
        self._next_write = 0.0

    def update(self, results: Sequence[ItemResult]) -> None:
        """Write the results so far, unless the last write is too recent."""
        began = time.monotonic()
        if began >= self._next_write:
            self.write(results)
            ended = time.monotonic()
            self._next_write = ended + (ended - began) / _SHARE_OF_TIME

    def write(self, results: Sequence[ItemResult], profile: StageTimes | None = None) -> ExtractReport:
        """Write the report and return it; the report of a shard has its own items only."""
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
            return report
        index, count = self._options.shard_index_and_count
        paths = [
            self._store / SHARD_REPORTS / f"{self._digest}_{shard:05d}_of_{count:05d}.json"
            for shard in range(1, count + 1)
        ]
        write_json_atomic(paths[index], report.model_dump(mode="json"))
        # busy: another shard is merging too, and the last shard to end merges everything
        with suppress(BusyError), locked(self._store, REPORT_NAME, wait_seconds=30.0):
            write_json_atomic(self._store / REPORT_NAME, self._merged(paths).model_dump(mode="json"))
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
