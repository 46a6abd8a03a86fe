"""A Ray actor: it starts one worker process on its node and passes messages on."""

from __future__ import annotations

import platform
import subprocess
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.io.child_process import how_it_ended, receive, send, start_child

LAST_WORDS = frozenset({"ready", "result", "raised", "died"})
"""Kinds of messages after which the worker sends nothing until the driver calls."""
_LISTEN_SECONDS = 1.0
"""Longest duration of a call, so that progress arrives and a lost node is noticed."""


class WorkerActor:
    """One worker process as a child of the actor's process, which reports how it ended and takes it along at its end.

    Every call returns messages; the last one of a task is one of `LAST_WORDS`. The driver makes one call at a time.
    """

    _process: subprocess.Popen[bytes]
    _channel: Connection

    def start(self, order: dict[str, Any], *, probe: str, version: str, module: str) -> list[dict[str, Any]]:
        """Start `module` with a `WorkOrder` as JSON; needs the driver's `version`, and to see its file `probe`."""
        if __version__ != version:
            message = f"A node of the cluster has gazetools {__version__}, this command is {version}."
            return [_lacking(message, "Install the same version on every node.")]
        if not Path(probe).exists():
            return [_unseen(str(Path(probe).parent))]
        self._process, self._channel = start_child(module)
        send(self._channel, do="start", order=order)
        return self.listen()

    def do(self, message: dict[str, Any], *, seen: bool) -> list[dict[str, Any]]:
        """Begin the task of a `task_message`. `seen`: the driver sees the video, so every node must see it too."""
        path = message["task"]["item"]["path"]
        if seen and not Path(path).exists():
            return [_unseen(path)]
        try:
            send(self._channel, do="task", **message)
        except (BrokenPipeError, ConnectionError):
            return [self._died()]
        return self.listen()

    def listen(self) -> list[dict[str, Any]]:
        """Messages of the worker within a second, up to the last one of its task."""
        messages: list[dict[str, Any]] = []
        deadline = time.monotonic() + _LISTEN_SECONDS
        while (left := deadline - time.monotonic()) > 0 and self._channel.poll(left):
            try:
                messages.append(receive(self._channel))
            except (EOFError, ConnectionError):
                messages.append(self._died())
            if messages[-1]["is"] in LAST_WORDS:
                break
        return messages

    def _died(self) -> dict[str, Any]:
        return {"is": "died", "how": how_it_ended(self._process)}


def _lacking(message: str, hint: str) -> dict[str, Any]:
    return {"is": "raised", "code": "environment", "message": message, "hint": hint}


def _unseen(path: str) -> dict[str, Any]:
    return _lacking(
        f"The node {platform.node()} of the cluster does not see {path}.",
        "Put videos, weights and the store on a file system that all nodes share, under the same path.",
    )
