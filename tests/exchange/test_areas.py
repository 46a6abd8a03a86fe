"""Areas of interest: one truth in every format, and what is refused with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.exchange.areas import read_areas
from gazetools.exchange.table import gaze_table, write_gaze_table
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.table import TableOptions
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video

WIDTH, HEIGHT = 128, 72
FRAMES = 6
CUP = {0: (0, 0, 20, 16), 1: (10, 8, 30, 24), 3: (40, 32, 128, 72)}
"""Frame -> box of the area `cup` in pixels; the area `pan` holds still at PAN in frames 1 and 3."""
PAN = (5, 5, 45, 37)
TRUTH = {("cup", frame): box for frame, box in CUP.items()} | {("pan", frame): PAN for frame in (1, 3)}


def _csv(path: Path) -> None:
    lines = [f"{name},{frame},{','.join(map(str, box))}" for (name, frame), box in TRUTH.items()]
    path.write_text("name,frame,xmin,ymin,xmax,ymax\n" + "\n".join(lines) + "\n")


def _fractions(path: Path) -> None:
    sides = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    lines = [
        f"{name};{frame + 1};P01_01;{';'.join(str(v / s).replace('.', ',') for v, s in zip(box, sides, strict=True))}"
        for (name, frame), box in TRUTH.items()
    ]
    path.write_text("name;frame;video_id;xmin;ymin;xmax;ymax\n" + "\n".join(lines) + "\n")


def _coco(path: Path, *, names: str = "frame_{:06d}.jpg", scale: int = 2) -> None:
    images = [
        {"id": 100 + f, "file_name": names.format(f), "width": scale * WIDTH, "height": scale * HEIGHT}
        for f in range(6)
    ]
    annotations = [
        {
            "id": number,
            "image_id": 100 + frame,
            "category_id": {"cup": 7, "pan": 3}[name],
            "bbox": [scale * x0, scale * y0, scale * (x1 - x0), scale * (y1 - y0)],
        }
        for number, ((name, frame), (x0, y0, x1, y1)) in enumerate(TRUTH.items())
    ]
    categories = [{"id": 3, "name": "pan"}, {"id": 7, "name": "cup"}]
    annotations.append({"id": 99, "image_id": 100, "category_id": 3, "segmentation": [[1, 1, 2, 2, 3, 1]]})
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _box_xml(box: Any, extra: str) -> str:
    return '<box xtl="{}" ytl="{}" xbr="{}" ybr="{}" {}/>'.format(*box, extra)


def _cvat_video(path: Path) -> None:
    cup = [_box_xml(box, f'frame="{frame}" outside="0" keyframe="1"') for frame, box in CUP.items()]
    # CVAT ends a visible run by a box that is outside
    cup.insert(2, _box_xml(CUP[1], 'frame="2" outside="1" keyframe="1"'))
    pan = [
        _box_xml(PAN, f'frame="{frame}" outside="{outside}" keyframe="1"')
        for frame, outside in ((1, 0), (2, 1), (3, 0), (4, 1))
    ]
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><job>'
        f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size></job></meta>"
        f'<track id="0" label="cup">{"".join(cup)}</track><track id="1" label="pan">{"".join(pan)}</track>'
        '<track id="2" label="line"><polyline frame="0" points="1,2;3,4"/></track></annotations>'
    )


def _cvat_images(path: Path) -> None:
    images = []
    for frame in range(FRAMES):
        boxes = [
            _box_xml(box, f'label="{name}" occluded="0"').replace("/>", "></box>")
            for (name, f), box in TRUTH.items()
            if f == frame
        ]
        rotated = _box_xml(PAN, 'label="turned" rotation="30.00"') if frame == 0 else ""
        size = f'width="{WIDTH}" height="{HEIGHT}"'
        images.append(f'<image id="{frame}" name="take/frame_{frame:06d}.png" {size}>{"".join(boxes)}{rotated}</image>')
    path.write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")


def _epic(path: Path) -> None:
    """At 30 frames per second frame f is the picture 2 f + 1 of 60 per second; two lines are of other videos."""
    sx, sy = 1920 // WIDTH, 1080 / HEIGHT
    lines = ["noun_class,noun,participant_id,video_id,frame,bounding_boxes"]
    for (name, frame), (x0, y0, x1, y1) in TRUTH.items():
        box = (y0 * sy, x0 * sx, (y1 - y0) * sy, (x1 - x0) * sx)
        lines.append(f'1,{name},P01,P01_01,{2 * frame + 1},"[{box}]"')
    lines += ['1,cup,P01,P01_01,5,"[]"', '2,plate,P01,P01_02,1,"[(0, 0, 10, 10)]"']
    path.write_text("\n".join(lines) + "\n")


def _ego4d(path: Path) -> None:
    annotations = [
        {
            "uid": f"a{number}",
            "video_uid": "P01_01",
            "frame": frame,
            "clip_frame": frame + 70,
            "objects": [
                {"box": list(box), "verb_category_id": 1, "noun_category_id": {"cup": 4, "pan": 9}[name]}
                for (name, f), box in TRUTH.items()
                if f == frame
            ],
        }
        for number, frame in enumerate((0, 1, 3))
    ]
    document = {
        "info": {"video_metadata": {"P01_01": {"frame_width": WIDTH, "frame_height": HEIGHT, "fps": 30.0}}},
        "noun_categories": [{"id": 4, "name": "cup"}, {"id": 9, "name": "pan"}],
        "annotations": annotations,
    }
    path.write_text(json.dumps(document))


WAYS_IN: list[tuple[str, Callable[[Path], None], dict[str, Any], str, dict[str, int]]] = [
    ("pixels.csv", _csv, {}, "csv", {}),
    ("fractions.csv", _fractions, {"areas_units": "fraction", "areas_count_from": 1}, "csv", {}),
    ("coco.json", _coco, {}, "coco", {"annotations without a bbox": 1}),
    ("video.xml", _cvat_video, {}, "cvat", {"polyline": 1}),
    ("images.xml", _cvat_images, {}, "cvat", {"rotated boxes": 1}),
    ("EPIC_train_object_labels.csv", _epic, {}, "epic", {"rows without a box": 1}),
    ("fho_sta_val.json", _ego4d, {}, "ego4d", {}),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames at 30 per second; two people in frame 1, nobody in frame 5; id `P01/P01_01`."""
    root = tmp_path_factory.mktemp("areas") / "store"
    people = {0: [1], 1: [1, 2], 2: [1], 3: [1], 4: [1]}
    size = {"width": WIDTH, "height": HEIGHT}
    make_video(root, "P01/P01_01", people=people, frame_count=FRAMES, size_hw=(9, 16), video=size)
    return root


