"""SIGINT, SIGTERM and SIGUSR1 as a flag that the loop checks between steps, so that it can save first."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # signals that end a run; a second one has its usual effect
WARNING_SIGNALS = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()
"""Warnings of a scheduler (Slurm's `--signal=USR1@300`), which may send several; unhandled they kill the process."""


class Interruption:
    """Context manager: the first signal makes `requested()` true; inert in threads.

    Until `arm()` is called there is nothing to save, and a signal raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self._requested = False
        self._armed = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (*STOP_SIGNALS, *WARNING_SIGNALS):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore((*STOP_SIGNALS, *WARNING_SIGNALS))

    def arm(self) -> None:
        """From now on a signal only sets the flag."""
        self._armed = True

    def requested(self) -> bool:
        """Whether a signal came."""
        return self._requested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._restore(STOP_SIGNALS)
        if not self._armed:
            raise KeyboardInterrupt
        self._requested = True

    def _restore(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            if number in self._previous:
                signal.signal(number, self._previous.pop(number))
