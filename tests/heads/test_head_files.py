"""Head-box files: three formats in, checked boxes out, every refusal names file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.heads.files import BOX_FORMATS, BoxFile, BoxFormat, BoxRow, read_heads, register
from gazetools.heads.spec import heads_for_video, open_heads, track_roles
from gazetools.schemas.errors import HeadsError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.heads import BoxFileOptions
from gazetools.store import open_store
from tests.helpers.command_line import run_cli

HEADER = "frame,track_id,xmin,ymin,xmax,ymax\n"


def _file(folder: Path, text: str | bytes, name: str = "boxes.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_our_csv_is_sorted_and_tolerates_order_spaces_extras_and_bom(tmp_path: Path) -> None:
    text = "\ufefftrack_id, frame ,xmin,ymin,xmax,ymax,score,note\n2,1, 10,20,30,40,0.9,hi\n\n1,1,1,2,3,4,,\n"
    text += "1,0,5,6,7,8,,\n"
    table = read_heads(_file(tmp_path, text))
    assert table.frame.tolist() == [0, 1, 1]
    assert table.track_id.tolist() == [1, 1, 2]
    assert table.box_xyxy[2].tolist() == [10, 20, 30, 40]
    assert table.line.tolist() == [5, 4, 2]


def test_attention_target_files_count_rows_from_the_first_frame(tmp_path: Path) -> None:
    path = _file(tmp_path, "00012.jpg,10,20,30,40\n00013.jpg,11,21,31,41\n", "person1.txt")
    assert read_heads(path).frame.tolist() == [0, 1]
    table = read_heads(path, BoxFileOptions(heads_first_frame=12))
    assert table.frame.tolist() == [12, 13]
    assert table.box_xyxy[0].tolist() == [10, 20, 30, 40]


def test_motchallenge_counts_from_one_and_has_sizes(tmp_path: Path) -> None:
    table = read_heads(_file(tmp_path, "1,3,10,20,30,40,1,-1,-1,-1\n2,3,11,20,30,40,1,-1,-1,-1\n", "gt.txt"))
    assert table.frame.tolist() == [0, 1]
    assert table.box_xyxy[0].tolist() == [10, 20, 40, 60]


def test_another_format_is_one_object_in_the_table(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered from outside, used through the command line; its suffix is found in a folder."""

    def rows(file: BoxFile) -> list[BoxRow]:
        found = []
        for line, (text,) in file.lines[1:]:
            frame, *box = text.split(";")
            x, y, side = (file.number(line, "box", cell) for cell in box)
            found.append((file.integer(line, "frame", frame), 5, x, y, x + side, y + side, line))
        return found

    toy = BoxFormat(recognise=lambda file: file.first_cells == ["#toy"], rows=rows, suffixes=(".toy",))
    monkeypatch.setattr("gazetools.heads.files.BOX_FORMATS", dict(BOX_FORMATS))
    register("toy", toy)
    with pytest.raises(ValueError, match="'csv' is taken"):
        register("csv", toy)
    _file(tmp_path, "#toy\n0;10;8;16\n20;12;8;16\n", "heads/clip.toy")
    common = ["--heads", f"file:{tmp_path / 'heads'}", "--model", "centre-prior", "--stride", "20"]
    assert run_cli("extract", str(clip), "-o", str(tmp_path / "store"), *common).exit_code == 0
    with open_store(tmp_path / "store" / "clip.h5") as store:
        assert store.rows().frame.tolist() == [0, 20]
        assert store.tracks == {5: "other"}
    _file(tmp_path, "#toy\n0;10;8;wide\n", "heads/clip.toy")
    refused = run_cli("extract", str(clip), "-o", str(tmp_path / "other"), *common)
    assert (refused.exit_code, "line 2: box is 'wide', not a number" in refused.stderr) == (2, True), refused.stderr


