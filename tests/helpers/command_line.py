"""Run the command line as a user does, in this process (fast) with its own stdout and stderr."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from gazetools.cli import app as cli_app
from gazetools.cli.common import TERMINAL


@dataclass(frozen=True)
class Done:
    """Exit code and output of a finished command."""

    exit_code: int
    stdout: str
    stderr: str


def run_cli(*arguments: str) -> Done:
    """Run `gazetools ARGUMENTS`; returns exit code and both streams."""
    out, err = io.StringIO(), io.StringIO()
    TERMINAL.verbose = TERMINAL.quiet = TERMINAL.json = False
    with (
        mock.patch.object(sys, "argv", ["gazetools", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli_app.main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
