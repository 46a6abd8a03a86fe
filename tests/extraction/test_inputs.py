"""What the user types becomes videos with ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gazetools.extraction.inputs import plan_inputs
from gazetools.io.find_files import SearchNotes
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


# file -> words of the reason; each costs itself, never the folder
BAD_NAMES = [
    ("extract_report.mp4", "reserved"),
    ("manifest.mov", "reserved"),
    ("Groundtruth_Report.MP4", "reserved"),
    ("a\nb.mp4", "control"),
    ("back\\slash.mp4", "backslash"),
    ("a\u200bb.mp4", "invisible"),
    ("x" * 201 + ".mp4", "longer than 200 bytes"),
    (os.fsdecode(b"latin-\xfc.mp4"), "control"),
]


@pytest.mark.parametrize(("name", "words"), BAD_NAMES, ids=[repr(name[:20]) for name, _ in BAD_NAMES])
def test_a_name_that_cannot_be_an_id_costs_itself(tmp_path: Path, name: str, words: str) -> None:
    for one in ("good.mp4", name, "sub/good.mp4"):
        (tmp_path / one).parent.mkdir(exist_ok=True)
        (tmp_path / one).touch()
    good, nested, bad = plan_inputs([tmp_path])
    assert (good.video_id, good.problem, nested.video_id, nested.problem) == ("good", None, "sub/good", None)
    assert words in str(bad.problem)
    bad.video_id.encode()  # can be written into the report
    assert "Rename" in str(bad.problem)


def test_names_with_a_dash_and_those_kept_apart_are_ids(tmp_path: Path) -> None:
    for name in ("-abc.mp4", "index.mp4", "README.mp4", "sub/manifest.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    items = plan_inputs([tmp_path])
    assert [item.video_id for item in items] == ["-abc", "README", "index", "sub/manifest"]
    assert all(item.problem is None for item in items)


def test_a_file_of_two_inputs_is_one_video_and_two_links_are_two(tree: Path) -> None:
    (tree / "t3").symlink_to("t1")
    notes = SearchNotes()
    items = plan_inputs([tree, tree / "t2" / "cam01.mp4"], notes=notes)
    assert [item.video_id for item in items] == ["cam01", "t1/cam01", "t1/cam02", "t3/cam01", "t3/cam02"]
    text = "; ".join(notes.lines())
    assert "t1/cam01 and t3/cam01 are links to one file" in text
    assert "it is cam01, not t2/cam01" in text


LISTS = [
    ("UTF-16, as Windows writes it", "a.mp4\r\nb.mp4\r\n".encode("utf-16"), ["a", "b"]),
    ("UTF-8 with a mark", b"\xef\xbb\xbfa.mp4\n", ["a"]),
    ("quotation marks", b"\"a.mp4\"\n'b.mp4'\n", ["a", "b"]),
    ("a quoted path seen from the list", b'"c d.mp4"\n', ["c d"]),
    ("names that are no UTF-8", b"a.mp4\ncaf\xe9.mp4\n", ["a", "caf\\udce9"]),
]


@pytest.mark.parametrize(("data", "ids"), [row[1:] for row in LISTS], ids=[row[0] for row in LISTS])
def test_lists_as_other_programs_write_them(tmp_path: Path, data: bytes, ids: list[str]) -> None:
    for name in (b"a.mp4", b"b.mp4", b"c d.mp4", b"caf\xe9.mp4"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    (tmp_path / "list.txt").write_bytes(data)
    items = plan_inputs([f"@{tmp_path / 'list.txt'}"])
    assert [item.video_id for item in items] == ids
    assert [item.video_id for item in items if item.problem] == [one for one in ids if "udc" in one]


@pytest.mark.parametrize("data", [bytes(range(256)) * 20, b"x" * 10_000, b"\x00\x00\x00\x18ftypmp42"])
def test_what_is_no_list_is_said_in_few_words(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(UsageError, match="is no list of paths") as caught:
        plan_inputs([f"@{tmp_path / 'list.txt'}"])
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
