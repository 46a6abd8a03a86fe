"""The main function of a worker process: receive an order, then tasks, over the channel to the supervisor."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from typing import Any

from gazetools.extraction.pool.messages import task_and_ahead
from gazetools.extraction.work import WorkOrder
from gazetools.extraction.worker import Worker
from gazetools.io.child_process import enter_child, receive, send
from gazetools.schemas.errors import GazetoolsError

_ADVANCE_EVERY_SECONDS = 0.2


class ChannelProgress:
    """Progress that the process at the other end of the channel shows; several steps make one message."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._steps: dict[str, int] = {}
        self._sent = 0.0

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        """Send the start of a video; the other tasks have the same name in every worker and would share one bar."""
        if unit == "frames":
            self._send(["start", task, total])

    def advance(self, task: str, steps: int = 1) -> None:
        """Send the steps so far, at most five times per second."""
        self._steps[task] = self._steps.get(task, 0) + steps
        if time.monotonic() - self._sent > _ADVANCE_EVERY_SECONDS:
            self._send()

    def finish(self, task: str) -> None:
        """Send the end of a task."""
        self._send(["finish", task])

    def say(self, message: str) -> None:
        """Send a line of text."""
        self._send(["say", message])

    def _send(self, *calls: list[Any]) -> None:
        steps = [["advance", task, count] for task, count in self._steps.items()]
        self._steps.clear()
        self._sent = time.monotonic()
        send(self._channel, **{"is": "progress", "calls": [*steps, *calls]})


def main(arguments: list[str]) -> int:
    """Arguments: FD PARENT; started by `LocalPool`."""
    channel = enter_child(arguments)
    try:
        order = WorkOrder.model_validate(receive(channel)["order"])
        with Worker(order, ChannelProgress(channel)) as worker:
            send(channel, **{"is": "ready"})
            while True:
                task, ahead = task_and_ahead(receive(channel))
                result = worker.result_of(worker.start(task, ahead=ahead))
                document = None if result is None else result.model_dump()
                send(channel, **{"is": "result", "result": document, "times": worker.times().model_dump()})
    except (EOFError, ConnectionError):
        return 0
    except GazetoolsError as error:
        send(channel, **{"is": "raised", "code": error.code, "message": error.message, "hint": error.hint})
        return 0
