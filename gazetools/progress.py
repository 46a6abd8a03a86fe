"""How long work reports its progress: a tiny protocol, so that the library never draws on a terminal by itself."""

from __future__ import annotations

from typing import Protocol


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
