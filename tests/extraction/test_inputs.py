"""What the user types becomes videos with ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gazetools.extraction.inputs import plan_inputs
from gazetools.schemas.errors import UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("t1/cam01.mp4", "t1/cam02.MP4", "t2/cam01.mp4", "t2/notes.txt", ".cache/x.mp4", "t2/.tmp.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _ids(*inputs: str | Path) -> list[str]:
    return [item.video_id for item in plan_inputs(inputs)]


def test_a_folder_gives_paths_below_it(tree: Path) -> None:
    assert _ids(tree) == ["t1/cam01", "t1/cam02", "t2/cam01"]


def test_a_file_gives_its_stem_whatever_its_suffix(tree: Path) -> None:
    assert _ids(tree / "t1" / "cam01.mp4") == ["cam01"]
    assert _ids(tree / "t2" / "notes.txt") == ["notes"]


def test_a_glob_keeps_what_it_varies_over(tree: Path) -> None:
    assert _ids(f"{tree}/*/cam01.mp4") == ["t1/cam01", "t2/cam01"]


def test_a_list_names_inputs(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "list.txt").write_text("# takes\nt1\n\nt2/cam01.mp4\n")
    monkeypatch.chdir(os.sep)
    with pytest.raises(UsageError, match="the same video id"):  # t1/cam01 as `cam01`, like t2/cam01.mp4
        plan_inputs([f"@{tree / 'list.txt'}"])
    (tree / "list.txt").write_text("# takes\nt1\n\nt2/notes.txt\n")
    assert _ids(f"@{tree / 'list.txt'}") == ["cam01", "cam02", "notes"]


def test_one_file_named_twice_is_one_video(tree: Path) -> None:
    assert _ids(tree / "t1" / "cam01.mp4", tree / "t1" / ".." / "t1" / "cam01.mp4") == ["cam01"]


WRONG = [
    (["{}/none.mp4"], "does not exist"),
    (["{}/empty"], "has no videos"),
    (["{}/t*/none.mp4"], "matches no file"),
    (["@{}/none.txt"], "Cannot read the list"),
    (["@{}/empty.txt"], "names no input"),
    (["{}/t1/cam01.mp4", "{}/t2/cam01.mp4"], "the same video id"),
    ([], "No input video"),
]


@pytest.mark.parametrize(("inputs", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_inputs_are_named(tree: Path, inputs: list[str], words: str) -> None:
    (tree / "empty").mkdir()
    (tree / "empty.txt").touch()
    with pytest.raises(UsageError, match=words):
        plan_inputs([text.format(tree) for text in inputs])


def test_the_reports_name_is_reserved(tmp_path: Path) -> None:
    (tmp_path / "extract_report.mp4").touch()
    with pytest.raises(UsageError, match="reserved"):
        plan_inputs([tmp_path])
