"""Under --json, stdout holds one document, whatever libraries, native code and child processes print."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

NOISES = {
    "print": "print('noise', flush=True)",
    "sys.stdout of before": "OUT.write('noise\\n'); OUT.flush()",
    "unflushed": "OUT.write('noise\\n')",
    "a logger made before": "LOGGER.warning('noise')",
    "native code": "import os; os.write(1, b'noise\\n')",
    "a child process": "import subprocess; subprocess.run(['echo', 'noise'])",
    "a thread": "import threading; t = threading.Thread(target=print, args=('noise',)); t.start(); t.join()",
}
_PROGRAM = """
import logging, sys
OUT = sys.stdout
LOGGER = logging.getLogger("loud")
LOGGER.addHandler(logging.StreamHandler(OUT))
import gazetools.doctor
from gazetools.cli import app
before = gazetools.doctor.{function}
def loud(*args, **kwargs):
    {noise}
    {end}
gazetools.doctor.{function} = loud
app.main(["doctor", *sys.argv[1:]])
"""


def _run(noise: str, *arguments: str, end: str = "return before(*args, **kwargs)") -> tuple[int, str, str]:
    program = textwrap.dedent(_PROGRAM).format(function="examine", noise=NOISES[noise], end=end)
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("noise", NOISES)
def test_noise_goes_to_stderr(noise: str) -> None:
    code, out, err = _run(noise, "--json")
    assert code in (0, 1, 3), err
    assert isinstance(json.loads(out), dict)
    assert out.count("\n") == 1
    assert "noise" in err
    assert "noise" not in out


def test_an_error_is_the_one_document_too() -> None:
    code, out, err = _run("print", "--json", end="raise RuntimeError('broken')")
    assert code == 4
    assert json.loads(out)["error"]["code"] == "internal"
    assert "noise" in err


def test_without_json_nothing_is_moved() -> None:
    _, out, _ = _run("print")
    assert out.startswith("noise\n")


@pytest.mark.parametrize("arguments", [["--help", "--json"], ["--json", "-h"]])
def test_help_stays_on_stdout(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gazetools", "doctor", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_reader_that_leaves_early_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m gazetools doctor --json | true; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr.split()[-1] in {"0", "1", "3"}, done.stderr
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
