"""How long work reports its progress: a tiny protocol, so that the library never draws on a terminal by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """What library functions call; the CLI draws bars from it, `NoProgress` ignores it."""

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        """Begin (or restart) the named task with `total` steps, None if unknown."""

    def advance(self, task: str, steps: int = 1) -> None:
        """`steps` more are done."""

    def finish(self, task: str) -> None:
        """The task has ended, well or not."""

    def say(self, message: str) -> None:
        """A line worth keeping above the bars."""


@runtime_checkable
class ShowsTable(Protocol):
    """A progress that can also keep a table beside its bars."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show or replace the table."""


class NoProgress:
    """Ignores everything."""

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        """Ignored."""

    def advance(self, task: str, steps: int = 1) -> None:
        """Ignored."""

    def finish(self, task: str) -> None:
        """Ignored."""

    def say(self, message: str) -> None:
        """Ignored."""
