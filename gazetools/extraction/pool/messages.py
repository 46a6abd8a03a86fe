"""The messages between a run and its worker processes; the same wherever the process runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gazetools.extraction.pool.dispatch import Event
from gazetools.extraction.tasks import Task
from gazetools.progress import Progress
from gazetools.schemas.errors import ERRORS_BY_CODE, FaultError
from gazetools.schemas.extract import ItemResult
from gazetools.schemas.stage_times import StageTimes

_TASK = TypeAdapter(Task)


def task_message(task: Task, ahead: Task | None) -> dict[str, Any]:
    """Message with the next task of a worker process and the path of the video that will probably follow."""
    return {"task": _TASK.dump_python(task, mode="json"), "ahead": None if ahead is None else str(ahead.item.path)}


def task_and_ahead(message: dict[str, Any]) -> tuple[Task, Path | None]:
    """The task and the path of the video that will probably follow, from a `task_message`."""
    return _TASK.validate_python(message["task"]), message["ahead"] and Path(message["ahead"])


def event_of(slot: int, message: dict[str, Any], progress: Progress) -> Event | None:
    """The event that a message of a worker process stands for; None for progress, which is reported at once."""
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
