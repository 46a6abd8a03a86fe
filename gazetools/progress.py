"""Progress of long work as a protocol, so that the library never draws on a terminal by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


class Progress(Protocol):
    """Calls that library functions make; the command line draws bars from them, `NoProgress` ignores them."""

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        """Begin (or restart) the named task with `total` steps; None: unknown."""

    def advance(self, task: str, steps: int = 1) -> None:
        """Count `steps` more as done."""

    def finish(self, task: str) -> None:
        """End the task, whether it succeeded or not."""

    def say(self, message: str) -> None:
        """Print a line that stays above the bars."""


@runtime_checkable
class ShowsTable(Protocol):
    """A progress that can also show a table above its bars."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show or replace the table."""


class NoProgress:
    """A progress that ignores everything."""

    def _ignore(self, *_: Any, **__: Any) -> None:
        """Ignored."""

    start = advance = finish = say = _ignore
