"""Videos side by side in threads: results in order, the first fault stops what has not begun."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gazetools.progress import Progress

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def each(work: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, workers: int) -> list[ResultT]:
    """`work` of every item, in their order. The first exception stops the items that have not begun and is raised.

    Threads suffice: reading, hashing, numpy and writing leave Python for most of their time.
    """
    if workers == 1 or len(items) < 2:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(workers)
    try:
        return [future.result() for future in [pool.submit(work, item) for item in items]]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class SharedProgress:
    """A Progress that several threads may call."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        """See Progress."""
        with self._lock:
            self._progress.start(task, total, unit=unit)

    def advance(self, task: str, steps: int = 1) -> None:
        """See Progress."""
        with self._lock:
            self._progress.advance(task, steps)

    def finish(self, task: str) -> None:
        """See Progress."""
        with self._lock:
            self._progress.finish(task)

    def say(self, message: str) -> None:
        """See Progress."""
        with self._lock:
            self._progress.say(message)
