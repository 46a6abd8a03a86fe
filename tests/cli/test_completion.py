"""Completion as a shell asks for it: names of commands, options of one command, and the script that asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def _complete(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `gazetools` answers to bash, which asks with the cursor at the end of `line`."""
    asked = {"_GAZETOOLS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return subprocess.run(
        [sys.executable, "-m", "gazetools"],
        env={**os.environ, **asked, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("gazetools e", ["extract", "evaluate", "export"]),
        ("gazetools extract clip.mp4 --decode", ["--decode-timeout", "--decode-memory", "--decode-threads"]),
        ("gazetools -q train --sch", ["--schema"]),
    ],
)
def test_commands_and_options_are_completed(line: str, answer: list[str]) -> None:
    done = _complete(line)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, answer, "")


def test_the_script_of_a_shell_can_be_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gazetools", "--show-completion", "zsh"],
        # Without it typer shows the script of the shell that runs the tests.
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "_GAZETOOLS_COMPLETE=complete_zsh" in done.stdout


def test_options_of_extract_are_completed_without_loading_models() -> None:
    code = (
        "import sys; from gazetools.cli.app import _load; _load('extract');"
        "heavy = {'torch', 'numpy', 'h5py', 'av', 'cv2'} & set(sys.modules); sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
