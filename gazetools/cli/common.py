"""What every command shares: talk on stderr, results on stdout, --json, --config and progress bars."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gazetools.cli.progress import RichProgress


@dataclass
class Terminal:
    """How loud this call is; set by the global options before a command runs."""

    verbose: bool = False
    quiet: bool = False
    json: bool = False
    document: TextIO | None = None
    """Where the JSON document goes; None: to stdout."""
    _kept_open: bool = False
    """Whether `document` is a file of its own, because file 1 goes to stderr."""

    def err(self) -> Console:
        """The console on stderr, for talk."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet, highlight=False)

    def say(self, message: str) -> None:
        """One line of talk on stderr, unless quiet."""
        from rich.markup import escape

        self.err().print(escape(message), soft_wrap=True)  # commands in it stay copyable

    def show(self, renderable: RenderableType) -> None:
        """A result for people on stdout; nothing under --json."""
        if not self.json:
            from rich.console import Console

            console = Console(highlight=False)
            console.on_broken_pipe = self.reader_is_gone  # type: ignore[method-assign]  # rich would exit with 1
            console.print(renderable, soft_wrap=isinstance(renderable, str))

    def emit(self, document: Any) -> None:
        """The one JSON document on stdout; nothing without --json."""
        if self.json:
            out = self.document or sys.stdout
            text = json.dumps(document, ensure_ascii=False, allow_nan=False)
            try:
                out.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")  # names that are no UTF-8
                out.flush()
            except BrokenPipeError:  # here, because typer would exit with 1
                self.reader_is_gone()

    def result(self, document: Any, renderable: RenderableType) -> None:
        """The result of a command: one JSON document under --json, else something for people."""
        self.emit(document)
        self.show(renderable)

    @contextmanager
    def stdout_for_the_document(self) -> Iterator[None]:
        """Under --json, let only `emit` reach stdout in the block; what libraries and children print goes to stderr."""
        if not self.json or self.document is not None or sys.stdout is None:
            yield
            return
        ours, kept = sys.stdout, None
        replaced = ours is not sys.__stdout__  # by a test or a notebook
        if not replaced and ours.fileno() == 1:
            ours.flush()
            kept = os.dup(1)
            os.dup2(2, 1)
            ours = os.fdopen(kept, "w", encoding="utf-8", closefd=False)
            self._kept_open = True
        self.document = ours
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            try:
                ours.flush()
            except BrokenPipeError:
                self.reader_is_gone()
                ours.flush()
            self.document, self._kept_open = None, False
            if kept is not None:
                sys.stdout.flush()  # of those that kept the old object, such as loggers: still to stderr
                os.dup2(kept, 1)
                os.close(kept)

    def stdout_of_child(self) -> TextIO | None:
        """Where a child process that prints the JSON document prints it; None: where this process's file 1 goes to."""
        return self.document if self.document is not None and self._kept_open else None

    def reader_is_gone(self) -> None:
        """Drop what is still printed: nobody reads stdout any more (head, less)."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), (self.document or sys.stdout).fileno())

    def progress(self) -> RichProgress:
        """Progress bars with rate and ETA on stderr, a context manager."""
        from gazetools.cli.progress import RichProgress

        return RichProgress(self.err())


TERMINAL = Terminal()
"""The terminal of this process; the only state that the command line keeps."""


def _set_json(value: bool) -> None:
    TERMINAL.json = TERMINAL.json or value


JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print exactly one JSON document on stdout.", callback=_set_json, is_eager=True),
]


def _load_config(context: typer.Context, value: Path | None) -> Path | None:
    """Use the command's own options from a YAML file as defaults; the command line wins."""
    if value is None or context.resilient_parsing:
        return value
    from gazetools.io.yaml_files import read_yaml_mapping
    from gazetools.schemas.base import nearest_name
    from gazetools.schemas.errors import UsageError

    known = {p.name for p in context.command.params if p.name and p.name not in {"config", "help"}}
    defaults = {}
    for key, entry in read_yaml_mapping(value).items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = nearest_name(name, sorted(known))
            raise UsageError(
                f"{value}: unknown option {key!r} for {context.command.name}."
                + (f" Did you mean {near.replace('_', '-')!r}?" if near else ""),
                hint=f"Known: {', '.join(sorted(k.replace('_', '-') for k in known))}.",
            )
        defaults[name] = entry
    context.default_map = {**(context.default_map or {}), **defaults}
    return value


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="YAML file with this command's options; the command line wins.",
        callback=_load_config,
        is_eager=True,
    ),
]


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, a second one kills as usual; nothing changes in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
