"""Readers of labelled gaze: what is odd is counted and named with file and row, and no pickle is executed."""

# ruff: noqa: E501 - the tables of cases have a row per case
from __future__ import annotations

import datetime
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gazetools.annotations.gaze_labels import Labels
from gazetools.annotations.label_files import read_labels
from gazetools.io.inert_pickle import RefusedPickle
from gazetools.io.picture_size import picture_size
from gazetools.io.plain_pickle import read_plain
from gazetools.schemas.errors import DataFileError, UsageError, VideoError
from tests.helpers.gaze_labels import CHILDPLAY_HEADER, made_up_people, write_childplay, write_gooreal, write_vat

SIZE = (200, 100)


def _picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))


def _gazefollow(root: Path, *rows: str, train: bool = True) -> Path:
    """Rows `picture;eye x,y;gaze x,y;box;inout`, with the columns that nobody reads filled in."""
    lines = []
    for row in rows:
        name, eye, gaze, box, *inout = row.split(";")
        lines.append(",".join([name, "1", "0,0,1,1", eye, gaze, box, *inout, "source", "meta"]))
        if "lost" not in name and not (root / name).exists():
            _picture(root / name)
    path = root / f"{'train' if train else 'test'}_annotations_release.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _vat(root: Path, *rows: str) -> Path:
    clip = root / "annotations" / "train" / "Show" / "1_9"
    clip.mkdir(parents=True)
    _picture(root / "images" / "Show" / "1_9" / "00001.jpg")
    (clip / "s00.txt").write_text("\n".join(rows) + "\n")
    return root / "annotations" / "train"


def _childplay(root: Path, *rows: str) -> Path:
    folder = root / "annotations" / "train"
    folder.mkdir(parents=True)
    _picture(root / "images" / "v_11-20" / "v_11.jpg")
    lines = [CHILDPLAY_HEADER, *(f"v_11-20,{row},1" for row in rows)]
    (folder / "v_11-20.csv").write_text("\n".join(lines) + "\n")
    return folder


def _json(root: Path, **changes: Any) -> Path:
    head = {"bbox_norm": [0.1, 0.1, 0.2, 0.3], "gazex_norm": [0.5], "gazey_norm": [0.5], "inout": 1} | changes
    frame = {"path": "images/v_1-9/v_1.jpg", "width": 200, "height": 100, "heads": [head]}
    other = {**frame, "heads": [{**head, "bbox_norm": [0.1, 0.1, 0.2, 0.3], "gazex_norm": [0.5], "inout": 1}]}
    path = root / "train_preprocessed.json"
    path.write_text(json.dumps([[frame, other]]))
    return path


def _points(root: Path, *rows: str, header: str = "picture,xmin,ymin,xmax,ymax,gaze_x,gaze_y,inside,person") -> Path:
    _picture(root / "a.jpg")
    path = root / "points.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


