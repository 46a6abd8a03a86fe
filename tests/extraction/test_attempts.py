"""A video that ends the process of every run is given up by name, the others go on, and a later run tries it again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gazetools
from gazetools.extraction.model.batches import BatchRunner
from gazetools.schemas.errors import VideoError
from gazetools.schemas.extract import ItemResult
from gazetools.store import attempts
from gazetools.store.attempts import MOST_ATTEMPTS, attempted, forget_attempts
from tests.helpers.command_line import run_cli


class _Died(BaseException):
    """Plays the end of the process; with `_end` switched off nothing is tidied up, as after SIGKILL."""


def _die(monkeypatch: pytest.MonkeyPatch, root: Path, *, key: str = "k", finished: int = 0, times: int = 1) -> None:
    for _ in range(times):
        with monkeypatch.context() as patch, pytest.raises(_Died):
            patch.setattr(attempts, "_end", lambda path: None)
            with attempted(root, "v", "whole", key=key, finished=finished):
                raise _Died


def _ends_well(root: Path, *, key: str = "k", finished: int = 0) -> bool:
    try:
        with attempted(root, "v", "whole", key=key, finished=finished):
            return True
    except VideoError as error:
        assert "v was given up: 3 attempts in a row ended with their process" in error.message
        return False


def test_three_deaths_in_a_row_are_given_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _die(monkeypatch, tmp_path, times=MOST_ATTEMPTS)
    assert not _ends_well(tmp_path)
    assert _ends_well(tmp_path), "given up for one run, not for good"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("after", ["an attempt that ended well", "an error", "Ctrl-C", "a report", "a broken journal"])
def test_what_ends_in_order_begins_the_count_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    _die(monkeypatch, tmp_path, times=MOST_ATTEMPTS - 1)
    if after == "an attempt that ended well":
        assert _ends_well(tmp_path)
    elif after == "a report":
        forget_attempts(tmp_path, ["other", "v"])
    elif after == "a broken journal":
        (journal,) = tmp_path.rglob("*.attempts")
        journal.write_text('{"attempts": ')
    else:
        kind = ValueError if after == "an error" else KeyboardInterrupt
        with pytest.raises(kind), attempted(tmp_path, "v", "whole", key="k", finished=0):
            raise kind
    _die(monkeypatch, tmp_path, times=MOST_ATTEMPTS - 1)
    assert _ends_well(tmp_path)


def test_a_new_piece_or_other_options_begin_the_count_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _die(monkeypatch, tmp_path, times=MOST_ATTEMPTS, finished=2)
    assert _ends_well(tmp_path, finished=3)
    _die(monkeypatch, tmp_path, times=MOST_ATTEMPTS)
    assert _ends_well(tmp_path, key="other")


def test_parts_and_videos_are_counted_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _die(monkeypatch, tmp_path, times=MOST_ATTEMPTS)
    for video_id, part in (("v", "v 1/2"), ("w", "whole")):
        with attempted(tmp_path, video_id, part, key="k", finished=0):
            pass
    forget_attempts(tmp_path, ["w"])
    assert not _ends_well(tmp_path)


def _folder(clip: Path, at: Path) -> Path:
    at.mkdir()
    for name in ("a_bad", "b_good"):
        shutil.copy(clip, at / f"{name}.mp4")
    return at


def test_a_run_gives_a_deadly_video_up_and_goes_on(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos, store = _folder(clip, tmp_path / "videos"), tmp_path / "store"

    def run() -> dict[str, ItemResult]:
        report = gazetools.extract(videos, store, model=str(tiny_model), device="cpu", stride=20)
        return {item.video_id: item for item in report.items}

    def die(*_: object) -> None:
        raise _Died

    for _ in range(MOST_ATTEMPTS):
        with monkeypatch.context() as patch, pytest.raises(_Died):
            patch.setattr(attempts, "_end", lambda path: None)
            patch.setattr(BatchRunner, "begin", die)
            run()
    items = run()
    assert items["b_good"].status == "done"
    assert items["a_bad"].status == "failed"
    assert "given up: 3 attempts in a row" in str(items["a_bad"].reason)
    assert {name: item.status for name, item in run().items()} == {"a_bad": "done", "b_good": "complete"}
    assert not (store / ".work").exists()


def test_a_schedulers_sigterm_ends_in_order_and_does_not_count(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_told_to_end(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(BatchRunner, "begin", be_told_to_end)
    done = run_cli("extract", str(clip), "-o", str(tmp_path), "--model", str(tiny_model), "--device", "cpu", "--json")
    assert done.exit_code == 130
    assert "The same command goes on" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "interrupted"
    assert not list(tmp_path.rglob("*.attempts"))
    assert signal.getsignal(signal.SIGTERM) == before


_DEADLY = """
import os, signal, sys
from gazetools.extraction import video as job
whole = job.make_pieces
def deadly(*arguments, **settings):
    if settings["name"] == "a_bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments, **settings)
job.make_pieces = deadly
from gazetools.cli.app import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_video_that_kills_the_command_is_given_up_by_its_fourth_run(
    clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = ["extract", str(_folder(clip, tmp_path / "videos")), "-o", str(tmp_path / "store"), "--stride", "20"]
    arguments += ["--model", str(tiny_model), "--device", "cpu", "--json"]
    runs = [
        subprocess.run([sys.executable, "-c", _DEADLY, *arguments], capture_output=True, text=True, check=False)
        for _ in range(4)
    ]
    assert [run.returncode for run in runs] == [-signal.SIGKILL] * 3 + [1]
    items = {item["video_id"]: item for item in json.loads(runs[-1].stdout)["items"]}
    assert items["b_good"]["status"] == "done"
    assert "given up: 3 attempts in a row" in items["a_bad"]["reason"]
