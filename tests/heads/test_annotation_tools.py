"""Boxes from annotation tools: the same boxes in every tool's clothes, what is asked, what is refused in words."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.heads.files import BoxVideo, read_heads
from gazetools.schemas.errors import HeadsError, UsageError
from gazetools.schemas.heads import BoxFileOptions
from tests.helpers.annotation_files import (
    XML,
    Row,
    coco,
    cvat_images,
    cvat_video,
    region,
    task,
    wider,
    write_yolo,
    yolo_line,
)

VIDEO = BoxVideo(width=480, height=270, frame_count=12)
SIZE = {"width": 480, "height": 270, "frame_count": 12}
LEFT: list[Row] = [(frame, 1, 138.25 + 2 * frame, 17.75, 188.0 + 2 * frame, 68.75) for frame in range(12)]
RIGHT: list[Row] = [(frame, 2, 300.5 + frame, 140.25, 350.5 + frame, 200.5) for frame in range(12)]
BOTH = sorted(LEFT + RIGHT)
ALONE = [(frame, 0, *box) for frame, _, *box in LEFT]
_IDS = {1: 5, 2: 6}
_MARKUP = "<b>Anna</b>[red]"


def _project() -> str:
    """CVAT's export of a project: two tasks, whose tracks name their task."""
    one, two = (cvat_video(rows).split("</meta>")[1].removesuffix("</annotations>") for rows in (LEFT, RIGHT))
    tasks = "".join(f"<task><id>{n}</id><name>t{n}</name><source>{n}.mp4</source></task>" for n in (4, 5))
    one, two = one.replace("<track ", '<track task_id="4" '), two.replace("<track ", '<track task_id="5" ')
    return f"{XML}<annotations><meta><project><tasks>{tasks}</tasks></project></meta>{one}{two}</annotations>"


def _labels(*names: str) -> str:
    """COCO with a second category, of the boxes of person 2."""
    document = json.loads(coco(BOTH, categories=names))
    for entry in document["annotations"]:
        entry["category_id"] = entry["attributes"]["track_id"]
    return json.dumps(document)


def _videos() -> str:
    """CocoVID's JSON of two videos."""
    document = json.loads(coco(LEFT, person="instance_id", frame_key="frame_id"))
    for image in document["images"]:
        image["video_id"] = 1
    other = [{**image, "id": image["id"] + 100, "video_id": 2} for image in document["images"]]
    boxes = [{**one, "image_id": one["image_id"] + 100, "bbox": [0, 0, 9, 9]} for one in document["annotations"]]
    document["images"] += other
    document["annotations"] += boxes
    document["videos"] = [{"id": 1, "name": "takes/clip"}, {"id": 2, "name": "takes/other"}]
    return json.dumps(document)


def _studio(*regions: Any, **more: Any) -> str:
    return json.dumps([task("http://host/data/upload/1/0f1e2d3c-clip.mp4", regions, **more)])


