"""What a worker process says, as news for the dispatcher; the same wherever the process runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gazetools.extraction.pool.dispatch import Event
from gazetools.progress import Progress
from gazetools.schemas.errors import ERRORS_BY_CODE, FaultError
from gazetools.schemas.extract import ItemResult, StageTimes


def event_of(slot: int, message: dict[str, Any], progress: Progress) -> Event | None:
    """The event that a message of `worker_process` means; None for progress, which is passed on at once."""
    kind = message["is"]
    if kind == "progress":
        for name, *arguments in message["calls"]:
            method: Callable[..., None] = getattr(progress, name)
            method(*arguments)
        return None
    if kind == "ready":
        return Event(slot=slot, ready=True)
    if kind == "raised":
        error = ERRORS_BY_CODE.get(message["code"], FaultError)
        return Event(slot=slot, error=error(message["message"], hint=message["hint"]))
    result = None if message["result"] is None else ItemResult(**message["result"])
    return Event(slot=slot, finished=True, result=result, times=StageTimes(**message["times"]))
