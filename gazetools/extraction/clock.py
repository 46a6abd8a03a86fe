"""Wall time of a worker by stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gazetools.schemas.stage_times import StageTimes


class StageClock:
    """Adds up wall time per stage of one worker's main loop."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.seconds = dict.fromkeys(("detect", "open", "decode_wait", "prompt", "model", "write_wait", "join"), 0.0)
        self.decode_busy = 0.0
        self.write_busy = 0.0
        self.frames = 0
        self.people = 0
        self.people_not_evaluated = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block for stage `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def times(self, *, peak_device_memory: int = 0) -> StageTimes:
        """Sums so far; `other` is the wall time outside all stages."""
        wall = time.perf_counter() - self._began
        return StageTimes(
            workers=1,
            wall=wall,
            frames=self.frames,
            decode_busy=self.decode_busy,
            write_busy=self.write_busy,
            people=self.people,
            people_not_evaluated=self.people_not_evaluated,
            peak_memory=_peak_memory(),
            peak_device_memory=peak_device_memory,
            other=max(wall - sum(self.seconds.values()), 0.0),
            **self.seconds,
        )


def _peak_memory() -> int:
    """Bytes of this process that were resident at most; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