def _expected(store: Path, frame: int, track: int, box: tuple[float, ...]) -> float:
    """Mass in a box by painting map and box with one place per pixel: 8 x 8 pixels a cell."""
    from gazetools import open_store

    with open_store(store / "P01/P01_01.h5") as reader:
        rows = reader.rows(frame=frame)
    values = rows.heatmap[rows.track_id == track][0].astype(np.float64).repeat(8, axis=0).repeat(8, axis=1)
    x0, y0, x1, y1 = (int(value) for value in box)
    return float(values[y0:y1, x0:x1].sum() / values.sum())


@pytest.mark.parametrize(("name", "write", "options", "form", "left_out"), WAYS_IN, ids=[one[0] for one in WAYS_IN])
def test_every_format_gives_the_same_masses(
    store: Path, tmp_path: Path, name: str, write: Any, options: Any, form: str, left_out: dict[str, int]
) -> None:
    write(tmp_path / name)
    found = read_areas(tmp_path / name, TableOptions(areas="x", **options))
    assert (found.form, found.left_out, found.fixed) == (form, left_out, False)
    table = gaze_table(store, areas=str(tmp_path / name), **options)
    assert [column for column in table if column.startswith("mass_")] == ["mass_cup", "mass_pan"]
    for row, (frame, track) in enumerate(zip(table["frame"].tolist(), table["track_id"].tolist(), strict=True)):
        for area in ("cup", "pan"):
            mass = float(table[f"mass_{area}"][row])
            box = TRUTH.get((area, frame))
            if box is None:
                assert np.isnan(mass), f"{area} is not in frame {frame}"
            else:
                assert mass == pytest.approx(_expected(store, frame, track, box), abs=1e-5)


def test_frames_that_a_track_does_not_list_have_no_box_and_are_counted(tmp_path: Path) -> None:
    """CVAT lists every frame of a track; what lies between listed frames is not invented."""
    shown = [(0, (0, 0, 30, 30), 0), (3, (30, 60, 60, 90), 0), (4, (9, 9, 19, 19), 1), (9, (9, 9, 19, 19), 0)]
    boxes = [_box_xml(box, f'frame="{frame}" outside="{outside}"') for frame, box, outside in shown]
    path = tmp_path / "a.xml"
    path.write_text(f'<annotations><track id="0" label="cup">{"".join(boxes)}</track></annotations>')
    areas = read_areas(path, TableOptions(areas="x"))
    assert areas.frame.tolist() == [0, 3, 9]
    assert areas.left_out == {"gaps in tracks, whose frames have no box": 1}