GOOD = "a.jpg;0.3,0.2;0.5,0.5;20,10,60,40;1"
NAN = float("nan")
LEFT_OUT: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    # what is odd: (its file, reason, words of the place)
    "GazeFollow, unclear": (lambda r: _gazefollow(r, GOOD, "a.jpg;0.3,0.2;0.5,0.5;20,10,60,40;-1"), "inout_unclear", "line 2"),
    "GazeFollow, inout 2": (lambda r: _gazefollow(r, GOOD, "a.jpg;0.3,0.2;0.5,0.5;20,10,60,40;2"), "inout_unknown", "line 2"),
    "GazeFollow, NaN": (lambda r: _gazefollow(r, GOOD, "a.jpg;0.3,0.2;nan,0.5;20,10,60,40;1"), "gaze_not_a_number", "nan"),
    "GazeFollow, NaN box": (lambda r: _gazefollow(r, GOOD, "a.jpg;0.3,0.2;0.1,0.5;20,nan,60,40;1"), "box_not_a_number", "line 2"),
    "GazeFollow, no picture": (lambda r: _gazefollow(r, GOOD, "lost.jpg;0.3,0.2;0.1,0.5;20,1,60,40;1"), "picture_missing", "lost.jpg"),
    "VAT, NaN": (lambda r: _vat(r, "00001.jpg,1,2,50,60,9,9", "00002.jpg,1,2,50,60,nan,9"), "gaze_not_a_number", "s00.txt, line 2"),
    "ChildPlay, class": (lambda r: _childplay(r, "1,0,1,2,50,60,inside_visible,9,9", "2,0,1,2,50,60,eyes_closed,-1,-1"), "class_eyes_closed", "line 3"),
    "ChildPlay, new class": (lambda r: _childplay(r, "1,0,1,2,50,60,inside_visible,9,9", "2,0,1,2,50,60,asleep,-1,-1"), "class_unknown", "asleep"),
    "ChildPlay, no point": (lambda r: _childplay(r, "1,0,1,2,50,60,inside_visible,9,9", "2,0,1,2,50,60,inside_visible,-1,-1"), "point_missing", "line 3"),
    "ChildPlay, NaN": (lambda r: _childplay(r, "1,0,1,2,50,60,inside_visible,9,9", "2,0,1,,50,60,inside_visible,9,9"), "box_not_a_number", "line 3"),
    "JSON, no inout": (lambda r: _json(r, inout=None), "inout_unknown", "entry 0, frame 0, head 0"),
    "JSON, NaN": (lambda r: _json(r, gazex_norm=[NAN]), "gaze_not_a_number", "entry 0, frame 0, head 0"),
    "points, inside without one": (lambda r: _points(r, "a.jpg,1,2,50,60,9,9,1,p", "a.jpg,1,2,50,60,,,1,q"), "point_missing", "line 3"),
    "points, nothing said": (lambda r: _points(r, "a.jpg,1,2,50,60,9,9,1,p", "a.jpg,1,2,50,60,,,,q"), "gaze_not_a_number", "line 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_cannot_be_used_is_counted_and_named(case: str, tmp_path: Path) -> None:
    make, reason, words = LEFT_OUT[case]
    labels = read_labels(make(tmp_path), images=tmp_path)
    assert labels.left_out.counts == {reason: 1}
    assert words in labels.left_out[reason].places[0]
    assert str(tmp_path) in labels.left_out[reason].places[0]
    assert len(list(labels.heads)) == 1


MENDED: dict[str, tuple[Callable[[Path], Path], str, tuple[float, ...], tuple[float, float]]] = {
    # what is odd: (its file, reason, the head's box, its gaze)
    "swapped corners": (lambda r: _gazefollow(r, "a.jpg;0.3,0.2;0.5,0.5;60,40,20,10;1"), "corners_swapped", (0.1, 0.1, 0.3, 0.4), (0.5, 0.5)),
    "beyond the edge": (lambda r: _gazefollow(r, "a.jpg;0.3,0.2;1.5,0.5;-10,10,60,140;1"), "point_outside", (0, 0.1, 0.3, 1), (1.5, 0.5)),
    "head outside": (lambda r: _gazefollow(r, "a.jpg;0.3,0.2;0.5,0.5;220,10,260,40;1"), "head_outside_picture", (1.1, 0.1, 1, 0.4), (0.5, 0.5)),
    "VAT, x >= 0 and y < 0": (lambda r: _vat(r, "00001.jpg,20,10,60,40,50,-1"), "one_coordinate_negative", (0.1, 0.1, 0.3, 0.4), (0.25, 0)),
    "ChildPlay, box not cut": (lambda r: _childplay(r, "1,0,-20,-50,20,50,inside_visible,9,9"), "head_outside_picture", (-0.1, -0.5, 0, 0), (0.045, 0.09)),
    "ChildPlay, a person twice": (lambda r: _childplay(r, *["1,0,20,10,20,50,inside_visible,9,9"] * 2), "person_twice", (0.1, 0.1, 0.2, 0.6), (0.045, 0.09)),
    "points, annotators disagree": (lambda r: _points(r, *["a.jpg,20,10,60,40,,,0,p", "a.jpg,20,10,60,40,100,50,1,p", "a.jpg,20,10,60,40,90,50,1,p"]), "annotators_disagree", (0.1, 0.1, 0.3, 0.4), (0.5, 0.5)),
}  # fmt: skip


@pytest.mark.parametrize("case", MENDED)
def test_what_is_doubtful_is_kept_and_named(case: str, tmp_path: Path) -> None:
    make, reason, box, gaze = MENDED[case]
    labels = read_labels(make(tmp_path), images=tmp_path)
    assert set(labels.mended) == {reason} and labels.left_out.counts == {}
    assert "line " in labels.mended[reason].places[0]
    _, head = next(labels.heads)
    assert head.box_xyxy == pytest.approx(box)
    assert (head.gaze_x[0], head.gaze_y[0]) == pytest.approx(gaze)


def test_two_people_with_one_eye_x_are_merged_as_upstream_does_and_named(tmp_path: Path) -> None:
    rows = (
        "a.jpg;0.3,0.2;0.5,0.5;20,10,60,40",
        "a.jpg;0.3,0.9;0.1,0.5;20,70,60,90",
        "a.jpg;0.30,0.2;0.4,0.5;20,10,60,40",
    )
    labels = read_labels(_gazefollow(tmp_path, *rows, train=False), images=tmp_path)
    ((_, head),) = labels.heads
    assert head.gaze_x == (0.5, 0.1, 0.4)
    assert labels.mended.counts == {"people_merged": 1}
    assert head.inout is None


def test_the_corner_of_childplay_is_no_target(tmp_path: Path) -> None:
    labels = read_labels(
        _childplay(tmp_path, "1,0,1,2,50,60,outside_frame,0,0", "1,1,90,2,50,60,inside_visible,9,9"), images=tmp_path
    )
    assert [(head.inout, head.gaze_x[0]) for _, head in labels.for_training().heads] == [(0, 0.0), (1, 0.045)]
    picture = labels.pictures[0]
    assert (picture.video, picture.clip, picture.frame, picture.split) == ("v", "v_11-20", 11, "train")


def test_training_takes_no_head_and_no_target_outside(tmp_path: Path) -> None:
    rows = (
        "1,0,-20,-50,20,50,inside_visible,9,9",  # above and left of the picture
        "1,1,-10,10,30,20,inside_visible,9,9",  # reaches out: is cut
        "1,2,10,10,30,20,inside_visible,201,9",  # the point is right of the picture
        "1,3,10,10,30,20,outside_frame,0,0",
    )
    labels = read_labels(_childplay(tmp_path, *rows), images=tmp_path).for_training()
    assert labels.left_out.counts == {"head_outside_picture": 1, "point_outside": 1}
    assert [head.box_xyxy[0] for _, head in labels.heads] == [0, 0.05]


@pytest.mark.parametrize("writer", [write_vat, write_childplay])
def test_a_video_in_two_splits_is_named(writer: Any, tmp_path: Path) -> None:
    folder, _ = writer(tmp_path, made_up_people())
    assert read_labels(folder, images=tmp_path).mended.counts == {}
    first = sorted(folder.iterdir())[0]
    other = folder.parent / "train" / first.name
    other.parent.mkdir()
    other.symlink_to(first)
    labels = read_labels(folder, images=tmp_path)
    assert set(labels.mended) == {"video_in_other_split"}
    assert "train" in labels.mended["video_in_other_split"].places[0]
    with pytest.raises(UsageError, match=r"folders train, test; which of them"):
        read_labels(folder.parent, images=tmp_path)
    assert len(read_labels(folder.parent, images=tmp_path, split="test").pictures) == len(labels.pictures)


BROKEN: dict[str, tuple[str, str, str]] = {
    # what is broken: (name, content, words of the error)
    "first release of GazeFollow": ("train_annotations.txt", "a.jpg,1,0,0,1,1,.3,.2,.5,.5,src,meta\n", "no head boxes"),
    "rows of two widths": ("t.txt", ",".join("1" * 17) + "\n" + ",".join("1" * 16) + "\n", "line 2: 16 cells, not 17"),
    "ChildPlay without classes": ("v_1-2.csv", "clip,frame,person_id,gaze_class\nv_1-2,1,0,x\n", "bbox_x"),
    "ChildPlay, a frame 0": ("v_1-2.csv", f"{CHILDPLAY_HEADER}\nv_1-2,0,0,1,1,1,1,eyes_closed,-1,-1,1\n", "line 2, column frame"),
    "ChildPlay, a clip that leaves the folder": ("v_1-2.csv", f"{CHILDPLAY_HEADER}\n../v_1-2,1,0,1,1,1,1,eyes_closed,-1,-1,1\n", "column clip"),
    "points without columns": ("p.csv", "name,x,y\na,1,2\n", "neither a column picture"),
    "points, a word as inside": ("p.csv", "picture,xmin,ymin,xmax,ymax,gaze_x,gaze_y,inside\na.jpg,.1,.1,.2,.2,.5,.5,maybe\n", "neither 1 nor 0"),
    "no list": ("x.json", '{"a": 1}', "no annotation that is known"),
    "a head without gaze": ("x.json", '[{"path": "a", "width": 1, "height": 1, "heads": [{"bbox_norm": [0, 0, 1, 1]}]}]', "entry 0, .*KeyError|entry 0: KeyError"),
    "GOO-Real without boxes": ("goo.json", '[{"filename": "a.png", "ann": {}}]', "entry 0: KeyError"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_errors_with_a_place(case: str, tmp_path: Path) -> None:
    name, content, says = BROKEN[case]
    (tmp_path / name).write_text(content)
    _picture(tmp_path / "a.jpg")
    with pytest.raises(UsageError) as error:
        read_labels(tmp_path / name, images=tmp_path)
    assert re.search(says, str(error.value)), str(error.value)


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"picture_missing 1\. .*line 1"):
        read_labels(_gazefollow(tmp_path, "lost.jpg;0.3,0.2;0.1,0.5;20,1,60,40;1"), images=tmp_path)
    with pytest.raises(UsageError, match="--images ROOT"):
        read_labels(tmp_path / "train_annotations_release.txt")


def test_order_is_that_of_the_files_rows_not_of_the_file_system(tmp_path: Path) -> None:
    rows = [f"z{n}.jpg,0.1,0.1,0.2,0.2,0.5,0.5,1,p" for n in (5, 1, 3)]
    assert [p.path for p in read_labels(_points(tmp_path, *rows)).pictures] == ["z5.jpg", "z1.jpg", "z3.jpg"]


def test_points_of_a_video_need_sizes_only_in_pixels(tmp_path: Path) -> None:
    header = "video,frame,xmin,ymin,xmax,ymax,gaze_x,gaze_y"
    labels = read_labels(_points(tmp_path, "v.mp4,7,0.1,0.1,0.2,0.2,0.5,0.5", header=header))
    picture = labels.pictures[0]
    assert (picture.path, picture.frame, picture.is_video, picture.video) == ("v.mp4", 7, True, "v.mp4")
    with pytest.raises(UsageError, match="columns width and height"):
        read_labels(_points(tmp_path, "v.mp4,7,10,10,20,20,50,50", header=header))
    sized = _points(tmp_path, "v.mp4,7,10,10,20,20,50,50,100,200", header=f"{header},width,height")
    assert read_labels(sized).pictures[0].heads[0].box_xyxy == (0.1, 0.05, 0.2, 0.1)


def test_a_second_row_of_an_annotator_is_left_out(tmp_path: Path) -> None:
    header = "picture,xmin,ymin,xmax,ymax,gaze_x,gaze_y,person,annotator"
    rows = [f"a.jpg,10,10,20,20,{x},50,p,{who}" for x, who in ((50, "A"), (60, "B"), (70, "A"))]
    labels = read_labels(_points(tmp_path, *rows, header=header), images=tmp_path)
    assert next(labels.heads)[1].gaze_x == (0.25, 0.3)
    assert labels.left_out.counts == {"duplicate_row": 1}


def _same(labels: Labels) -> list[Any]:
    return [(p.path, h.box_xyxy, h.gaze_x, h.gaze_y, h.eye_xy, h.inout, h.gaze_class) for p, h in labels.heads]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_goo_real_is_read_without_running_it(protocol: int, tmp_path: Path) -> None:
    people = made_up_people()
    path, _ = write_gooreal(tmp_path, people)
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()), protocol=protocol))
    listed, _ = write_gooreal(tmp_path, people, as_json=True)
    assert _same(read_labels(path)) == _same(read_labels(listed))
    assert read_labels(path).pictures[0].split == "test"


