"""How long the rest of a run will take, and how good such forecasts were."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from gazetools.schemas.extract import ItemResult

_MARKS = (0.1, 0.25, 0.5, 0.75)
"""Shares of the work at which a forecast is kept."""
_LAST = 0.95
"""Share of the work from which on a forecast is no feat."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What was expected at one moment of the run."""

    share: float
    """Share of the work that was done, 0..1."""
    seconds: float
    """Seconds since the run began to compute."""
    total: float
    """Expected seconds of the whole run: `seconds` / `share`."""


class Forecasts:
    """Forecasts by the sizes of the videos; a video that was complete before counts on neither side."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs = dict(costs)
        self._began = time.monotonic()
        self._done = 0.0
        self.kept: list[Forecast] = []
        """One for each mark that the work has passed, in the order of time."""

    @property
    def seconds(self) -> float:
        """Seconds since the run began to compute."""
        return time.monotonic() - self._began

    def ended(self, result: ItemResult) -> None:
        """Count a video that has ended."""
        cost = self._costs.pop(result.video_id, 0.0)
        if result.status == "complete":
            return
        self._done += cost
        present = self.present()
        if (
            present is not None
            and present.share < _LAST
            and _passed(present) > (_passed(self.kept[-1]) if self.kept else 0)
        ):
            self.kept.append(present)

    def present(self) -> Forecast | None:
        """The forecast of this moment; None before the first video has ended."""
        whole = self._done + sum(self._costs.values())
        if not self._done or not whole:
            return None
        share, seconds = self._done / whole, self.seconds
        return Forecast(share=share, seconds=seconds, total=seconds / share)


def _passed(forecast: Forecast) -> int:
    """Number of marks that the work had passed."""
    return sum(forecast.share >= mark for mark in _MARKS)