def test_folders_in_the_names_of_pictures_are_videos_where_there_are_several(tmp_path: Path) -> None:
    """As the exporters of frames write them: take/cam01/frame_000001.jpg."""
    for video_id in ("take/cam01", "take/cam02"):
        make_video(tmp_path / "store", video_id, frame_count=3)
    images = [
        {"id": cam * 10 + f, "file_name": f"take/cam0{cam}/frame_{f:06d}.jpg", "width": 96, "height": 64}
        for cam in (1, 2) for f in range(3)
    ]  # fmt: skip
    annotations = [{"id": 1, "image_id": 22, "category_id": 1, "bbox": [0, 0, 96, 64]}]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "all"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    table = gaze_table(tmp_path / "store", areas=str(tmp_path / "a.json"))
    assert np.flatnonzero(~np.isnan(table["mass_all"])).tolist() == [5]


def test_boxes_of_one_area_count_once_where_they_overlap_and_the_whole_frame_is_one(
    store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "fixed.csv"
    path.write_text(
        "name,xmin,ymin,xmax,ymax,frame\nall,0,0,128,72,\nleft,0,0,33,72,\nright,33,0,128,72,\n"
        "two,0,0,50,72,\ntwo,20,0,128,72,\nmoving,0,0,50,72,1\nmoving,20,0,128,72,1\n"
    )
    table = gaze_table(store, areas=str(path))
    assert table["mass_all"] == pytest.approx(1, abs=1e-6)
    assert table["mass_two"] == pytest.approx(1, abs=1e-6)
    assert table["mass_left"] + table["mass_right"] == pytest.approx(1, abs=1e-6)
    assert np.isnan(table["mass_moving"]).tolist() == [frame != 1 for frame in table["frame"].tolist()]
    assert table["mass_moving"][table["frame"] == 1] == pytest.approx(1, abs=1e-6)


def test_areas_drawn_on_a_single_picture_hold_for_all_frames(store: Path, tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "still_0003.png", "width": 256, "height": 144}],
        "categories": [{"id": 1, "name": "stove"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 128, 144]}],
    }
    (tmp_path / "one.json").write_text(json.dumps(document))
    done = run_cli("table", str(store), "-o", str(tmp_path / "t.csv"), "--areas", str(tmp_path / "one.json"), "--json")
    report = json.loads(done.stdout)
    assert report["areas"]["fixed"] is True
    assert "hold for all frames" in " ".join(report["notes"])
    table = gaze_table(store, areas=str(tmp_path / "one.json"))
    assert table["mass_stove"][0] == pytest.approx(_expected(store, 0, 1, (0, 0, 64, 72)), abs=1e-5)


_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<annotations><track id="0" label="&b;"/></annotations>'
)
_EXTERNAL = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>'


