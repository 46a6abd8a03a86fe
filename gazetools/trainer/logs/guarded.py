"""Logs outside the run folder: the first error of a service ends its log, and training continues."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from gazetools.schemas.errors import EnvironmentLacksError


def require_package(package: str, option: str, *, wanted: bool) -> None:
    """Raise EnvironmentLacksError, before any work, where `option` asks for a log whose package is not installed."""
    if wanted and importlib.util.find_spec(package) is None:
        raise EnvironmentLacksError(
            f"{option} is true, but the package {package} is not installed.",
            hint=f"pip install 'gazetools[{package}]', or set {option}=false.",
        )


class ServiceLog(Protocol):
    """The log of one run at a service."""

    last_step: int
    """The last step that the service has of this run, -1 for none: no step up to it is sent again."""
    takes_report: bool
    """Whether `attach` does something."""

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Send the values of a step."""

    def final(self, values: Mapping[str, Any], *, step: int) -> None:
        """Send what the run ends with."""

    def attach(self, files: Sequence[tuple[Path, str]]) -> None:
        """Send files, each with its name there."""

    def flush(self) -> None:
        """Write what was sent to a file, where the service keeps one that only this process writes."""

    def finish(self, exit_code: int) -> None:
        """Close the log of a run that ends with `exit_code`."""


class GuardedLog:
    """The log of one service. No method raises.

    `open_log` makes the log, or returns None where the config wants none. `say` receives one message where the service
    fails, with the type of the error only: its text may hold secrets.
    """

    def __init__(self, name: str, open_log: Callable[[], ServiceLog | None], say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._log: ServiceLog | None = None
        with self._guarded():
            self._log = open_log()

    @property
    def is_open(self) -> bool:
        """Whether the service is wanted and has not failed."""
        return self._log is not None

    @property
    def takes_report(self) -> bool:
        """Whether the service is open and keeps reports."""
        return self._log is not None and self._log.takes_report

    @property
    def last_step(self) -> int:
        """The last step that the service has, -1 for none; that of a log that is not open needs nothing."""
        return self._log.last_step if self._log is not None else 1 << 62

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Send the values of a step, unless the service has them."""
        with self._guarded():
            if self._log is not None and step > self._log.last_step:
                self._log.log(values, step=step)
                self._log.last_step = step

    def final(self, values: Mapping[str, Any], step: int) -> None:
        """Send what the run ends with."""
        with self._guarded():
            if self._log is not None:
                self._log.final(values, step=step)

    def attach(self, files: Sequence[tuple[Path, str]]) -> None:
        """Send files, each with its name there."""
        with self._guarded():
            if self._log is not None:
                self._log.attach(files)

    def flush(self) -> None:
        """Write what was sent to a file."""
        with self._guarded():
            if self._log is not None:
                self._log.flush()

    def finish(self, exit_code: int) -> None:
        """Close the log, also after a run that failed."""
        with self._guarded():
            if self._log is not None:
                self._log.finish(exit_code)
            self._log = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._log = None
            self._say(f"{self._name} logging stopped ({type(error).__name__}); training goes on without it.")
