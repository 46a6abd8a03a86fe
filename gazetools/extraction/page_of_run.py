"""The page of a run while it goes on: what it knows so far, its sample pictures, and when it is written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from gazetools.extraction.decoding.decoder import Decoder
from gazetools.extraction.forecast import Forecasts
from gazetools.extraction.page import RunFacts, page_of
from gazetools.extraction.samples import SamplePicture, draw_samples, samples_in_page
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.extract import ExtractReport, ItemResult
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import PAGE_NAME, STORE_SUFFIX
from gazetools.schemas.video_id import place_of_id
from gazetools.store import open_store

_SHARE_OF_TIME = 0.01
_LEAST_SECONDS = 0.5
_SHOWN_INPUTS = 5


class PageOfRun:
    """Writes `extract_report.html` of one run."""

    def __init__(self, store: Path, words: Sequence[str], costs: Mapping[str, float]) -> None:
        """`words` are the command after `gazetools`; `costs` the sizes of the videos that this process works on."""
        self._store = store
        self._path = store / PAGE_NAME
        self._command = _shortened(words)
        self._began = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        self._earlier: list[SamplePicture] = []
        self._samples: list[SamplePicture] = []
        self._provenance: Provenance | None = None
        self.forecasts = Forecasts(costs)

    def draw(self, results: Sequence[ItemResult], decoder: Decoder | None) -> None:
        """Make the sample pictures; those of the store's present page are shown again.

        New ones need a decoder, and a video that this run has computed: a run that finds all done is over at once.
        """
        decoder = decoder if any(item.status == "done" for item in results) else None
        seconds = max(_LEAST_SECONDS, _SHARE_OF_TIME * self.forecasts.seconds)
        self._earlier = self._earlier or samples_in_page(self._path)
        drawn = draw_samples(self._store, results, decoder=decoder, earlier=self._earlier, seconds=seconds)
        self._samples = drawn or self._samples

    def write(self, report: ExtractReport, state: str) -> None:
        """Commit the page of `report`; `state`: `finished`, `running`, or the words that ended the run early."""
        if not self._samples:
            self.draw(report.items, None)
        if self._provenance is None:
            self._provenance = _provenance(self._store, report.items)
        facts = RunFacts(
            store=self._store,
            command=self._command,
            began=self._began,
            seconds=self.forecasts.seconds,
            state=state,
            provenance=self._provenance,
            forecasts=self.forecasts.kept,
            present=self.forecasts.present(),
            samples=self._samples,
        )
        write_bytes_atomic(self._path, page_of(report, facts).encode("utf-8", "replace"))


def _provenance(store: Path, items: Sequence[ItemResult]) -> Provenance | None:
    """What the first finished video says about its model; None where none is finished."""
    for item in items:
        if item.status in ("done", "complete"):
            try:
                with open_store(place_of_id(store, item.video_id, STORE_SUFFIX)) as opened:
                    return opened.provenance
            except (GazetoolsError, OSError):
                return None
    return None


def _shortened(words: Sequence[str]) -> str:
    """The command as typed into a shell; of many inputs the first ones."""
    inputs, rest = words[1 : words.index("-o")], words[words.index("-o") :]
    dots = f" ... ({len(inputs):,} inputs)" if len(inputs) > _SHOWN_INPUTS else ""
    return f"gazetools {words[0]} {shlex.join(inputs[:_SHOWN_INPUTS])}{dots} {shlex.join(rest)}"