class _Runs:
    ran = False

    def __reduce__(self) -> Any:
        return (_run, ())


def _run() -> None:
    _Runs.ran = True


def _deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value, value]
    return value


REFUSED = {
    "a call": pickle.dumps([_Runs()]),
    "os.system": b"cos\nsystem\n(S'true'\ntR.",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "getattr by a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__init__\x93.",
    "a class": pickle.dumps([datetime.date(2020, 1, 1)]),
    "an array of objects": pickle.dumps(np.array([{}, []], dtype=object)),
    "an array that claims more than it has": pickle.dumps(np.zeros(4), protocol=2).replace(b"K\x04\x85", b"K\x7f\x85"),
    "the state of a function": b"cnumpy\ndtype\n(dS'a'\nI1\nsb.",
    "a set": pickle.dumps({1, 2}),
    "nested too deep": pickle.dumps(_deep(40)),
    "a file of another kind": b"no pickle",
    "cut off": pickle.dumps([1, 2, 3])[:-2],
    "another file": b"S'a'\nP.",
    "an entry of the memo that asks for gigabytes": b"\x80\x02]r\xff\xff\xff\x7f.",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_pickle_of_anything_else_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "testrealhumans.pickle"
    path.write_bytes(REFUSED[case])
    with pytest.raises(RefusedPickle):
        read_plain(path, max_bytes=1 << 20)
    with pytest.raises(DataFileError, match=r"No pickle is executed here\.") as error:
        read_labels(path)
    assert not _Runs.ran
    assert "json.dump" in str(error.value)


def test_shared_lists_of_a_pickle_are_walked_once(tmp_path: Path) -> None:
    """2 to the 18th places of one empty list, and a file of a hundred bytes."""
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(_deep(18)))
    assert len(read_plain(path, max_bytes=1 << 20)) == 2
    with pytest.raises(RefusedPickle, match="at most 10 are read"):
        read_plain(path, max_bytes=10)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_sizes_come_from_headers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    _picture(path, (123, 45))
    assert picture_size(path) == (123, 45)
    if suffix == ".jpg":  # padding before a marker, and a comment, are skipped
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xff\xff\xfe\x00\x06" + b"\xff\xc0ab" + data[2:])
        assert picture_size(path) == (123, 45)
    path.write_bytes(path.read_bytes()[:20] if suffix != ".bmp" else b"")
    with pytest.raises(VideoError, match="can't be read"):
        picture_size(tmp_path / "none.jpg" if suffix == ".png" else path)
