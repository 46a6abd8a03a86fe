"""Workers as Ray actors: one call at a time for each; the dispatcher, not Ray, tries again what a lost actor did."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.engines.ray_actor import LAST_WORDS, WorkerActor
from gazetools.extraction.pool.dispatch import MOST_EARLY_DEATHS, Event
from gazetools.extraction.pool.messages import event_of, task_message
from gazetools.extraction.tasks import Task
from gazetools.extraction.work import WorkOrder
from gazetools.progress import Progress
from gazetools.schemas.errors import EnvironmentLacksError, FaultError
from gazetools.schemas.ray import RayOptions


class RayPool:
    """One actor per slot; a lost actor is replaced wherever the cluster has room.

    Ray's own retries stay off (`max_restarts=0`, `max_task_retries=0`): with them, calls that wait in the queue of a
    lost actor are lost or use up the retries of other calls, and a video that crashes its worker is tried for ever.

    `ray` is connected to a cluster, `settings` has number and size of the workers; those without room wait for it.
    Every node must see `probe`, a file in the store.
    """

    def __init__(
        self,
        ray: Any,
        order: WorkOrder,
        progress: Progress,
        settings: RayOptions,
        *,
        probe: Path,
        module: str = "gazetools.extraction.pool.process",
    ) -> None:
        assert settings.workers is not None
        assert settings.gpus is not None
        self._ray = ray
        self._progress = progress
        self._needs = {"num_cpus": settings.cpus, "num_gpus": settings.gpus}
        self._actor_class = ray.remote(WorkerActor).options(
            **self._needs, max_restarts=0, max_task_retries=0, max_concurrency=1, scheduling_strategy="SPREAD"
        )
        self._order = ray.put(order.to_json())
        self._start_with = {"probe": str(probe.absolute()), "version": __version__, "module": module}
        self._wait_seconds = settings.wait_seconds
        self._actors: list[Any] = [None] * settings.workers
        self._calls: dict[int, Any] = {}
        """The one unfinished call of each slot."""
        self._early_deaths = [0] * settings.workers
        self._alive: set[int] = set()
        self._alive_at = time.monotonic()
        for slot in range(settings.workers):
            self._start(slot)

    def submit(self, slot: int, task: Task, ahead: Task | None) -> None:
        """Call the idle actor of `slot`; `events` reports an actor that is lost."""
        self._calls[slot] = self._actors[slot].do.remote(task_message(task, ahead), seen=task.item.path.exists())

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Events of all workers whose call has ended."""
        slots = {call: slot for slot, call in self._calls.items()}
        if not slots:
            return []
        ready, waiting = self._ray.wait(list(slots), num_returns=1, timeout=timeout_seconds)
        if waiting and ready:
            ready += self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        events: list[Event] = []
        for call in ready:
            events += self._end_of_call(slots[call], call)
        self._check_life()
        return events

    def close(self) -> None:
        """Kill all actors with their worker processes."""
        for actor in self._actors:
            self._kill(actor)

    def _start(self, slot: int) -> None:
        self._actors[slot] = self._actor_class.remote()
        self._calls[slot] = self._actors[slot].start.remote(self._order, **self._start_with)

    def _end_of_call(self, slot: int, call: Any) -> list[Event]:
        try:
            messages = self._ray.get(call)
        except self._ray.exceptions.RayError as error:  # the actor, its node or the connection is lost
            return [self._restart(slot, f"was lost ({_first_line(error)})")]
        self._alive.add(slot)
        events: list[Event] = []
        for message in messages:
            if message["is"] == "died":
                return [*events, self._restart(slot, message["how"])]
            if (event := event_of(slot, message, self._progress)) is not None:
                if event.ready:
                    self._early_deaths[slot] = 0
                events.append(event)
        if messages and messages[-1]["is"] in LAST_WORDS:
            del self._calls[slot]
        else:
            self._calls[slot] = self._actors[slot].listen.remote()
        return events

    def _restart(self, slot: int, how: str) -> Event:
        self._kill(self._actors[slot])  # it still runs where only the connection was lost
        self._alive.discard(slot)
        self._early_deaths[slot] += 1
        if self._early_deaths[slot] >= MOST_EARLY_DEATHS:
            raise FaultError(
                f"Ray worker {slot} {how}, {MOST_EARLY_DEATHS} times before it was ready.",
                hint="Try the same command with --engine local on one of the nodes; Ray's logs are in /tmp/ray there.",
            )
        self._start(slot)
        return Event(slot=slot, died=how)

    def _check_life(self) -> None:
        now = time.monotonic()
        if self._alive:
            self._alive_at = now
        elif now - self._alive_at > self._wait_seconds:
            free = self._ray.available_resources()
            raise EnvironmentLacksError(
                f"No Ray worker could be started for {self._wait_seconds:.0f} s: each needs {self._needs}, the cluster "
                f"has {free.get('CPU', 0):g} CPU, {free.get('GPU', 0):g} GPU free.",
                hint="Free the cluster, or ask for less with --ray cpus=N and --ray gpus=N.",
            )

    def _kill(self, actor: Any) -> None:
        try:
            self._ray.kill(actor, no_restart=True)
        except Exception as error:  # Ray raises many kinds; the actor may be gone, and the run goes on without it
            self._progress.say(f"a lost Ray worker could not be stopped: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """The line of Ray's text that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith("The actor") and "because" in line), None)
    return (reason or (lines[0] if lines else type(error).__name__))[:300]
