"""Run one public command as a user would: printed, with its own progress bars, timed, its JSON kept."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError, ExitCode, FaultError

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent dies."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One finished command."""

    title: str
    arguments: list[str]
    """Behind `gazetools`."""
    exit_code: int
    """0, or 1: done with findings."""
    seconds: float
    document: dict[str, Any]
    """What it printed under --json."""

    @property
    def line(self) -> str:
        """As typed into a shell."""
        return command_line(self.arguments)


# With tensors this small a second thread of torch costs more than it does: four times, where cores are shared.
_ENVIRONMENT = {"train": {"OMP_NUM_THREADS": "1"}}


def command_line(arguments: Sequence[str]) -> str:
    """`gazetools ...` as typed into a shell."""
    settings = [f"{name}={value}" for name, value in _ENVIRONMENT.get(arguments[0], {}).items()]
    return " ".join([*settings, shlex.join(["gazetools", *arguments])])


def run_command(title: str, arguments: Sequence[str], *, quiet: bool = False) -> StepResult:
    """Run `gazetools ARGUMENTS` in a new interpreter; its bars and messages go to our stderr.

    Raises KeyboardInterrupt where it was interrupted; EnvironmentLacksError where something is to be installed and
    FaultError where it failed, with its message.
    """
    began = time.monotonic()
    loud = ["-q"] if quiet else []
    child = subprocess.Popen(
        [sys.executable, "-m", "gazetools", *loud, *arguments, "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT.get(arguments[0], {})},
        preexec_fn=partial(_end_with, os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads
    )
    try:
        printed, _ = child.communicate()
    except BaseException:
        # Ctrl-C reaches the child, too: it saves its state and ends by itself.
        child.wait()
        raise
    try:
        document = json.loads(printed)
    except ValueError:
        document = {}
    if child.returncode == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    # Findings are a result; failed items would leave the steps after them with too little.
    good = (ExitCode.OK, ExitCode.FINDINGS) if arguments[0] == "validate" else (ExitCode.OK,)
    if child.returncode not in good or "error" in document:
        message = document.get("error", {}).get("message", f"exit code {child.returncode}")
        kind = EnvironmentLacksError if child.returncode == ExitCode.ENVIRONMENT else FaultError
        raise kind(
            f"The demo's step {title!r} failed: {message}",
            hint=f"By hand: {command_line(arguments)}  The same demo command goes on from here.",
        )
    return StepResult(
        title=title,
        arguments=list(arguments),
        exit_code=child.returncode,
        seconds=time.monotonic() - began,
        document=document,
    )


def _end_with(parent: int) -> None:
    """In the child: SIGTERM when the demo dies, so that nothing keeps writing into a folder that is started again."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)
