"""The command line itself: exit codes, one JSON document, errors that help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gazetools.cli import app as cli_app
from gazetools.cli.common import TERMINAL
from tests.helpers.command_line import run_cli


def test_version() -> None:
    assert run_cli("--version").stdout.startswith("gazetools ")


@pytest.mark.parametrize("command", list(cli_app.COMMANDS))
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = run_cli(command, "--help")
    assert done.exit_code == 0
    assert "Example: gazetools" in " ".join(done.stdout.split())


WRONG = [
    (["extrct"], "No such command"),
    (["extract", "clip.mp4"], "Missing option"),
    (["extract", "clip.mp4", "-o", "s", "--sride", "2"], "No such option"),
    (["extract", "clip.mp4", "-o", "s", "--stride", "two"], "two"),
    (["extract", "none.mp4", "-o", "s"], "none.mp4 does not exist"),
    (["extract", "none.mp4", "-o", "s", "--fps", "5", "--stride", "2"], "exclude each other"),
    (["extract", "none.mp4", "-o", "s", "--heads", "boxes.csv"], "file:PATH"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_usage_is_2_with_one_json_document(arguments: list[str], words: str) -> None:
    done = run_cli(*arguments, "--json")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert list(document) == ["error"]
    assert words in document["error"]["message"]
    assert document["error"]["exit_code"] == 2
    assert "Traceback" not in done.stderr


def test_nothing_on_stdout_but_json_and_talk_on_stderr() -> None:
    done = run_cli("extract", "none.mp4", "-o", "s")
    assert done.stdout == ""
    assert done.stderr.startswith("error: The input none.mp4 does not exist.")


RAISED = [
    (KeyboardInterrupt(), 130, "interrupted"),
    (ImportError("libGL.so.1: cannot open shared object file", name="cv2"), 3, "environment"),
    (ImportError("No module named 'decord'", name="decord"), 3, "environment"),
    (RuntimeError("boom"), 4, "internal"),
]


@pytest.mark.parametrize(("error", "code", "name"), RAISED, ids=[type(e).__name__ + str(c) for e, c, _ in RAISED])
def test_whatever_is_raised_becomes_its_exit_code(
    error: BaseException,
    code: int,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli_app, "app", fail)
    monkeypatch.setattr(TERMINAL, "json", True)
    assert cli_app._run([]) == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == name
    if isinstance(error, ImportError) and error.name == "cv2":
        assert "opencv-python-headless" in shown.err


STOPPED = {
    # command: (what its work is done by, its arguments)
    "extract": ("gazetools.extraction.run.plan", ("CLIP", "-o", "OUT", "--model", "centre-prior")),
    "validate": ("gazetools.validation.validate", ("FOLDER",)),
    "pack": ("gazetools.packing.pack", ("FOLDER", "-o", "OUT")),
    "convert": ("gazetools.packing.convert", ("FOLDER", "-o", "OUT", "--layout", "npz")),
    "groundtruth": ("gazetools.groundtruth.groundtruth", ("FOLDER", "-o", "OUT")),
    "evaluate": ("gazetools.evaluation.evaluate_models", ("FOLDER", "--truth", "FOLDER")),
}


@pytest.mark.parametrize("command", STOPPED)
def test_a_schedulers_signal_ends_every_command_in_order(
    command: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM is Ctrl-C: code 130 and one document, not a process that is gone without a word."""
    work, arguments = STOPPED[command]
    before = signal.getsignal(signal.SIGTERM)

    def ended(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr(work, ended)
    places = {"CLIP": str(clip), "FOLDER": str(tmp_path), "OUT": str(tmp_path / "out")}
    done = run_cli(command, *(places.get(word, word) for word in arguments), "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (130, "interrupted"), done.stderr
    assert signal.getsignal(signal.SIGTERM) is before


def test_options_from_a_file_and_the_command_line_wins(tmp_path: Path, clip: Path) -> None:
    config = tmp_path / "extract.yaml"
    config.write_text("stride: 4\nheads-first-frame: 3\n")
    listing = run_cli("extract", str(clip), "-o", "s", "--config", str(config), "--dry-run", "--json")
    assert json.loads(listing.stdout)["videos"][0]["video_id"] == "clip"
    config.write_text("strde: 4\n")
    done = run_cli("extract", str(clip), "-o", "s", "--config", str(config), "--json")
    assert done.exit_code == 2
    assert "Did you mean 'stride'" in json.loads(done.stdout)["error"]["message"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m gazetools --help | head -c 1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_the_schema_of_the_training_config_needs_no_config() -> None:
    done = run_cli("train", "--schema", "--json")
    assert done.exit_code == 0, done.stderr
    schema = json.loads(done.stdout)
    assert {"folder", "experiment", "model_kwargs"} <= set(schema["properties"])
    assert json.loads(run_cli("train", "--json").stdout)["error"]["message"] == "Missing option '--config'."