BROKEN = [
    ("", "is empty"),
    ("frame,track_id,xmin,ymin,xmax\n0,1,1,2,3\n", "'ymax' is missing"),
    ("frame,id,bbox\n0,1,5\n", "'xmin' is missing"),
    ("track_id,xmin,ymin,xmax,ymax\n1,1,2,3,4\n", "'frame' is missing"),
    ("frame,track_id,x_minimum,ymin,xmax,ymax\n0,1,1,2,3,4\n", "Is 'x_minimum' meant"),
    (HEADER + "0,1,1,2,3\n", "line 2: 5 cells"),
    (HEADER + "0,1,1,2,three,4\n", "line 2: xmax is 'three'"),
    (HEADER + "0,1,1,2,nan,4\n", "not a number"),
    (HEADER + "0.5,1,1,2,3,4\n", "frame is '0.5', not a whole number"),
    (HEADER + "0,1,1,2,3,4\n-1,1,1,2,3,4\n", "line 3.*negative frame"),
    (HEADER + "0,1,30,2,3,4\n", "line 2.*swapped"),
    (HEADER + "0,1,1,2,3,4\n0,1,5,6,7,8\n", "lines 2 and 3: two boxes of track 1"),
    (b"\xff\xfe\x00binary", "not a CSV text file"),
    ("0,1,10,20,30,40,1\n", "MOTChallenge counts frames from 1"),
    ("frame,track_id,xmin,ymin,xmax,ymax,role\n0,1,1,2,3,4,cook\n", "role 'cook'"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_broken_files_are_refused_by_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(HeadsError, match=words) as caught:
        read_heads(_file(tmp_path, text))
    assert "boxes.csv" in str(caught.value)


def test_boxes_at_the_edge_are_cut_and_counted(tmp_path: Path) -> None:
    table = read_heads(_file(tmp_path, HEADER + "0,1,-3,0,20,30\n1,1,80,40,101,52\n2,1,5,5,20,20\n"))
    cut = table.normalised(width=100, height=50, frame_count=3)
    assert cut.clipped == 2
    np.testing.assert_allclose(cut.box_xyxy, [[0, 0, 0.2, 0.6], [0.8, 0.8, 1, 1], [0.05, 0.1, 0.2, 0.4]])


MISFITS = [
    ("0,1,150,5,190,20", "lies outside the 100x50 video"),
    ("0,1,10,5,140,20", "lies outside"),  # far over the edge: boxes of a larger picture
    ("0,1,102,5,108,20", "lies outside"),  # near the edge, but nothing is left after cutting
    ("9,1,10,5,40,20", "frame 9 does not exist; the video has 3 decoded frames"),
    ("0,1,0.1,0.1,0.4,0.5", "seem to be relative, not pixels"),
]


@pytest.mark.parametrize(("row", "words"), MISFITS, ids=[words for _, words in MISFITS])
def test_boxes_that_do_not_fit_the_video_are_refused(tmp_path: Path, row: str, words: str) -> None:
    table = read_heads(_file(tmp_path, HEADER + row + "\n"))
    with pytest.raises(HeadsError, match=words):
        table.normalised(width=100, height=50, frame_count=3)


PEOPLE = [
    ("all", [(0, 1), (0, 2), (1, 1)]),
    ("largest", [(0, 2), (1, 1)]),
    ("1", [(0, 1), (1, 1)]),
    ("2,1", [(0, 1), (0, 2), (1, 1)]),
    ("wearer", [(0, 2)]),
]


@pytest.mark.parametrize(("people", "kept"), PEOPLE, ids=[people for people, _ in PEOPLE])
def test_people_are_chosen(tmp_path: Path, people: str, kept: list[tuple[int, int]]) -> None:
    text = HEADER.strip() + ",role\n0,1,10,10,20,20,other\n0,2,10,10,40,40,wearer\n1,1,10,10,20,20,\n"
    table = read_heads(_file(tmp_path, text)).choose(people)
    assert list(zip(table.frame.tolist(), table.track_id.tolist(), strict=True)) == kept


@pytest.mark.parametrize(("people", "words"), [("3", r"tracks \[3\]; the file has \[1\]"), ("wearer", "role wearer")])
def test_people_who_are_not_there_are_an_error(tmp_path: Path, people: str, words: str) -> None:
    with pytest.raises(HeadsError, match=words):
        read_heads(_file(tmp_path, HEADER + "0,1,1,2,3,4\n")).choose(people)


def test_a_folder_is_matched_by_video_id(tmp_path: Path) -> None:
    _file(tmp_path, HEADER + "0,1,10,10,20,20\n", "take/cam01.csv")
    _file(tmp_path, HEADER + "0,4,10,10,20,20\n", "take/cam02.heads.csv")
    options = ExtractOptions(heads=f"file:{tmp_path}")
    files = open_heads(options, ["take/cam01", "take/cam02", "take/cam03"])
    assert files is not None
    assert set(files) == {"take/cam01", "take/cam02"}
    size = {"width": 100, "height": 50, "frame_count": 5}
    assert track_roles(heads_for_video(options, files, "take/cam02", **size)) == {4: "other"}
    with pytest.raises(HeadsError, match=r"No head-box file for video 'take/cam03'"):
        heads_for_video(options, files, "take/cam03", **size)


def test_specs_that_can_not_work_fail_early(tmp_path: Path) -> None:
    one = _file(tmp_path, HEADER + "0,1,10,10,20,20\n")
    with pytest.raises(UsageError, match="one file, but there are 2 videos"):
        open_heads(ExtractOptions(heads=f"file:{one}"), ["a", "b"])
    with pytest.raises(UsageError, match="do not exist"):
        open_heads(ExtractOptions(heads=f"file:{tmp_path / 'none'}"), ["a"])
    with pytest.raises(UsageError, match="no box file for any of the 1 videos"):
        open_heads(ExtractOptions(heads=f"file:{tmp_path}"), ["elsewhere"])
    with pytest.raises(ValueError, match="file:PATH or whole"):
        ExtractOptions(heads="boxes.csv")


def test_whole_has_one_track_and_no_table() -> None:
    options = ExtractOptions(heads="whole")
    assert open_heads(options, ["a"]) is None
    source = heads_for_video(options, None, "a", width=10, height=10, frame_count=1)
    assert source.table is None
    assert track_roles(source) == {0: "other"}
    with pytest.raises(UsageError, match="needs boxes"):
        heads_for_video(ExtractOptions(people="1"), None, "a", width=10, height=10, frame_count=1)
