"""Worker processes on this machine, one per device, restarted when they die."""

from __future__ import annotations

import multiprocessing.connection
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from gazetools.extraction.pool.dispatch import MOST_EARLY_DEATHS, Event
from gazetools.extraction.pool.messages import event_of, task_message
from gazetools.extraction.tasks import Task
from gazetools.extraction.work import WorkOrder
from gazetools.io.child_process import end_process, how_it_ended, receive, send, start_child
from gazetools.progress import Progress
from gazetools.schemas.errors import FaultError


class LocalPool:
    """One worker process per device of `order.options.devices`; the same device may be named several times."""

    def __init__(self, order: WorkOrder, progress: Progress, *, module: str = "gazetools.extraction.pool.process"):
        self._order = order
        self._progress = progress
        self._module = module
        self._devices = order.options.devices
        self._processes: list[subprocess.Popen[bytes]] = []
        self._channels: list[Connection] = []
        self._early_deaths = [0] * len(self._devices)
        try:
            for slot in range(len(self._devices)):
                process, channel = self._start(slot)
                self._processes.append(process)
                self._channels.append(channel)
        except BaseException:
            self.close()
            raise

    def submit(self, slot: int, task: Task, ahead: Task | None) -> None:
        """Send a task; `events` reports a worker that has died."""
        with suppress(ConnectionError):
            send(self._channels[slot], do="task", **task_message(task, ahead))

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Events of all workers; reports their progress at once."""
        ready: Any = multiprocessing.connection.wait(self._channels, timeout_seconds)
        events = []
        for channel in ready:
            slot = self._channels.index(channel)
            try:
                event = event_of(slot, receive(channel), self._progress)
            except (EOFError, ConnectionError):
                event = self._restart(slot)
            if event is not None:
                if event.ready:
                    self._early_deaths[slot] = 0
                events.append(event)
        return events

    def close(self) -> None:
        """Kill all workers with their decoding processes; finished pieces are kept."""
        for process in self._processes:
            process.kill()
        for process, channel in zip(self._processes, self._channels, strict=True):
            end_process(process)
            channel.close()

    def _start(self, slot: int) -> tuple[subprocess.Popen[bytes], Connection]:
        device = self._devices[slot]
        threads = {}
        if device == "cpu" and "OMP_NUM_THREADS" not in os.environ:  # each worker would use all cores
            threads = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // self._devices.count("cpu"), 1))}
        process, channel = start_child(self._module, env=threads)
        options = self._order.options.model_copy(update={"device": device})
        send(channel, do="start", order=self._order.model_copy(update={"options": options}).to_json())
        return process, channel

    def _restart(self, slot: int) -> Event:
        how = how_it_ended(self._processes[slot])
        self._channels[slot].close()
        self._early_deaths[slot] += 1
        if self._early_deaths[slot] >= MOST_EARLY_DEATHS:
            raise FaultError(
                f"The worker on {self._devices[slot]} {how}, {MOST_EARLY_DEATHS} times before it was ready.",
                hint="Its messages are above; try the same command with this device alone.",
            )
        self._processes[slot], self._channels[slot] = self._start(slot)
        return Event(slot=slot, died=how)
