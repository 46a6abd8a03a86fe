"""Box files of other tools: what is read alike, what stops with both readings, what is named and refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gazetools.heads.files import BOX_FORMATS, BoxVideo, read_heads
from gazetools.heads.table import HeadTable
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.heads import HEADS_FORMATS, BoxFileOptions
from tests.helpers.command_line import run_cli

OWN = "frame,track_id,xmin,ymin,xmax,ymax"
TIMES = np.arange(12) / 24
VIDEO = BoxVideo(width=480, height=270, frame_count=12, pts_seconds=TIMES)
SIZE = {"width": 480, "height": 270, "frame_count": 12}
LEFT = [(frame, 1, 138.25 + 2 * frame, 17.75, 188.0 + 2 * frame, 68.75) for frame in range(12)]
"""A head in the upper left, whose corners could be taken for corner and size."""
RIGHT = [(frame, 2, 300.5 + frame, 140.25, 350.5 + frame, 200.5) for frame in range(12)]
"""A head whose corners can't be: 300 + 350 pixels are more than the video has."""
BOTH = sorted(LEFT + RIGHT)
Row = tuple[int, int, float, float, float, float]


def _write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _lines(rows: list[Row], template: str, header: str = "", *, count_from: int = 0) -> str:
    """`template` with f, t, x1 .. y2, w, h, cx, cy of each row, in pixels, and X1 .. in 0..1."""
    lines = [header] if header else []
    for frame, track, x1, y1, x2, y2 in rows:
        names: dict[str, float] = {"f": frame + count_from, "t": track, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
        names |= {"w": x2 - x1, "h": y2 - y1, "cx": (x1 + x2) / 2, "cy": (y1 + y2) / 2}
        names |= {"X1": x1 / 480, "Y1": y1 / 270, "X2": x2 / 480, "Y2": y2 / 270}
        names |= {"P1": x1 / 4.8, "Q1": y1 / 2.7, "P2": x2 / 4.8, "Q2": y2 / 2.7}
        lines.append(template.format(**names))
    return "\n".join(lines) + "\n"


def _same(table: HeadTable, rows: list[Row]) -> None:
    assert table.frame.tolist() == [row[0] for row in rows]
    assert table.track_id.tolist() == [row[1] for row in rows]
    shown = table.normalised(**SIZE).box_xyxy * [480, 270, 480, 270]
    np.testing.assert_allclose(shown, [row[2:] for row in rows], atol=1e-3)


READ: list[tuple[str, str | bytes, str]] = [
    ("corners in another order and case", _lines(BOTH, "{t},{y2},{y1},{x2},{x1},{f}", "ID,Y2,Y1,X2,X1,Frame"), ""),
    ("open images' order", _lines(BOTH, "{f},{t},{x1},{x2},{y1},{y2}", "frame_id,person_id,XMin,XMax,YMin,YMax"), ""),
    ("x0 is left of x1", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", "frame,track,x0,y0,x1,y1"), ""),
    ("corner and size", _lines(BOTH, "{f},{t},{x1},{y1},{w},{h},0.9", "frame,id,left,top,width,height,conf"), ""),
    (
        "motchallenge's names, frames from 1 to the last",
        _lines(BOTH, "{f},{t},{x1},{y1},{w},{h}", "frame,id,bb_left,bb_top,bb_width,bb_height", count_from=1),
        "frames from 1",
    ),
    ("centre and size", _lines(BOTH, "{f},{t},{cx},{cy},{w},{h}", "frame,track_id,x_center,y_center,w,h"), ""),
    ("spelled with blanks", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", "Frame,Track ID,X Min,Y Min,X Max,Y Max"), ""),
    ("cvat's corners", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", "frame,track_id,xtl,ytl,xbr,ybr"), ""),
    ("a head's columns", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", "frame,id,head_x1,head_y1,head_x2,head_y2"), ""),
    ("percent by name", _lines(BOTH, "{f},{t},{P1},{Q1},{P2},{Q2}", "frame,id,x1_pct,y1_pct,x2_pct,y2_pct"), "percent"),
    (
        "0..1 by name",
        _lines(BOTH, "{f},{t},{X1},{Y1},{X2},{Y2}", "frame,id,xmin_norm,ymin_norm,xmax_norm,ymax_norm"),
        "",
    ),
    ("motchallenge's results", _lines(BOTH, "{f},{t},{x1},{y1},{w},{h},1,-1,-1,-1", count_from=1), "MOTChallenge"),
    ("with spaces", _lines(BOTH, "{f} {t} {x1} {y1} {w} {h} 0.87 -1 -1 -1", count_from=1), "MOTChallenge"),
    ("corners in motchallenge's place", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2},0.9", count_from=1), "corners"),
    ("so even with its ending", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2},0.9,-1,-1,-1", count_from=1), "corners"),
    ("numbers alone, from 0", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}"), "corners"),
    ("numbers alone, sizes", _lines(BOTH, "{f},{t},{x1},{y1},{w},{h}"), "size"),
    ("semicolons", _lines(BOTH, "{f};{t};{x1};{y1};{x2};{y2}", "frame;track_id;xmin;ymin;xmax;ymax"), ""),
    ("tabs", _lines(BOTH, "{f}\t{t}\t{x1}\t{y1}\t{x2}\t{y2}", "frame\ttrack_id\txmin\tymin\txmax\tymax"), ""),
    (
        "decimal commas below Excel's line",
        "sep=;\r\n"
        + _lines(BOTH, "{f};{t};{x1};{y1};{x2};{y2}", "frame;track_id;xmin;ymin;xmax;ymax").replace(".", ","),
        "",
    ),
    (
        "Excel's Unicode text",
        _lines(BOTH, "{f}\t{t}\t{x1}\t{y1}\t{x2}\t{y2}", "frame\ttrack_id\txmin\tymin\txmax\tymax").encode("utf-16"),
        "",
    ),
    (
        "UTF-16 without a mark",
        _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", OWN).encode("utf-16-be"),
        "",
    ),
    (
        "comments above and amid",
        "# made by hand\n" + OWN + "\n# begin\n" + _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}"),
        "",
    ),
    ("comments with other separators", "# a; b; c\n" + _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", OWN), ""),
    ("a header behind a hash", "# exported\n" + _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", f"# {OWN}"), ""),
    ("separators at the ends of rows", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2},", OWN), ""),
    ("a separator at the end of the header", _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", OWN + ",,"), ""),
    (
        "without header, separators at the ends",
        _lines(BOTH, "{f} {t} {x1} {y1} {w} {h} 1 -1 -1 -1 ", count_from=1),
        "MOT",
    ),
    (
        "rows of people who are not there, empty",
        _lines(BOTH, "{f},{t},{x1},{y1},{x2},{y2}", OWN) + "3,7,,,,\n4,7,nan,NaN,,\n",
        "",
    ),
    (
        "rows of people who are not there, zeros and -1",
        _lines(BOTH, "{f},{t},{x1},{y1},{w},{h}", "frame,id,left,top,width,height")
        + "".join(f"{f},7,0,0,0,0\n{f},8,-1,-1,-1,-1\n" for f in range(12)),
        "",
    ),
    (
        "pictures' names and ids",
        _lines(BOTH, "a/f_{f:04d}.jpg,{t},{x1},{y1},{x2},{y2}", "image,id,x1,y1,x2,y2"),
        "picture name",
    ),
    (
        "pictures' names from 1 and ids",
        _lines(BOTH, "{f:06d}.png,{t},{x1},{y1},{x2},{y2}", "filename,id,x1,y1,x2,y2", count_from=1),
        "frames from 1",
    ),
    ("pictures' names as frames", _lines(BOTH, "f_{f:04d}.jpg,{t},{x1},{y1},{x2},{y2}", OWN), "picture name"),
    (
        "heads among bodies",
        _lines(BOTH, "{f},{t},Head,{x1},{y1},{x2},{y2}", "frame,track_id,class,xmin,ymin,xmax,ymax")
        + _lines(BOTH, "{f},{t},body,{x1},{y1},{x2},269"),
        "",
    ),
    ("one class", _lines(BOTH, "{f},{t},7,{x1},{y1},{x2},{y2}", "frame,track_id,class,xmin,ymin,xmax,ymax"), ""),
    ("one video", _lines(BOTH, "v.mp4,{f},{t},{x1},{y1},{x2},{y2}", "video," + OWN), ""),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_the_same_boxes_in_other_clothes(tmp_path: Path, text: str | bytes, says: str) -> None:
    table = read_heads(_write(tmp_path / "boxes.csv", text), video=VIDEO)
    _same(table, BOTH)
    assert says in table.reading
    assert table.form == "csv" or table.reading, "another format is said"


CLOCKS = [
    ("seconds", "time", lambda seconds: f"{seconds:.3f}", 0.0),
    ("whole milliseconds", "timestamp_ms", lambda seconds: f"{seconds * 1000:.0f}", 0.0),
    ("a clock", "timestamp", lambda seconds: f"00:00:{seconds:06.3f}", 0.0),
    ("from the first frame of a video that begins later", "pts_time", lambda seconds: f"{seconds:.4f}", 1.4),
    ("the container's times", "pts_time", lambda seconds: f"{seconds + 1.4:.4f}", 1.4),
]


@pytest.mark.parametrize(("name", "written", "begin"), [row[1:] for row in CLOCKS], ids=[row[0] for row in CLOCKS])
def test_times_are_those_of_frames(tmp_path: Path, name: str, written: Callable[[float], str], begin: float) -> None:
    """At 24 frames per second a frame's time has no end in decimals."""
    video = BoxVideo(**{**VIDEO, "pts_seconds": TIMES + begin})
    lines = [f"{written(frame / 24)},{track},{','.join(map(str, box))}" for frame, track, *box in BOTH]
    path = _write(tmp_path / "boxes.csv", "\n".join([f"{name},id,x1,y1,x2,y2", *lines]))
    table = read_heads(path, video=video)
    _same(table, BOTH)
    assert "times" in table.reading
    assert len(read_heads(path, settle=False)) == len(BOTH), "readable without the video, to estimate space"


def test_pictures_names_with_a_header_and_those_of_video_attention_target(tmp_path: Path) -> None:
    rows = [(frame, 0, *box) for frame, _, *box in LEFT]
    named = _lines(LEFT, "clip/{f:06d}.jpg,{x1},{y1},{x2},{y2}", "IMAGE_NAME,left,top,right,bottom", count_from=1)
    _same(read_heads(_write(tmp_path / "a.csv", named), video=VIDEO), rows)
    gaze = _lines(LEFT, "{f:08d}.jpg,{x1},{y1},{x2},{y2},-1,-1")
    _same(read_heads(_write(tmp_path / "b.txt", gaze), video=VIDEO), rows)


OPEN: list[tuple[str, str, list[str], dict[str, str]]] = [
    (
        "corners or motchallenge",
        _lines(LEFT, "{f},{t},{x1},{y1},{x2},{y2},0.9", count_from=1),
        ["--heads-format mot", "138.25,17.75 to 326.25,86.5", "--heads-format csv-xyxy", "138.25,17.75 to 188,68.75"],
        {"heads_format": "csv-xyxy"},
    ),
    (
        "x and y of corner or centre",
        _lines(LEFT, "{f},{t},{cx},{cy},{w},{h}", "frame,id,x,y,w,h"),
        ["--heads-format csv-xywh", "--heads-format csv-cxcywh", "138.25,17.75 to 188,68.75"],
        {"heads_format": "csv-cxcywh"},
    ),
    (
        "numbers for names, with gaps",
        _lines(LEFT[::3], "{f},{x1},{y1},{x2},{y2}"),
        ["Line 2", "--heads-format atd: frame 1 ", "--heads-format csv-xyxy: frame 3 "],
        {"heads_format": "csv-xyxy"},
    ),
    (
        "frames from 0 or 1",
        _lines(LEFT[:9], "{f},{t},{x1},{y1},{x2},{y2}", "frame,id,x1,y1,x2,y2", count_from=1),
        ["--heads-count-from 0: frame 1", "--heads-count-from 1: frame 0"],
        {"heads_count_from": "1"},
    ),
    (
        "percent or pixels",
        _lines(LEFT, "{f},{t},{P1},{Q1},{P2},{Q2}", "frame,id,x1,y1,x2,y2"),
        ["--heads-units percent", "--heads-units pixels"],
        {"heads_units": "percent"},
    ),
]


@pytest.mark.parametrize(("text", "words", "options"), [row[1:] for row in OPEN], ids=[row[0] for row in OPEN])
def test_what_stays_open_stops_with_both_readings(
    tmp_path: Path, text: str, words: list[str], options: dict[str, str]
) -> None:
    path = _write(tmp_path / "boxes.csv", text)
    with pytest.raises(HeadsError) as caught:
        read_heads(path, video=VIDEO)
    assert [word for word in words if word not in str(caught.value)] == []
    assert OWN in str(caught.value)
    table = read_heads(path, BoxFileOptions.model_validate(options), video=VIDEO)
    _same(table, [(frame, table.track_id[0], *box) for frame, _, *box in LEFT if frame in table.frame.tolist()])


def test_motchallenge_with_its_ending_is_read_and_the_doubt_is_said(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.txt", _lines(LEFT, "{f},{t},{x1},{y1},{x2},{y2},1,-1,-1,-1", count_from=1))
    table = read_heads(path, video=VIDEO)
    assert (table.form, table.box_xyxy[0].tolist()) == ("mot", [138.25, 17.75, 326.25, 86.5])
    assert ["--heads-format csv-xyxy" in note for note in table.notes] == [True]


def test_own_boxes_that_may_be_percent_are_read_as_pixels_and_the_doubt_is_said(tmp_path: Path) -> None:
    path = _write(tmp_path / "boxes.csv", _lines(LEFT, "{f},{t},{P1},{Q1},{P2},{Q2}", OWN))
    assert [note for note in read_heads(path, video=VIDEO).notes if "--heads-units percent" in note]
    small = BoxVideo(width=100, height=100, frame_count=12)
    assert read_heads(path, video=small).notes == ()
    _same(read_heads(path, BoxFileOptions(heads_units="percent"), video=VIDEO), LEFT)
    path = _write(tmp_path / "boxes.csv", _lines(LEFT, "{f},{t},{X1},{Y1},{X2},{Y2}", OWN))
    with pytest.raises(HeadsError, match="--heads-units fraction"):
        read_heads(path, video=VIDEO).normalised(**SIZE)
    _same(read_heads(path, BoxFileOptions(heads_units="fraction"), video=VIDEO), LEFT)


def test_motchallenges_ground_truth_says_which_rows_count(tmp_path: Path) -> None:
    text = _lines(BOTH, "{f},{t},{x1},{y1},{w},{h},1,1,0.8", count_from=1)
    text += _lines(LEFT, "{f},7,{x1},{y1},{w},{h},0,1,1", count_from=1)
    text += _lines(LEFT[:3], "{f},8,{x1},{y1},{w},{h},1,7,0.25", count_from=1)
    table = read_heads(_write(tmp_path / "gt.txt", text), video=VIDEO)
    _same(table, BOTH)
    assert table.left_out == {"marked 0 in the 7th column": 12, "class 7": 3}
    assert [note for note in table.notes if "12 rows marked 0" in note]


NAMES = [
    ([f"{n:08d}.jpg" for n in (1, 2, 3, 4, 9, 10)], [0, 1, 2, 3, 8, 9], "jump by 5 after '00000004.jpg'"),
    (["f_12.png", "f_13.png", "f_14.png"], None, "begin with number 12"),
    (["f3.png", "f2.png", "f1.png"], None, "jump by -1"),
    (["a.png", "b.png"], None, ""),
    (["000000.png", "000001.png"], [0, 1], ""),
]


@pytest.mark.parametrize(("names", "by_number", "says"), NAMES, ids=[row[2] or row[0][0] for row in NAMES])
def test_names_that_are_not_in_row_order_are_said(
    tmp_path: Path, names: list[str], by_number: list[int] | None, says: str
) -> None:
    lines = [f"{name},{110 + row},20,160,80" for row, name in enumerate(names)]
    path = _write(tmp_path / "names.txt", "\n".join(lines) + "\n")
    table = read_heads(path, video=VIDEO)
    assert table.frame.tolist() == list(range(len(names))), "row order, as the format has always been read"
    assert (says in " ".join(table.notes)) and bool(table.notes) == bool(says)
    if by_number:
        count_from = int("00000001" in names[0])
        options = BoxFileOptions(heads_format="atd-names", heads_count_from=count_from)
        assert read_heads(path, options, video=VIDEO).frame.tolist() == by_number
    headed = _write(tmp_path / "headed.csv", "\n".join(["image,x1,y1,x2,y2", *lines]) + "\n")
    if says:
        with pytest.raises(HeadsError, match="--heads-format atd-names"):
            read_heads(headed, video=VIDEO)
    assert read_heads(headed, BoxFileOptions(heads_format="atd"), video=VIDEO).frame.tolist() == table.frame.tolist()


HEAD = f"{OWN}\n"
WRONG = [
    ("text as an id", HEAD + "0,Anna,1,2,30,40\n", "'Anna', not a number; people have whole numbers"),
    ("ids of 1.5", HEAD + "0,1.5,1,2,30,40\n", "'1.5', not a whole number"),
    ("the same row twice", HEAD + "0,1,1,2,30,40\n0,1,1,2,30,40\n", "the row is there twice"),
    ("no ids", "frame,x1,y1,x2,y2\n0,1,2,130,40\n0,50,2,190,40\n", "Add a column track_id"),
    ("detections without ids", "1,-1,300,20,30,40,0.9,-1,-1,-1\n1,-1,400,20,30,40,0.9,-1,-1,-1\n", "Run a tracker"),
    ("two people of a picture", "a.jpg,1,2,30,40\na.jpg,50,2,90,40\n", "has a row in line 1 already"),
    ("inverted", HEAD + "0,1,30,2,3,40\n", "--heads-format and --heads-units read it otherwise"),
    ("times of another video", "time,id,x1,y1,x2,y2\n99.5,1,1,2,130,40\n", "not those of frames: one is 99.042 s from"),
    ("no times", "time,id,x1,y1,x2,y2\nnow,1,1,2,130,40\n", "'now', no time such as"),
    ("a negative clock", "time,id,x1,y1,x2,y2\n-00:00:00.25,1,1,2,130,40\n", "'-00:00:00.25', no time such as"),
    ("times in the frames' column", HEAD + "0.04,1,1,2,30,40\n", "Is it a time in seconds"),
    ("two columns for one", "frame,id,x1,y1,x2,y2,left\n0,1,1,2,30,40,1\n", "2 columns may be the xmin"),
    ("decimal commas in quotation marks", HEAD + '0,1,"1,5",2,30,40\n', "it has a decimal comma"),
    ("ids of row order and names", "image,id,x1,y1,x2,y2\na.jpg,1,1,2,130,40\n", "'a.jpg' has no number"),
    (
        "names of two cameras",
        "image,id,x1,y1,x2,y2\ncam1/05.jpg,1,1,2,130,40\ncam2/05.jpg,2,9,2,130,40\n",
        "different names end in the same number",
    ),
    (
        "two videos",
        "video," + HEAD + "a.mp4,0,1,1,2,130,40\nb.mp4,0,2,50,2,190,40\n",
        "rows of 2 videos (a.mp4, b.mp4)",
    ),
    (
        "two videos by file names",
        "file," + HEAD + "a.MP4,0,1,1,2,130,40\nb.mkv,0,2,50,2,190,40\n",
        "rows of 2 videos (a.MP4, b.mkv)",
    ),
    (
        "two files joined",
        HEAD + "0,1,1,2,130,40\n" + HEAD + "0,2,50,2,190,40\n",
        "line 3: the header is there a second",
    ),
    ("a box in one cell", 'frame,id,bbox\n0,1,"[1.5, 2, 30, 40]"\n', "'bbox' has the four numbers"),
    ("a clock for frames", HEAD + "00:00:01.50,1,1,2,30,40\n", "Is it a time?"),
    ("units in cells", HEAD + "0,1,1px,2px,30px,40px\n", "--heads-units says the unit"),
    ("frames below 0", HEAD + "-1,1,1,2,30,40\n", "first frame is 0"),
    ("no header, id last", "0,10.5,20,30,40,1\n", f"whose first line is {OWN}"),
    ("tabs in the header alone", HEAD.replace(",", "\t") + "0,1,1,2,30,40\n", "1 cells, but the header has 6"),
    ("an empty text", "\n \n", "is empty"),
    ("motchallenge from 0", "0,1,300,20,30,40,1,-1,-1,-1\n1,1,10,20,300,40,1,-1,-1,-1\n", "counts frames from 1"),
]


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_mistakes_have_messages_of_their_own(tmp_path: Path, text: str, words: str) -> None:
    options = BoxFileOptions(heads_format="mot") if text.startswith("0,1,300") else None
    with pytest.raises(HeadsError) as caught:
        read_heads(_write(tmp_path / "boxes.csv", text), options, video=VIDEO)
    assert words in str(caught.value)


def test_rows_past_the_end_that_count_from_one_name_the_option(tmp_path: Path) -> None:
    path = _write(tmp_path / "boxes.csv", _lines(LEFT, "{f},{t},{x1},{y1},{x2},{y2}", HEAD.strip(), count_from=1))
    with pytest.raises(HeadsError, match=r"frame 12 does not exist.*--heads-count-from 1"):
        read_heads(path, video=VIDEO).normalised(**SIZE)
    _same(read_heads(path, BoxFileOptions(heads_count_from=1), video=VIDEO), LEFT)


@pytest.mark.parametrize("most", [0.75, 1.0002, 1.08])
@pytest.mark.parametrize("header", [OWN, "frame,id,x1,y1,x2,y2"])
def test_relative_boxes_over_the_edge_are_no_pixels(tmp_path: Path, header: str, most: float) -> None:
    """Detectors reach over the edge by some percent, so that one number above 1 says nothing."""
    text = _lines(LEFT, "{f},{t},{X1},{Y1},{X2},{Y2}", header) + f"0,9,0.5,0.5,0.7,{most}\n"
    with pytest.raises(HeadsError, match="--heads-units fraction"):
        read_heads(_write(tmp_path / "boxes.csv", text), video=VIDEO).normalised(**SIZE)


def test_own_rows_from_frame_1_are_from_0_and_the_doubt_is_said(tmp_path: Path) -> None:
    """The header says that frames count from 0; a file from 1 that ends early looks the same."""
    path = _write(tmp_path / "boxes.csv", _lines(LEFT[:9], "{f},{t},{x1},{y1},{x2},{y2}", OWN, count_from=1))
    table = read_heads(path, video=VIDEO)
    assert (table.frame[0], ["--heads-count-from 1" in note for note in table.notes]) == (1, [True])
    for number in (0, 1):
        assert read_heads(path, BoxFileOptions(heads_count_from=number), video=VIDEO).notes == ()
    (tmp_path / "boxes.csv.json").write_text("{}")  # made by `gazetools heads`
    assert read_heads(path, video=VIDEO).notes == ()


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    text = "class," + HEAD + "head,0,1,9,9,60,60\nbody,0,2,9,9,60,160\nhead,1,1,,,,\nhead,2,1,0,0,0,0\n"
    table = read_heads(_write(tmp_path / "boxes.csv", text), video=VIDEO)
    counts = {"of other classes than head": 1, "whose box is empty": 1, "whose box is 0,0,0,0": 1}
    assert (len(table), table.left_out) == (1, counts)
    assert [why for why in counts if why not in table.notes[0]] == []
    text = "class," + HEAD + "adult,0,1,9,9,60,60\nchild,0,2,9,9,60,160\n"
    table = read_heads(_write(tmp_path / "boxes.csv", text), video=VIDEO)
    assert (len(table), ["adult, child" in note for note in table.notes]) == (2, [True])
    partly = _write(tmp_path / "boxes.csv", HEAD + "0,1,9,9,60,\n")
    with pytest.raises(HeadsError, match="ymax is '', not a number"):
        read_heads(partly, video=VIDEO)


def test_a_header_alone_is_no_error_but_said(tmp_path: Path) -> None:
    """A video without people has such a file."""
    table = read_heads(_write(tmp_path / "boxes.csv", HEAD), video=VIDEO)
    assert (len(table), ["every frame is without people" in note for note in table.notes]) == (0, [True])


FOREIGN = [
    ("coco without images", '{"annotations":[{"image_id":3,"bbox":[1,2,3,4]}]}', ["JSON", "COCO", "x,y,width,height"]),
    ("labelme", '{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}', ["JSON", "LabelMe"]),
    ("json lines", '{"frame": 0}\n{"frame": 1}\n', ["JSON"]),
    ("pascal", "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>", ["Pascal VOC"]),
    ("a page", "<!DOCTYPE html><html><body>Sign in</body></html>", ["HTML", "login"]),
    ("one label file", "0 0.31 0.2 0.1 0.15\n0 0.6 0.2 0.1 0.15\n", ["YOLO", "0..1"]),
    ("excel", b"PK\x03\x04" + bytes(200), ["zip archive", "Excel"]),
    ("numpy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", ["NumPy"]),
    ("any bytes", bytes(range(256)) * 8, ["binary file"]),
]


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_files_of_other_tools_are_named(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    with pytest.raises(HeadsError) as caught:
        read_heads(_write(tmp_path / "boxes.csv", text), video=VIDEO)
    assert [word for word in [*words, OWN] if word not in str(caught.value)] == []


def test_a_folder_with_label_files_of_another_video_is_named(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in ("clip", "second"):
        (tmp_path / "v" / f"{name}.mp4").symlink_to(clip)
    for number in range(12):
        _write(tmp_path / f"take_{number:06d}.txt", "0 0.5 0.5 0.1 0.1\n")
    common = ["-o", str(tmp_path / "st"), "--model", "centre-prior", "--heads"]
    result = run_cli("extract", str(tmp_path / "v"), *common, f"file:{tmp_path}")
    assert (result.exit_code, "YOLO" in result.stderr) == (2, True), result.stderr


def _json_line(rng: random.Random) -> bytes:
    return (
        b'{"annotations": [' + b",".join(b'{"bbox": [%d, 2, 3, 4]}' % rng.randrange(999) for _ in range(30000)) + b"]}"
    )


def _one_line_of(letters: bytes) -> Callable[[random.Random], bytes]:
    return lambda rng: bytes(rng.choice(letters) for _ in range(100_000))


BIG: list[tuple[str, Callable[[random.Random], bytes]]] = [
    ("json", _json_line),
    ("letters", _one_line_of(b"abcdefgh")),
    ("letters and commas", _one_line_of(b"abc,,")),
    ("digits and commas", _one_line_of(b"0123456789,")),
    ("quotation marks", _one_line_of(b'ab"\n,')),
    ("control characters", _one_line_of(b"\x01\x02\x7f\n,")),
    ("any bytes", lambda rng: rng.randbytes(300_000)),
    ("a long cell", lambda rng: HEAD.encode() + b"0,1,2,3,4," + b"x" * 100_000 + b"\n"),
    ("a long id", lambda rng: HEAD.encode() + b"0," + "é".encode() * 50_000 + b",2,3,4,5\n"),
    ("a long role", lambda rng: HEAD.strip().encode() + b",role\n0,1,2,3,4,5," + b"r" * 99_000 + b"\n"),
    ("a long name", lambda rng: b"p" * 90_000 + b"7.jpg,1,2,3,4\n" + b"p" * 90_000 + b"9.jpg,1,2,3,4\n"),
    ("many columns", lambda rng: b",".join(b"column%d" % n for n in range(30_000)) + b"\n"),
    ("a long number", lambda rng: HEAD.encode() + b"9" * 90_000 + b",1,2,3,4,5\n"),
]


@pytest.mark.parametrize("make", [row[1] for row in BIG], ids=[row[0] for row in BIG])
@pytest.mark.parametrize("form", ["auto", "csv", "mot", "mot-gt", "atd", "atd-names", "csv-xywh"])
def test_no_message_repeats_much_of_a_file(tmp_path: Path, make: Callable[[random.Random], bytes], form: str) -> None:
    path = _write(tmp_path / "boxes.csv", make(random.Random(3)))
    try:
        table = read_heads(path, BoxFileOptions(heads_format=form), video=VIDEO)
        text = " ".join([table.reading, *table.notes])
        table.normalised(**SIZE)
    except HeadsError as error:
        text = f"{error} {error.as_dict()['message']}"
    assert len(text.encode()) - 2 * len(str(path)) < 2000, text[:3000]


def test_every_format_has_a_word() -> None:
    assert {*HEADS_FORMATS} - {"auto", "toy"} == {*BOX_FORMATS} - {"other"}


def test_the_format_is_said_recorded_and_asked_for(tmp_path: Path, clip: Path) -> None:
    from gazetools.store import open_store

    rows = "".join(f"{frame + 1},4,{60 - frame},20,20,30,1,-1,-1,-1\n" for frame in range(3))
    path = _write(tmp_path / "track.txt", rows)
    common = ["--heads", f"file:{path}", "--model", "centre-prior", "--stride", "20"]
    result = run_cli("extract", str(clip), "-o", str(tmp_path / "a"), *common)
    assert (result.exit_code, "read as MOTChallenge" in result.stderr) == (0, True), result.stderr
    with open_store(tmp_path / "a" / "clip.h5") as store:
        heads = store.provenance.heads
        assert heads.format == "mot"
        assert "left, top, width, height" in heads.reading
    item = json.loads((tmp_path / "a" / "extract_report.json").read_text())["items"][0]
    assert "MOTChallenge" in item["head_notes"][0]
    again = run_cli("extract", str(clip), "-o", str(tmp_path / "a"), *common, "--heads-format", "csv-xyxy")
    assert again.exit_code == 2
    unknown = run_cli("extract", str(clip), "-o", str(tmp_path / "b"), *common, "--heads-format", "xml")
    assert (unknown.exit_code, "csv-xyxy" in unknown.stderr) == (2, True), unknown.stderr
    useless = run_cli("extract", str(clip), "-o", str(tmp_path / "b"), "--heads-format", "mot")
    assert (useless.exit_code, "--heads-format" in useless.stderr) == (2, True), useless.stderr


DOUBTS = [
    ("frame and id swapped", _lines(LEFT + RIGHT, "{t},{f},{x1},{y1},{x2},{y2}", OWN), "the other way round"),
    (
        "ids are row numbers",
        _lines([(f, f, *b) for f, _, *b in LEFT], "{f},{t},{x1},{y1},{x2},{y2}", OWN),
        "row numbers",
    ),
    ("a useless option", _lines(LEFT, "{f},{t},{x1},{y1},{x2},{y2}", OWN), "--heads-first-frame has no effect"),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in DOUBTS], ids=[row[0] for row in DOUBTS])
def test_doubts_about_a_file_that_is_read(tmp_path: Path, text: str, says: str) -> None:
    options = BoxFileOptions(heads_first_frame=3 if "option" in says or "effect" in says else None)
    table = read_heads(_write(tmp_path / "boxes.csv", text), options, video=VIDEO)
    assert [note for note in table.notes if says in note]


GOOD = [
    ("a head in the upper left corner", [(f, 1, 20 + f, 10, 60 + f, 60) for f in range(12)]),
    ("a crowd in few frames", [(f, t, 20 * t, 100, 20 * t + 15, 120) for f in range(3) for t in range(1, 12)]),
    ("one frame", [(5, 1, 200, 100, 240, 150)]),
    ("frames from 2", [(f, 1, 200, 100, 240, 150) for f in range(2, 11)]),
]


@pytest.mark.parametrize("rows", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
def test_good_files_of_known_formats_raise_no_question_and_no_doubt(tmp_path: Path, rows: list[Row]) -> None:
    own = read_heads(_write(tmp_path / "a.csv", _lines(rows, "{f},{t},{x1},{y1},{x2},{y2}", OWN)), video=VIDEO)
    _same(own, rows)
    assert (own.notes, own.reading) == ((), "")
    text = _lines(rows, "{f},{t},{x1},{y1},{w},{h},0.9,-1,-1,-1", count_from=1)
    mot = read_heads(_write(tmp_path / "b.txt", text), video=VIDEO)
    _same(mot, rows)
    assert mot.form == "mot"
    text = _lines([(f, 0, *b) for f, _, *b in LEFT], "a/{f:05d}.jpg,{x1},{y1},{x2},{y2}", count_from=1)
    names = read_heads(_write(tmp_path / "c.txt", text), video=VIDEO)
    assert (names.notes, names.form) == ((), "atd")


def test_a_folder_says_which_of_two_files_is_read_and_what_it_has_instead(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "heads").mkdir()
    text = OWN + "\n0,1,20,20,40,50\n"
    _write(tmp_path / "heads" / "clip_boxes.csv", text)
    common = ["--model", "centre-prior", "--stride", "20", "--json", "--heads"]
    folder = f"file:{tmp_path / 'heads'}"
    missing = run_cli("extract", str(clip), "-o", str(tmp_path / "a"), *common, folder)
    assert (missing.exit_code, "it has clip_boxes.csv" in missing.stderr) == (2, True), missing.stderr
    for name in ("clip.csv", "clip.txt"):
        _write(tmp_path / "heads" / name, text)
    for spec, said in ((folder, True), (f"file:{tmp_path / 'heads' / 'clip.csv'}", False)):
        done = run_cli("extract", str(clip), "-o", str(tmp_path / f"b{said}"), *common, spec)
        (item,) = json.loads(done.stdout)["items"]
        assert any("clip.txt next to clip.csv is not read" in note for note in item["head_notes"]) == said, item