_FEW = [LEFT[0], LEFT[11]]
"""Two keyframes: the head moves evenly."""
_ASKED = {"heads_count_from": 0}
READ: list[tuple[str, str, list[Row], dict[str, Any], str]] = [
    ("coco of CVAT", coco(BOTH), BOTH, {}, "last number of picture's name"),
    ("names from 1", coco(BOTH, name=lambda f: f"img/{f + 1}.jpg"), BOTH, {}, "frames from 1"),
    ("cocovid", coco(BOTH, person="instance_id", frame_key="frame_id"), BOTH, {}, "frame number of its image"),
    ("names without numbers", coco(BOTH, name=lambda f: "abcdefghijkl"[f] + ".png"), BOTH, {}, "order of picture ids"),
    ("one person without ids", coco(LEFT, person=None), ALONE, {}, "all are of one person, 0"),
    ("persons as texts", coco(LEFT, person="track_id").replace('"track_id": 1', '"track_id": "1"'), LEFT, {}, ""),
    ("pictures of half the size", coco(BOTH, scale=0.5), BOTH, {}, "scaled to the video's 480x270"),
    ("crowds and no boxes", coco(BOTH).replace('"iscrowd": 0', '"iscrowd": 1', 1), BOTH[1:], {}, "1 rows of crowds"),
    ("heads among bodies", _labels("Head", "person"), LEFT, {}, "12 rows of other labels than Head"),
    ("a label that is asked for", _labels("man", "woman"), RIGHT, {"heads_label": "Woman"}, "12 rows of other labels"),
    ("persons alone are heads", coco(BOTH, categories=["person"]), BOTH, {}, "'person'; they are read as heads"),
    ("one of two videos", _videos(), LEFT, {}, "12 rows of other videos"),
    ("cvat's video", cvat_video(BOTH), BOTH, {}, "2 rows marked outside"),
    ("cvat's attribute", cvat_video(BOTH, attribute=True), BOTH, {}, "for video; frames from 0"),
    ("cvat's images", cvat_images(BOTH), BOTH, {}, "for images; frame: last number"),
    ("ids of images", cvat_images(BOTH, name=lambda f: "x"), BOTH, {}, "for images; frame: id of the image"),
    ("cvat's project", _project().replace("4.mp4", "clip.mp4"), LEFT, {}, "12 rows of other videos"),
    (
        "label studio",
        _studio(region("head-2", RIGHT), region("head-1", LEFT, label="head")),
        BOTH,
        {},
        "percent",
    ),
    ("between keyframes", _studio(region("7", _FEW)), [(f, 7, *b) for f, _, *b in LEFT], {}, "10 of its boxes lie"),
    (
        "to the end of the video",
        _studio(region("1", [(3, 1, 9, 9, 60, 60)], last_enabled=True)),
        [(f, 1, 9, 9, 60, 60) for f in range(3, 12)],
        {},
        "8 of its boxes lie",
    ),
    ("ids of letters", _studio(region("aX3f", LEFT), region("zz", RIGHT)), BOTH, {}, "1 is 'aX3f', 2 is 'zz'"),
    ("a prediction", _studio(region("1", LEFT), kind="predictions"), LEFT, {}, "its prediction is read"),
    ("markup is text", _studio(region(_MARKUP, LEFT)), LEFT, {}, f"1 is {_MARKUP!r}"),
    ("a list of faces", wider(ALONE[:3] + ALONE[4:]), ALONE[:3] + ALONE[4:], {}, "frames from 1"),
    (
        "supervision's sink",
        "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index\n"
        + "".join(f"{x1},{y1},{x2},{y2},0,0.9,{t},{f}\n" for f, t, x1, y1, x2, y2 in BOTH),
        BOTH,
        {},
        "columns frame_index, tracker_id",
    ),
    (
        "libreyolo's and ultralytics' columns",
        "frame,track_id,class,name,confidence,x1,y1,x2,y2\n"
        + "".join(f"{f},{t},0,head,0.9,{x1},{y1},{x2},{y2}\n" for f, t, x1, y1, x2, y2 in BOTH),
        BOTH,
        {},
        "corners",
    ),
    (
        "yolo's lines behind frames",
        "".join(f"{f} {yolo_line(t, box, '0 {cx} {cy} {w} {h} 0.9 {t}')}\n" for f, t, *box in BOTH),
        BOTH,
        {"heads_format": "yolo-frames"},
        "fraction",
    ),
]


@pytest.mark.parametrize(
    ("text", "rows", "options", "says"), [row[1:] for row in READ], ids=[row[0].replace(" ", "-") for row in READ]
)
def test_the_same_boxes_from_every_tool(
    tmp_path: Path, text: str, rows: list[Row], options: dict[str, Any], says: str
) -> None:
    path = tmp_path / "boxes"
    path.write_text(text)
    table = read_heads(path, BoxFileOptions(**options), video=VIDEO, video_id="takes/clip")
    assert table.frame.tolist() == [row[0] for row in rows]
    assert table.track_id.tolist() == [row[1] for row in rows]
    shown = table.normalised(**SIZE).box_xyxy * [480, 270, 480, 270]
    np.testing.assert_allclose(shown, [row[2:] for row in rows], atol=6e-3)  # CVAT rounds to 0.01
    assert says in " ".join([table.reading, *table.notes])


LABELS = [
    ("one person", ALONE, "0 {cx} {cy} {w} {h}", "clip_{:06d}.txt", ""),
    ("ultralytics' confidence and track", BOTH, "0 {cx} {cy} {w} {h} 0.87 {t}", "clip_{}.txt", ""),
    ("track alone", BOTH, "0 {cx} {cy} {w} {h} {t}", "clip_{}.txt", ""),
    ("confidence alone", ALONE, "0 {cx} {cy} {w} {h} 0.5", "{:05d}.txt", "labels"),
    ("a folder of its name", BOTH, "3 {cx} {cy} {w} {h} 1 {t}", "{}.txt", "clip/labels"),
]


