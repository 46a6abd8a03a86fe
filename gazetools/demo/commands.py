"""Run one public command as a user would: printed, with its own progress bars, timed, its JSON kept."""

from __future__ import annotations

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

from gazetools.io.child_process import end_with_parent
from gazetools.schemas.errors import EnvironmentLacksError, ExitCode, FaultError

# With tensors this small a second thread of torch costs more than it saves: four times, where cores are shared.
_ENVIRONMENT = {"train": {"OMP_NUM_THREADS": "1"}}


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One finished command."""

    title: str
    arguments: list[str]  # words of the command line after `gazetools`
    exit_code: int  # 0: done; 1: done, with findings
    seconds: float
    document: dict[str, Any]  # the JSON that the command printed


def command_line(arguments: Sequence[str]) -> str:
    """`gazetools ...` as typed into a shell."""
    settings = [f"{name}={value}" for name, value in _ENVIRONMENT.get(arguments[0], {}).items()]
    return " ".join([*settings, shlex.join(["gazetools", *arguments])])


def run_command(title: str, arguments: Sequence[str], *, quiet: bool = False) -> StepResult:
    """Run `gazetools ARGUMENTS` in a new interpreter; its bars and messages go to the stderr of this process.

    Raises FaultError with the command's message where it failed, EnvironmentLacksError where something is to be
    installed, KeyboardInterrupt where it was interrupted.
    """
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "gazetools", *["-q"] * quiet, *arguments, "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT.get(arguments[0], {})},
        # SIGTERM when the demo dies, so that nothing keeps writing into a folder in which the demo starts again.
        preexec_fn=partial(end_with_parent, os.getpid(), signal.SIGTERM) if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads
    )
    try:
        printed, _ = child.communicate()
    except BaseException:
        # Ctrl-C reaches the child as well: it saves its state and ends by itself.
        child.wait()
        raise
    try:
        document = json.loads(printed)
    except ValueError:
        document = {}
    if child.returncode == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    # Findings are a result; failed items would leave too little for the next steps.
    good = (ExitCode.OK, ExitCode.FINDINGS) if arguments[0] == "validate" else (ExitCode.OK,)
    if child.returncode not in good or "error" in document:
        message = document.get("error", {}).get("message", f"exit code {child.returncode}")
        kind = EnvironmentLacksError if child.returncode == ExitCode.ENVIRONMENT else FaultError
        raise kind(
            f"The demo's step {title!r} failed: {message}",
            hint=f"By hand: {command_line(arguments)}  The same demo command goes on from here.",
        )
    took = time.monotonic() - began
    return StepResult(
        title=title, arguments=list(arguments), exit_code=child.returncode, seconds=took, document=document
    )
