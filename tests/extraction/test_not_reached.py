"""Inputs that a run did not come to are told from inputs that failed, in the report, the table and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gazetools import extract
from gazetools.cli import tables
from gazetools.progress import NoProgress
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.extract import ExtractReport, ItemResult
from tests.helpers.clips import write_clips

FRAMES = {"a": 12, "b": 12, "c": 12}


class _EndsAt(NoProgress):
    """Raises an error when the first video is done."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.said: list[str] = []

    def advance(self, task: str, steps: int = 1) -> None:
        if task == "videos":
            raise self.error

    def say(self, message: str) -> None:
        self.said.append(message)


def _statuses(store: Path) -> dict[str, str]:
    return {
        item["video_id"]: item["status"] for item in json.loads((store / "extract_report.json").read_text())["items"]
    }


ENDS: dict[str, Callable[[], BaseException]] = {
    "Ctrl-C": KeyboardInterrupt,
    "an internal error": lambda: RuntimeError("a fault of ours"),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_a_run_did_not_come_to_has_not_failed(tmp_path: Path, case: str) -> None:
    videos, store, error = write_clips(tmp_path / "videos", FRAMES), tmp_path / "store", ENDS[case]()
    progress = _EndsAt(error)
    with pytest.raises(type(error)):
        extract(videos, store, model="centre-prior", device="cpu", progress=progress)
    found = _statuses(store)
    assert found["a"] == "done" and set(found.values()) == {"done", "not_reached"}
    waiting = sum(status == "not_reached" for status in found.values())
    assert f"{3 - waiting} of 3 videos done, {waiting} not reached." in progress.said
    again = extract(videos, store, model="centre-prior", device="cpu")
    assert again.exit_code == 0 and not again.not_reached


def test_the_video_at_which_a_fault_came_about_has_failed_and_the_others_were_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise FaultError("No space left while writing a.h5 (No space left on device).")

    videos, store = write_clips(tmp_path / "videos", FRAMES), tmp_path / "store"
    monkeypatch.setattr("gazetools.extraction.worker.Worker.start", full)
    with pytest.raises(FaultError):
        extract(videos, store, model="centre-prior", device="cpu")
    assert _statuses(store) == {"a": "failed", "b": "not_reached", "c": "not_reached"}


def test_a_run_that_never_began_reached_nothing_and_says_only_why(tmp_path: Path) -> None:
    videos, store = write_clips(tmp_path / "videos", FRAMES), tmp_path / "store"
    progress = _EndsAt(AssertionError())
    with pytest.raises(UsageError, match="no model named 'gazele_tiny'"):
        extract(videos, store, model="gazele_tiny", device="cpu", progress=progress)
    assert set(_statuses(store).values()) == {"not_reached"}
    assert not [text for text in progress.said if "not reached" in text]


def test_reports_count_and_show_both_apart(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    items = [ItemResult(video_id=name, path="x", status=name) for name in ("done", "failed", "not_reached")]  # type: ignore[arg-type]
    report = ExtractReport(tool_version="0", options={}, items=items)
    assert [item.video_id for item in report.failed] == ["failed"]
    assert [item.video_id for item in report.not_reached] == ["not_reached"]
    assert report.exit_code == 1
    assert ExtractReport(tool_version="0", options={}, items=items[2:]).exit_code == 1
    Console(width=200).print(tables.extracted_videos(report, Path("store")))
    assert "not reached" in capsys.readouterr().out