@pytest.mark.parametrize(
    ("rows", "template", "name", "inside"), [row[1:] for row in LABELS], ids=[r[0] for r in LABELS]
)
def test_label_files_of_yolo(tmp_path: Path, rows: list[Row], template: str, name: str, inside: str) -> None:
    from gazetools.heads.spec import heads_digest, heads_for_video, open_heads
    from gazetools.schemas.extract import ExtractOptions

    write_yolo(tmp_path / inside, rows, template, name=name, count_from=1)
    if name.startswith("clip"):  # one folder for all videos, as Ultralytics writes it
        write_yolo(tmp_path / inside, RIGHT[:2], template, name="other" + name[4:])
    options = ExtractOptions(heads=f"file:{tmp_path}", model="centre-prior")
    found = open_heads(options, ["clip"])
    boxes = heads_for_video(options, found, "clip", **SIZE)
    assert found is not None and boxes.table is not None
    assert boxes.sha256 == heads_digest(options, found["clip"])
    assert boxes.table.track_id.tolist() == [row[1] for row in rows]
    assert "frames from 1" in boxes.table.reading
    np.testing.assert_allclose(boxes.table.box_xyxy * [480, 270, 480, 270], [row[2:] for row in rows], atol=1e-3)
    few = tmp_path / "few"
    write_yolo(few, rows[3:6], template, name=name)
    with pytest.raises(HeadsError, match="--heads-count-from"):
        read_heads(few, video=VIDEO)


def _changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


_BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><annotations><track id="&b;"/></annotations>'
_OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations><version>&a;</version></annotations>'
_LIST = wider(ALONE)
WRONG: list[tuple[str, str, str]] = [
    ("an entity bomb", _BOMB, "document type or entities"),
    ("a file as entity", _OUTSIDE, "document type or entities"),
    ("deep xml", "<annotations>" + "<a>" * 300, "nested more than 100 deep"),
    ("cut xml", cvat_video(BOTH)[:-30], "not valid XML"),
    ("deep json", '{"images": [], "annotations": ' + "[" * 100_000, "nested too deeply"),
    ("cut json", coco(BOTH)[:-30], "not valid JSON"),
    ("two documents", coco(BOTH) + "{}", "behind the end"),
    ("nan", _changed(coco(BOTH), "138.25", "NaN"), "NaN is not JSON"),
    ("a key twice", _changed(coco(BOTH), '"iscrowd": 0', '"iscrowd": 0, "iscrowd": 0'), "same key twice"),
    ("coco's results", json.dumps(json.loads(coco(BOTH))["annotations"]), "a list without 'images'"),
    ("no images", _changed(coco(BOTH), '"images"', '"pictures"'), "without 'images'"),
    ("an unknown image", _changed(coco(BOTH), '"image_id": 7', '"image_id": 99'), "image_id '99' of an annotation"),
    ("a text as box", _changed(coco(BOTH), "138.25", '"a<i>"'), "annotation 1: bbox is"),
    ("corners as box", _changed(coco(BOTH), "49.75", "-3"), "annotation 1: the box"),
    ("some ids", _changed(coco(BOTH, person="track_id"), '"track_id": 2', '"x": 2'), "annotation 2 has no track_id"),
    ("two people without ids", coco(BOTH, person=None), "annotations 1 and 2: two boxes of track 0"),
    ("labels", _labels("man", "woman"), "boxes of 2 labels: 'man', 'woman'".replace("'", "")),
    ("head and face", _labels("head", "face"), "--heads-label NAME"),
    ("two sizes", _changed(coco(BOTH), '"width": 480', '"width": 960'), "2 sizes, such as 480x270 and 960x270"),
    ("another shape", coco(BOTH).replace('"width": 480', '"width": 270'), "another shape"),
    ("some numbers", _changed(coco(BOTH), "frame_000003", "still"), "1 of 12 pictures have no number"),
    ("one number twice", _changed(coco(BOTH), "frame_000003", "b_000004"), "end in the same number"),
    ("two videos", _videos().replace("takes/clip", "x"), "boxes of 2 videos (takes/other, x); none of them can be"),
    ("0 or 1", coco(LEFT[1:9], frames=12).replace("_000011", "_000012"), "--heads-count-from 0"),
    ("cvat's project of others", _project(), "boxes of 2 videos (4.mp4, 5.mp4)"),
    ("turned in cvat", _changed(cvat_video(BOTH), 'outside="0"', 'outside="0" rotation="12.5"'), "turned by '12.5'"),
    ("cvat's cell", _changed(cvat_video(BOTH), 'xtl="138.25"', 'xtl="left"'), "box 1: xtl is 'left', not a number"),
    ("cvat's frame", _changed(cvat_video(BOTH), 'frame="0"', 'frame="-1"'), "its frame is '-1'"),
    (
        "tasks of annotators",
        json.dumps([{**task("clip.mp4", []), "annotations": [{"result": []}] * 2}]),
        "2 annotations",
    ),
    ("one video twice", json.dumps([task("clip.mp4", [])] * 2), "two tasks of the video 'clip.mp4'"),
    ("no tasks", '[{"result": [{"type": "videorectangle", "value": {"sequence": []}}]}]', "no list of tasks"),
    ("pictures", _studio({"type": "rectanglelabels", "value": {"x": 1}, "id": "a"}), "no region of the type"),
    ("turned", _changed(_studio(region("1", LEFT)), '"rotation": 0', '"rotation": 3'), "turned by '3' degrees"),
    ("no frame", _changed(_studio(region("1", LEFT)), '"frame": 1', '"frame": "x"'), "has no frame"),
    ("endless", _studio(region("1", LEFT, last_enabled=True, frames=2_000_000_000)), "more than 20,000,000 boxes"),
    ("faces without number", _changed(_LIST, "2.jpg\n1\n", "2.jpg\nfew\n"), "line 5 is 'few', not the number"),
    ("a face too few", _changed(_LIST, "00002.jpg\n1\n", "00002.jpg\n2\n"), "line 7 is 'clip/00003.jpg', not a face"),
    ("faces of two videos", _LIST.replace("clip/", "a/") + "b/7.jpg\n1\n1 1 9 9\n", "of 2 videos (a, b)"),
    ("a label file alone", "0 0.31 0.2 0.1 0.15\n0 0.6 0.2 0.1 0.15\n", "Pass the folder with all of them"),
]


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in WRONG], ids=[row[0].replace(" ", "-") for row in WRONG])
def test_what_is_refused_says_why(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "boxes"
    path.write_text(text)
    with pytest.raises(HeadsError) as caught:
        read_heads(path, video=VIDEO, video_id="takes/clip").normalised(**SIZE)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1500 + len(str(path))


def test_one_file_of_several_videos_serves_each_of_them(tmp_path: Path) -> None:
    """Label Studio exports a project as one file."""
    from gazetools.heads.spec import heads_for_video, open_heads
    from gazetools.schemas.extract import ExtractOptions

    tasks = [task(f"s3://x/{name}.mp4", [region(str(n), LEFT)]) for n, name in enumerate("abc", 3)]
    path = tmp_path / "project.json"
    path.write_text(json.dumps(tasks))
    options = ExtractOptions(heads=f"file:{path}", model="centre-prior")
    found = open_heads(options, ["take/b", "a", "x"])
    assert found == {"take/b": path, "a": path}
    for video_id, person in (("take/b", 4), ("a", 3)):
        boxes = heads_for_video(options, found, video_id, **SIZE).table
        assert boxes is not None
        assert (len(boxes), {*boxes.track_id.tolist()}) == (12, {person})
    path.write_text(json.dumps([task("a.mp4", [region("1", _FEW), region("g", _FEW[:1], label="gaze")])]))
    filled = heads_for_video(options, {"a": path}, "a", **SIZE)
    assert filled.counts["filled_boxes"] == 10, "they depend on later frames, as those of --fill-gaps"
    path.write_text(cvat_video(LEFT))
    assert heads_for_video(options, {"a": path}, "a", **SIZE).counts["filled_boxes"] == 9
    path.write_text(json.dumps(tasks))
    with pytest.raises(HeadsError, match="No head-box file for video 'x'"):
        heads_for_video(options, found, "x", **SIZE)
    with pytest.raises(HeadsError, match=r"boxes of s3://x/a.mp4, .* none of which is one of the 2 videos"):
        open_heads(options, ["x", "y"])
    path.write_text(json.dumps(tasks[2:]))
    with pytest.raises(UsageError, match="one file, but there are 2 videos"):
        open_heads(options, ["a", "b"])


def _big_coco(count: int) -> str:
    return coco([(n // 4, n % 4, 10 + n % 50, 20, 60 + n % 50, 90) for n in range(count)], frames=count // 4)


def _big_cvat(count: int) -> str:
    return cvat_video([(n // 4, n % 4, 10 + n % 50, 20, 60 + n % 50, 90) for n in range(count)])


def _big_studio(count: int) -> str:
    rows = [[(n, 1, 10 + n % 50, 20, 60 + n % 50, 90) for n in range(count // 4)] for _ in range(4)]
    return _studio(*(region(f"head-{t}", boxes, frames=count // 4) for t, boxes in enumerate(rows)))


@pytest.mark.slow
@pytest.mark.parametrize("make", [_big_coco, _big_cvat, _big_studio])
def test_a_million_boxes(tmp_path: Path, make: Callable[[int], str]) -> None:
    """In seconds, and in memory that is bounded by the columns (COCO, CVAT), or a few times the file."""
    count = 1_000_000
    path = tmp_path / "boxes"
    path.write_text(make(count))
    video = BoxVideo(width=480, height=270, frame_count=count // 4)
    began = time.monotonic()
    table = read_heads(path, video=video)
    seconds = time.monotonic() - began
    assert len(table) == count
    print(f"{make.__name__}: {path.stat().st_size / 1e6:.0f} MB, {seconds:.1f} s")
    small = tmp_path / "small"
    small.write_text(make(40_000))
    tracemalloc.start()
    read_heads(small, video=video)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * small.stat().st_size + (64 << 20)
