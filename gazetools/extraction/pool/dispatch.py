"""Give tasks to workers, one at a time each, until every input has a result; the same under every engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gazetools.extraction.tasks import Task, WorkQueue
from gazetools.schemas.extract import ItemResult
from gazetools.schemas.stage_times import StageTimes

_BUSY_RETRY_SECONDS = 1.0
MOST_EARLY_DEATHS = 3
"""Number of workers of one slot that die in a row before they are ready, at which a pool stops the run. Deaths during
a task are counted per task, by the queue."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to the worker of one slot."""

    slot: int
    ready: bool = False
    """The worker has loaded its model and waits for its first task."""
    finished: bool = False
    """Its task has ended with `result`; None: another process has locked the video."""
    result: ItemResult | None = None
    times: StageTimes | None = None
    died: str | None = None
    """How the worker ended; the pool starts another one in its slot."""
    error: Exception | None = None
    """Error that must stop the run: a fault, or missing weights."""


class WorkerPool(Protocol):
    """Workers in numbered slots, on any machine."""

    def submit(self, slot: int, task: Task, ahead: Task | None) -> None:
        """Give the idle worker of `slot` its next task; `ahead` is the task that will probably follow."""

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Events since the last call, in order; waits for at most `timeout_seconds` where there are none."""

    def close(self) -> None:
        """End all workers, also in the middle of a task."""


@dataclass
class Dispatch:
    """One run of a queue on a pool."""

    pool: WorkerPool
    queue: WorkQueue
    on_result: Callable[[ItemResult, bool], None]
    """Called with the result of each task, and whether its video has ended."""
    say: Callable[[str], None]
    """Called with a line of text about each death."""
    deaths: int = field(default=0, init=False)
    _idle: set[int] = field(default_factory=set, init=False)
    _running: dict[int, Task] = field(default_factory=dict, init=False)
    _ahead: dict[int, str] = field(default_factory=dict, init=False)
    """Name of the task that the worker of each slot opens ahead; another worker may still take it."""
    _retry_at: float = field(default=0.0, init=False)
    _times: dict[int, StageTimes] = field(default_factory=dict, init=False)

    @property
    def running(self) -> list[Task]:
        """Tasks that workers are doing."""
        return list(self._running.values())

    @property
    def profile(self) -> StageTimes | None:
        """Times by stage, summed over the present workers."""
        times = list(self._times.values())
        return sum(times[1:], times[0]) if times else None

    def run(self) -> None:
        """Run until the queue is finished. Raises the `error` of an event."""
        while not self.queue.finished:
            self._hand_out()
            if not self.queue.finished:
                for event in self.pool.events(_BUSY_RETRY_SECONDS):
                    self._handle(event)

    def _hand_out(self) -> None:
        while self._idle and not (self.queue.only_busy_left and time.monotonic() < self._retry_at):
            slot = min(self._idle)
            expected = self._ahead.pop(slot, None)
            task = self.queue.take(prefer=expected, leave=self._ahead.values())
            if task is None:
                return
            self._idle.remove(slot)
            self._running[slot] = task
            ahead = self.queue.upcoming(self._ahead.values())
            if ahead is not None:
                self._ahead[slot] = ahead.name
            self.pool.submit(slot, task, ahead)

    def _handle(self, event: Event) -> None:
        if event.error is not None:
            raise event.error
        if event.times is not None:
            self._times[event.slot] = event.times
        if event.ready:
            self._idle.add(event.slot)
        elif event.finished:
            self._idle.add(event.slot)
            task = self._running.pop(event.slot)
            if event.result is None:
                self.queue.put_back(task)
                self._retry_at = time.monotonic() + _BUSY_RETRY_SECONDS
            else:
                self.on_result(event.result, self.queue.done(task, event.result))
        elif event.died is not None:
            self.deaths += 1
            self._idle.discard(event.slot)
            self._ahead.pop(event.slot, None)
            if (lost := self._running.pop(event.slot, None)) is not None:
                self.say(f"a worker {event.died} while working on {lost.name}")
                if (given_up := self.queue.worker_died(lost, event.died)) is not None:
                    self.on_result(given_up, True)