def _two_pictures(**second: Any) -> str:
    """COCO with one box and two pictures, the second one as given."""
    images = [{"id": 1, "file_name": "a_1.png", "width": 80, "height": 64}, {"id": 2, **second}]
    annotations = [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    categories = [{"id": 1, "name": "cup"}]
    return json.dumps({"images": images, "categories": categories, "annotations": annotations})


@pytest.mark.parametrize(
    ("name", "text", "options", "words"),
    [
        ("a.xml", _BOMB, {}, "document type or entities"),
        ("a.xml", _EXTERNAL, {}, "document type or entities"),
        ("a.xml", "<annotations><track", {}, "is not valid XML"),
        (
            "a.xml",
            '<annotations><track id="0" label="x"><box frame="-1"/></track></annotations>',
            {},
            "no number from 0",
        ),
        ("a.xml", '<annotations><track id="0" label="x"><box frame="1" xtl="a"/></track></annotations>', {}, "lacks"),
        ("a.xml", '<annotations><track id="0" task_id="1"/><track id="1" task_id="2"/></annotations>', {}, "2 tasks"),
        ("a.csv", "name,xmin,ymin,xmax\n", {}, "lacks the column(s) ymax"),
        ("a.csv", "name,xmin,ymin,xmax,ymax\n", {}, "no box that can be used"),
        ("a.csv", "name,xmin,ymin,xmax,ymax\ncup,0.1,0.1,0.5,0.5\n", {}, "--areas-units fraction"),
        ("a.csv", "name,xmin,ymin,xmax,ymax\ncup,1,1,50,50\n", {"areas_units": "fraction"}, "no fraction"),
        ("a.csv", "name,xmin,ymin,xmax,ymax\ncup,1,1,nan,50\n", {}, "line 2"),
        ("a.csv", "name,xmin,ymin,xmax,ymax\n,1,1,5,50\n", {}, "no name"),
        ("a.csv", "name,xmin,ymin,xmax,ymax\ncup,1,1,1900,1000\n", {}, "far outside"),
        ("a.csv", "name,xmin,ymin,xmax,ymax,frame\ncup,1,1,9,9,6\n", {}, "--areas-count-from 1"),
        ("a.csv", "name,xmin,ymin,xmax,ymax,frame\ncup,1,1,9,9,0\n", {"areas_count_from": 1}, "before the first frame"),
        ("a.csv", "name,xmin,ymin,xmax,ymax,frame\ncup,1,1,9,9,0\ncup,1,1,9,9,\n", {}, "for all frames and"),
        ("a.csv", "name,xmin,ymin,xmax,ymax,frame\ncup,1,1,9,9,0.5\n", {}, "'0.5' is not a whole number"),
        ("a.csv", "name,xmin,ymin,xmax,ymax,video_id\ncup,1,1,9,9,other\n", {}, "no box for any video"),
        ("a.json", "[]", {}, "no file of areas"),
        ("a.json", "{", {}, "not valid JSON"),
        ("a.json", '{"images": {}, "annotations": []}', {}, "no COCO document"),
        ("a.json", _two_pictures(file_name="a_2.png"), {}, "width and height"),
        ("a.json", _two_pictures(file_name="b.png", width=80, height=64), {}, "no number in its name"),
        (
            "a.json",
            _two_pictures(file_name="a_2.png", width=80, height=64),
            {"areas_count_from": 2},
            "before the first",
        ),
        (
            "a.json",
            _two_pictures(file_name="a_2", width=8, height=8).replace('"height": 64', '"height": 99'),
            {},
            "turned",
        ),
        (
            "a.json",
            _two_pictures(file_name="a_2", width=8, height=8).replace('"id": 1, "n', '"id": 2, "n'),
            {},
            "category",
        ),
        ("a.csv", "noun,video_id,frame,bounding_boxes\ncup,P01_01,1,\"__import__('os')\"\n", {}, "no list of"),
        ("a.png", "x", {}, "no file of areas that is recognised"),
        ("a.json", '{"images": [], "annotations": []}', {"areas_units": "pixels"}, "whose units are known"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_words(
    store: Path, tmp_path: Path, name: str, text: str, options: Any, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GazetoolsError) as caught:
        gaze_table(store, areas=str(tmp_path / name), **options)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_boxes_of_single_frames_need_their_video_where_there_are_several(tmp_path: Path) -> None:
    for video_id in ("a", "b"):
        make_video(tmp_path / "store", video_id, frame_count=3)
    areas = tmp_path / "areas.csv"
    areas.write_text("name,xmin,ymin,xmax,ymax,frame\ncup,1,1,50,50,1\n")
    done = run_cli("table", str(tmp_path / "store"), "-o", str(tmp_path / "t.csv"), "--areas", str(areas))
    assert done.exit_code == 2
    assert "--video ID" in done.stderr
    assert list(tmp_path.glob("t*")) == []
    options = TableOptions(areas=str(areas))
    write_gaze_table(tmp_path / "store", tmp_path / "t.csv", options=options, videos=["b"])
    areas.write_text("name,xmin,ymin,xmax,ymax,frame,video_id\ncup,1,1,50,50,1,a\npan,1,1,50,50,2,b\n")
    table = gaze_table(tmp_path / "store", areas=str(areas))
    known = {name: np.flatnonzero(~np.isnan(table[f"mass_{name}"])).tolist() for name in ("cup", "pan")}
    assert known == {"cup": [1], "pan": [5]}


@pytest.mark.slow
def test_a_million_boxes_are_read_or_refused_in_bounded_time(store: Path, tmp_path: Path) -> None:
    """CVAT's tracks and a CSV with 300,000 boxes each; 2,000 names are too many columns."""
    boxes = "".join(_box_xml(PAN, f'frame="{frame}" outside="0"') for frame in range(FRAMES))
    tracks = "".join(f'<track id="{number}" label="cup">{boxes}</track>' for number in range(50_000))
    (tmp_path / "a.xml").write_text(f"<annotations>{tracks}</annotations>")
    assert len(read_areas(tmp_path / "a.xml", TableOptions(areas="x"))) == 300_000
    lines = [f"n{number % 2000},1,1,50,50,{number % FRAMES}" for number in range(300_000)]
    (tmp_path / "a.csv").write_text("name,xmin,ymin,xmax,ymax,frame\n" + "\n".join(lines) + "\n")
    with pytest.raises(GazetoolsError, match="at most 1000"):
        gaze_table(store, areas=str(tmp_path / "a.csv"))
