"""A worker process that is killed by every task of the video `a/short` and reports any other as done."""

from __future__ import annotations

import os
import signal

from gazetools.extraction.clock import StageClock
from gazetools.io.child_process import enter_child, receive, send


def main(arguments: list[str]) -> int:
    channel = enter_child(arguments)
    receive(channel)
    send(channel, **{"is": "ready"})
    while True:
        try:
            task = receive(channel)["task"]["item"]
        except (EOFError, ConnectionError):
            return 0
        if task["video_id"] == "a/short":
            os.kill(os.getpid(), signal.SIGKILL)
        result = {"video_id": task["video_id"], "path": task["path"], "status": "done"}
        send(channel, **{"is": "result", "result": result, "times": StageClock().times().model_dump()})
