"""`gazetools pack` and `gazetools validate` as a user calls them: output, JSON, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gazetools.cli.app import main
from gazetools.cli.tables import _frames
from gazetools.schemas.findings import Finding
from gazetools.validation.catalogue import CATALOGUE, Code
from gazetools.validation.checks import CHECKS
from gazetools.validation.subject import Subject
from tests.helpers.stores import make_video
from tests.validation.faults import edit_store, flip_bit, put


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two good videos."""
    make_video(tmp_path / "store", "a")
    make_video(tmp_path / "store", "take/b")
    return tmp_path / "store"


def test_pack_then_validate(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert _run("pack", store, "-o", data, "--normalize", "max", "--missing", "hold", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(i["video_id"], i["status"], i["frames"]) for i in report["items"]] == [
        ("a", "packed", 12),
        ("take/b", "packed", 12),
    ]
    assert _run("pack", store, "-o", data, "--normalize", "max", "--missing", "hold") == 0
    assert "unchanged" in capsys.readouterr().out
    assert _run("validate", data, "--fail-on", "error", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [found["code"] for found in document["findings"]] == ["videos-not-compared"]
    assert document["summary"]["kind"] == "dataset"
    with np.load(data / "take" / "b.npz") as archive:
        assert archive["heatmap"].max(axis=(1, 2)).tolist() == [1.0] * 12


def test_an_option_without_effect_is_said(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rule, said in (("max", True), ("softmax", False)):
        code = _run("pack", store, "-o", tmp_path / rule, "--normalize", rule, "--temperature", "2", "--json")
        shown = capsys.readouterr()
        assert (code, "has no effect" in shown.err, "no effect" in shown.out) == (0, said, False), rule


def test_findings_are_shown_and_give_exit_1(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_store(store, put("rows/heatmap", (slice(3, 7), 0, 0), np.nan), "a")
    assert _run("validate", store) == 1
    out = capsys.readouterr().out
    assert "nan-values" in out
    assert "frames 3-6" in out
    assert "1 errors, 1 warnings" in " ".join(out.split())
    flip_bit(store / "a.h5")
    assert _run("pack", store, "-o", tmp_path / "data", "--json") == 1
    items = json.loads(capsys.readouterr().out)["items"]
    assert [item["status"] for item in items] == ["failed", "packed"]
    assert "sha256" in items[0]["reason"]


USAGE = {
    "no such path": (["validate", "nowhere"], "Cannot open nowhere"),
    "nothing in it": (["validate", "{tmp}"], "holds no heatmaps"),
    "no such config": (["validate", "{store}", "--for-training", "x.yaml"], "x.yaml does not exist"),
    "no such store": (["pack", "nowhere", "-o", "{tmp}/d"], "is not a folder"),
    "bad rule": (["pack", "{store}", "-o", "{tmp}/d", "--normalize", "l2"], "'normalize' = 'l2'"),
    "bad fps": (["pack", "{store}", "-o", "{tmp}/d", "--fps", "0"], "'fps' = 0.0"),
    "unknown id": (["pack", "{store}", "-o", "{tmp}/d", "--video", "take/c"], "Did you mean 'take/b'"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_exit_2(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    arguments, message = USAGE[case]
    (tmp_path / "empty").mkdir()
    filled = [a.format(store=store, tmp=tmp_path / "empty") for a in arguments]
    assert _run(*filled, "--json") == 2
    out = capsys.readouterr().out
    assert message in json.loads(out)["error"]["message"] + str(json.loads(out)["error"]["hint"])
    assert not (tmp_path / "empty" / "d").exists()


@pytest.mark.parametrize("command", ["pack", "validate"])
def test_help_has_an_example(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gazetools", command, "--help"], capture_output=True, text=True, check=True
    )
    assert f"Example: gazetools {command}" in result.stdout


def test_a_config_file_gives_the_options(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack.yaml").write_text("normalize: sum\ndtype: float32\n")
    assert _run("pack", store, "-o", tmp_path / "data", "--config", tmp_path / "pack.yaml") == 0
    options = json.loads((tmp_path / "data" / "manifest.json").read_text())["options"]
    assert (options["normalize"], options["dtype"]) == ("sum", "float32")


@pytest.mark.parametrize(
    ("frames", "text"),
    [(None, ""), ([4], "frames 4"), ([1, 2, 3, 7], "frames 1-3, 7"), ([1, 3, 5, 7, 9], "frames 1, 3, 5, 7, ...")],
)
def test_frames_are_shown_as_runs(frames: list[int] | None, text: str) -> None:
    assert _frames(frames) == text


def test_what_stands_against_training_is_in_every_output(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny config's annotations are not here: the table, the JSON and the page say so, and the exit code is 1."""
    config, page = Path(__file__).parents[2] / "configs" / "tiny.yaml", tmp_path / "report.html"
    monkeypatch.chdir(tmp_path)
    assert _run("validate", store, "--for-training", config, "--html", page, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert [f["code"] for f in document["findings"]] == ["training-data", "videos-not-compared"]
    assert document["summary"]["errors"] == 1
    text = page.read_text(encoding="utf-8")
    assert "training-data" in text
    assert "Cannot read the annotations actions.csv" in text
    assert "Not fit for use" in text


@pytest.fixture
def own_check(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A check as another package would add it: one function in CHECKS, one code in CATALOGUE."""

    def check_length(subject: Subject) -> Iterator[Finding]:
        if subject.row_count and subject.video_id == "a":
            yield subject.finding("own-length", f"It has {subject.row_count} maps.", [0])

    monkeypatch.setitem(CATALOGUE, "own-length", Code("warning", "Too few maps for the study.", "Record more."))
    CHECKS.append(check_length)
    yield
    CHECKS.remove(check_length)


@pytest.mark.usefixtures("own_check")
def test_a_check_from_outside_is_reported_like_the_others(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("validate", store, "--json") == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [found for found in findings if found["code"] != "videos-not-compared"] == [
        {
            "code": "own-length",
            "severity": "warning",
            "video_id": "a",
            "frames": [0],
            "message": "It has 12 maps.",
            "remedy": "Record more.",
        }
    ]
