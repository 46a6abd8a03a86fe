"""Logs outside the run folder: the first error of a service ends its log, and training continues."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError


def require_package(package: str, option: str, *, wanted: bool) -> None:
    """Raise EnvironmentLacksError, before any work, where `option` asks for a log whose package is not installed."""
    if wanted and importlib.util.find_spec(package) is None:
        raise EnvironmentLacksError(
            f"{option} is true, but the package {package} is not installed.",
            hint=f"pip install 'gazetools[{package}]', or set {option}=false.",
        )


class GuardedLog:
    """The log of one service. No method raises.

    `open_log` makes an object with `log(values, step=...)` and `finish()`, or None where the config wants none. `say`
    receives one message where the service fails, with the type of the error only: its text may hold secrets.
    """

    def __init__(self, name: str, open_log: Callable[[], Any], say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._log: Any = None
        with self._guarded():
            self._log = open_log()

    def log(self, values: dict[str, Any], step: int) -> None:
        """Write one epoch's values."""
        with self._guarded():
            if self._log is not None:
                self._log.log(values, step=step)

    def finish(self) -> None:
        """Close the log, also after a run that failed."""
        with self._guarded():
            if self._log is not None:
                self._log.finish()
            self._log = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._log = None
            self._say(f"{self._name} logging stopped ({type(error).__name__}); training goes on without it.")
