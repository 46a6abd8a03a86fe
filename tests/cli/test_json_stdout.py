"""Under --json, stdout holds one document, whatever libraries, native code and child processes print."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterable

import pytest

NOISES = {
    "print": "print('{word}', flush=True)",
    "sys.stdout of before": "OUT.write('{word}\\n'); OUT.flush()",
    "unflushed": "OUT.write('{word}\\n')",
    "a logger made before": "LOGGER.warning('{word}')",
    "native code": "import os; os.write(1, b'{word}\\n')",
    "a child process": "import subprocess; subprocess.run(['echo', '{word}'])",
    "a thread": "import threading; t = threading.Thread(target=print, args=('{word}',)); t.start(); t.join()",
}
WORDS = {kind: f"noise of {kind}" for kind in NOISES}
_PROGRAM = """
import logging, sys
OUT = sys.stdout
LOGGER = logging.getLogger("loud")
LOGGER.addHandler(logging.StreamHandler(OUT))
import gazetools.doctor
from gazetools.cli import app
before = gazetools.doctor.examine
def loud(*args, **kwargs):
{noises}
    {end}
gazetools.doctor.examine = loud
app.main(["doctor", *sys.argv[1:]])
"""


def _run(kinds: Iterable[str], *arguments: str, end: str = "return before(*args, **kwargs)") -> tuple[int, str, str]:
    noises = textwrap.indent("\n".join(NOISES[kind].format(word=WORDS[kind]) for kind in kinds), "    ")
    program = _PROGRAM.format(noises=noises, end=end)
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def loud() -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that meets every kind of noise."""
    return _run(NOISES, "--json")


def test_the_document_stands_alone(loud: tuple[int, str, str]) -> None:
    code, out, err = loud
    assert code in (0, 1, 3), err
    assert isinstance(json.loads(out), dict)
    assert out.count("\n") == 1


@pytest.mark.parametrize("kind", NOISES)
def test_noise_goes_to_stderr(kind: str, loud: tuple[int, str, str]) -> None:
    _, out, err = loud
    assert WORDS[kind] in err
    assert WORDS[kind] not in out


def test_an_error_is_the_one_document_too() -> None:
    code, out, err = _run(["print"], "--json", end="raise RuntimeError('broken')")
    assert code == 4
    assert json.loads(out)["error"]["code"] == "internal"
    assert WORDS["print"] in err


def test_without_json_nothing_is_moved() -> None:
    _, out, _ = _run(["print"], end="raise RuntimeError('broken')")
    assert out.startswith(WORDS["print"])


@pytest.mark.parametrize("arguments", [["--help", "--json"], ["--json", "-h"]])
def test_help_stays_on_stdout(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gazetools", "doctor", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("arguments", ["models", "models --json"], ids=["a table", "a document"])
def test_a_reader_that_leaves_early_is_no_fault(arguments: str) -> None:
    """`gazetools ... | head`: the exit code stays the command's own."""
    command = f"{sys.executable} -m gazetools {arguments} | true; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr.split()[-1] == "0", done.stderr
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
