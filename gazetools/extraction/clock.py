"""Wall time of a worker by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gazetools.schemas.extract import StageTimes


class StageClock:
    """Adds up wall time per stage of one worker's main loop."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.seconds = dict.fromkeys(("detect", "open", "decode_wait", "prompt", "model", "write_wait", "join"), 0.0)
        self.decode_busy = 0.0
        self.write_busy = 0.0
        self.frames = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block for stage `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def times(self) -> StageTimes:
        """Sums so far; `other` is the wall time outside all stages."""
        wall = time.perf_counter() - self._began
        return StageTimes(
            workers=1,
            wall=wall,
            frames=self.frames,
            decode_busy=self.decode_busy,
            write_busy=self.write_busy,
            other=max(wall - sum(self.seconds.values()), 0.0),
            **self.seconds,
        )
