"""Progress bars: the library's Progress protocol drawn with rich on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column, Table
from rich.text import Text

from gazetools.cli.tables import text_table

_SHOW_FINISHED = 3
"""Finished bars that stay on the screen."""


class _RateColumn(ProgressColumn):
    """Steps per second, with the task's unit."""

    def render(self, task: Task) -> Text:
        """`12.3 frames/s`, empty until there is a rate."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['unit']}/s" if speed else "", style="cyan")


class _BarsBelowTable(Bars):
    """Bars below a table, where one is shown."""

    shown: Table | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the table and the bars."""
        if self.shown is not None:
            yield self.shown
        yield self.make_tasks_table(self.tasks)


class RichProgress:
    """Draws one bar per running task, with count, rate and time left, and a live table of results."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _BarsBelowTable(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _RateColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=console.quiet,
        )
        self._tasks: dict[str, TaskID] = {}
        self._finished: list[TaskID] = []

    def __enter__(self) -> RichProgress:
        return self  # drawn from the first task on: an early error must not be preceded by an empty display

    def __exit__(self, *_: object) -> None:
        if self._bars.live.is_started:
            for task in self._bars.tasks:
                if task.total is None:  # a spinner that has stopped says nothing
                    self._bars.remove_task(task.id)
            self._bars.stop()

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        """Begin (or restart) a bar."""
        self._bars.start()  # does nothing when it runs already
        if task in self._tasks:
            self._bars.reset(self._tasks[task], total=total)
        else:
            self._tasks[task] = self._bars.add_task(escape(task), total=total, unit=unit)

    def advance(self, task: str, steps: int = 1) -> None:
        """Advance a bar by `steps`."""
        if task in self._tasks:
            self._bars.advance(self._tasks[task], steps)

    def finish(self, task: str) -> None:
        """Stop a bar; only the last finished ones stay visible."""
        if task in self._tasks:
            task_id = self._tasks.pop(task)
            self._bars.stop_task(task_id)
            if self._bars.tasks[self._bars.task_ids.index(task_id)].total is None:
                self._bars.remove_task(task_id)
                return
            self._finished.append(task_id)
            if len(self._finished) > _SHOW_FINISHED:
                self._bars.remove_task(self._finished.pop(0))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table above the bars, in place of the previous one."""
        headings = [Column(escape(name), justify="right" if n else "left") for n, name in enumerate(columns)]
        self._bars.shown = text_table(headings, rows, title=title, title_justify="left")
        self._bars.refresh()

    def say(self, message: str) -> None:
        """Print a line above the bars."""
        self._console.print(escape(message), soft_wrap=True)
