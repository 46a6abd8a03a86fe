"""Boxes and gaze points for annotation tools: they come back, nothing is lost in silence, the tools can read them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gazetools
from gazetools.exchange.exports import EXPORTS
from gazetools.heads.files import BoxVideo, read_heads
from gazetools.schemas.convert import EXPORT_NAMES, ExportReport
from gazetools.schemas.errors import HeadsError, UsageError
from gazetools.store import open_store
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_store, make_video

SUFFIX = {"coco": ".json", "cvat": ".xml", "label-studio": ".json"}
VIDEO = BoxVideo(width=96, height=64, frame_count=12)
_TOOLS = os.environ.get("GAZETOOLS_ANNOTATION_TOOLS")
tools = pytest.mark.skipif(not _TOOLS, reason="GAZETOOLS_ANNOTATION_TOOLS names no Python with annotation tools")


def test_every_export_has_a_word() -> None:
    assert {*EXPORT_NAMES} == EXPORTS.keys()
    assert {*EXPORT_NAMES} >= SUFFIX.keys()


def _convert(store: Path, output: Path, layout: str, **more: Any) -> ExportReport:
    report = gazetools.convert(store, output, layout=layout, **more)
    assert isinstance(report, ExportReport)
    return report


_SIDE = st.floats(0, 1, width=32)
_BOX = st.tuples(_SIDE, _SIDE, _SIDE, _SIDE).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.dictionaries(
        st.sampled_from([0, 2, 3, 4, 7, 8, 11]), st.dictionaries(st.sampled_from([0, 1, 9, 500]), _BOX), min_size=1
    )
)
def test_boxes_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, people: dict[int, dict[int, tuple[float, float, float, float]]]
) -> None:
    """Frames are processed with gaps; people come and go. Between keyframes Label Studio shows further boxes."""
    root = tmp_path_factory.mktemp("export")
    keys = [(frame, track) for frame in sorted(people) for track in sorted(people[frame])]
    boxes = np.array([people[frame][track] for frame, track in keys], np.float32).reshape(-1, 4)
    make_video(
        root / "st",
        index=sorted(people),
        people={frame: list(tracks) for frame, tracks in people.items()},
        change_rows=lambda rows: rows.update(box_xyxy=boxes),
        heads={"spec": "file:x", "sha256": None, "rows": 0, "clipped_boxes": 0, "small_heads": "grow", "prompts": {}},
    )
    for layout, suffix in SUFFIX.items():
        report = _convert(root / "st", root / layout, layout)
        assert [(item.status, item.rows) for item in report.items] == [("written", len(keys))]
        if not keys:
            continue
        table = read_heads(root / layout / f"clip{suffix}", video=VIDEO, video_id="clip")
        shown = table.normalised(width=96, height=64, frame_count=12)
        found = dict(zip(zip(shown.frame.tolist(), shown.track_id.tolist(), strict=True), shown.box_xyxy, strict=True))
        if layout != "label-studio":
            assert sorted(found) == sorted(keys)
        for key, box in zip(keys, boxes, strict=True):
            assert found[key].astype(np.float32).tobytes() == box.tobytes(), (layout, key, found[key], box)
        extra = [frame for frame, _ in found.keys() - set(keys)]
        assert not set(extra) & set(people), "no box in a processed frame in which the person is not"


def _scene(root: Path, **more: Any) -> Path:
    """A store whose peaks, scores and absences are known: person 1 always, person 2 in frames 4 to 7."""

    def peak(frame: int, track: int) -> np.ndarray[Any, Any]:
        maps = np.full((8, 10), 0.1)
        maps[track, frame % 10] = 0.5
        return np.zeros((8, 10)) if (frame, track) == (9, 1) else maps

    people = {frame: [1, 2] if 4 <= frame < 8 else [1] for frame in range(12)}
    inout = {0: 0.2, 1: np.nan}
    file = {"spec": "file:x", "sha256": None, "rows": 0, "clipped_boxes": 0, "small_heads": "grow", "prompts": {}}
    make_video(
        root,
        more.pop("video_id", "take/clip"),
        people=people,
        make_map=peak,
        make_inout=lambda frame, track: inout.get(frame, 0.9) if track == 1 else 0.9,
        roles={1: "wearer", 2: "other"},
        heads={**file, **more},
    )
    return root


def test_coco_says_where_people_look(tmp_path: Path) -> None:
    """Cell centres of the peak in pixels; out of the frame (0.2) and an empty map give no point, unknown does."""
    _convert(_scene(tmp_path / "st"), tmp_path / "out", "coco")
    found = json.loads((tmp_path / "out/take/clip.json").read_text())
    assert found["categories"][0]["keypoints"] == ["gaze"]
    assert [image["frame_id"] for image in found["images"]] == list(range(12))
    assert found["images"][3]["file_name"] == "take/clip/frame_000003.png"
    points = {(one["image_id"] - 1, one["track_id"]): one["keypoints"] for one in found["annotations"]}
    assert points[0, 1] == [0, 0, 0] == points[9, 1]
    assert points[1, 1] == [14.4, 12.0, 2]
    assert points[7, 2] == [72.0, 20.0, 2]
    one = found["annotations"][0]
    assert (one["score"], one["attributes"]) == (0.5, {"track_id": 1, "role": "wearer", "inout": pytest.approx(0.2)})
    assert found["annotations"][1]["attributes"]["inout"] is None


def test_cvat_ends_tracks_where_people_leave(tmp_path: Path) -> None:
    _convert(_scene(tmp_path / "st"), tmp_path / "out", "cvat")
    root = ET.parse(tmp_path / "out/take/clip.xml").getroot()
    tracks = {(track.get("id"), track.get("label")): track for track in root.findall("track")}
    assert [*tracks] == [("1", "head"), ("3", "gaze"), ("2", "head"), ("4", "gaze")]
    shown = [(int(box.get("frame", "")), box.get("outside")) for box in tracks["2", "head"]]
    assert shown == [(4, "0"), (5, "0"), (6, "0"), (7, "0"), (8, "1")]
    gaze = [(int(point.get("frame", "")), point.get("outside")) for point in tracks["3", "gaze"]]
    assert gaze[0] == (1, "0"), "frame 0 is a look out of the frame"
    assert [entry for entry in gaze if entry[1] == "1"] == [(9, "1")]
    assert tracks["3", "gaze"][0].get("points") == "14.4,12"
    assert {box.findtext("attribute") for box in tracks["2", "head"]} == {"2"}


def test_label_studio_ends_regions_where_people_leave(tmp_path: Path) -> None:
    _convert(_scene(tmp_path / "st"), tmp_path / "out", "label-studio")
    (task,) = json.loads((tmp_path / "out/take/clip.json").read_text())
    assert task["data"] == {"video": "/data/local-files/?d=take/clip.mp4", "fps": 30.0, "video_id": "take/clip"}
    regions = {one["id"]: one["value"] for one in task["predictions"][0]["result"]}
    assert {name: value["labels"] for name, value in regions.items()} == {
        "head-1": ["head"],
        "gaze-1": ["gaze"],
        "head-2": ["head"],
        "gaze-2": ["gaze"],
    }
    frames = [(key["frame"], key["enabled"]) for key in regions["head-2"]["sequence"]]
    assert frames == [(5, True), (6, True), (7, True), (8, False)]
    spot = regions["gaze-1"]["sequence"][0]
    assert [spot[key] for key in ("frame", "x", "y", "width", "height")] == [2, 10, 12.5, 10, 12.5]


@pytest.mark.parametrize("layout", SUFFIX)
def test_what_is_there_is_kept_and_corrections_are_never_lost(tmp_path: Path, layout: str) -> None:
    store, out = _scene(tmp_path / "st"), tmp_path / "out"
    first = _convert(store, out, layout)
    path = out / f"take/clip{SUFFIX[layout]}"
    data, manifest = path.read_bytes(), (out / "manifest.json").read_bytes()
    assert first.notes == json.loads(manifest)["notes"]
    assert [item.status for item in _convert(store, out, layout).items] == ["unchanged"]
    (out / "manifest.json").unlink()  # a run that was killed before its end
    assert [item.status for item in _convert(store, out, layout).items] == ["written"]
    assert (path.read_bytes(), (out / "manifest.json").read_bytes()) == (data, manifest)
    path.write_bytes(data + b"\n")
    report = _convert(store, out, layout)
    assert (report.exit_code, report.items[0].status, path.read_bytes()) == (1, "failed", data + b"\n")
    assert "corrections in it would be lost" in str(report.items[0].reason)
    assert [item.status for item in _convert(store, out, layout, overwrite=True).items] == ["written"]
    assert path.read_bytes() == data
    assert not [*out.rglob(".*")]


def test_every_video_is_accounted_for(tmp_path: Path) -> None:
    store = _scene(tmp_path / "st")
    _scene(store, video_id="no-boxes", spec="whole")
    _scene(store, video_id="b")
    (store / "b.json").unlink()
    result = run_cli("convert", str(store), "-o", str(tmp_path / "out"), "--layout", "coco", "--json")
    report = json.loads(result.stdout)
    items = {item["video_id"]: (item["status"], item["reason"] or "") for item in report["items"]}
    assert (result.exit_code, [*items]) == (1, ["b", "no-boxes", "take/clip"])
    assert items["take/clip"][0] == "written"
    assert "no sidecar" in items["b"][1]
    assert "--heads whole" in items["no-boxes"][1]
    assert any("Lost" in note for note in report["notes"])
    shown = run_cli("convert", str(store), "-o", str(tmp_path / "out"), "--layout", "coco")
    assert "Lost: the maps but for that point" in " ".join(shown.stdout.split())


def _empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


REFUSED: list[tuple[str, Callable[[Path, Path], dict[str, Any]], str]] = [
    ("a dtype", lambda _, __: {"dtype": "uint8"}, "writes no maps"),
    ("an array", lambda _, __: {"choice": gazetools.schemas.foreign.ArrayChoice(key="m")}, "needs no choice of arrays"),
    ("inside of the store", lambda store, _: {"output": store / "x"}, "would lie inside"),
    ("another export", lambda store, out: {"layout": "cvat", "ran": _convert(store, out, "coco")}, "--layout coco"),
    ("no store", lambda store, out: {"source": _empty(out.parent)}, "holds no store files"),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_work_is_refused_before_any_work(
    tmp_path: Path, change: Callable[[Path, Path], dict[str, Any]], words: str
) -> None:
    import gazetools.schemas.foreign

    store, out = _scene(tmp_path / "st"), tmp_path / "out"
    out.mkdir()
    given = {"source": store, "output": out, "layout": "coco", **change(store, out)}
    given.pop("ran", None)
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError, match=words):
        gazetools.convert(**given)
    assert sorted(out.rglob("*")) == before


def test_a_packed_dataset_has_no_boxes(tmp_path: Path) -> None:
    make_store(tmp_path / "st")
    gazetools.pack(tmp_path / "st", tmp_path / "ds")
    with pytest.raises(UsageError, match=r"packed dataset .*whose maps have no boxes"):
        gazetools.convert(tmp_path / "ds", tmp_path / "out", layout="cvat")


def test_names_with_markup_are_text(tmp_path: Path) -> None:
    name = "<b>&amp;\"quoted\" 'clip' 人"
    store = _scene(tmp_path / "st", video_id=name)
    for layout, suffix in SUFFIX.items():
        _convert(store, tmp_path / layout, layout)
        path = tmp_path / layout / f"{name}{suffix}"
        assert len(read_heads(path, video=VIDEO, video_id=name)) == 16
        if suffix == ".xml":
            assert ET.parse(path).getroot().findtext("meta/task/name") == name


@pytest.mark.slow
def test_pycocotools_finds_every_box_and_point(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="the package pycocotools is not installed")
    store = _scene(tmp_path / "st")
    _convert(store, tmp_path / "out", "coco")
    found = coco.COCO(str(tmp_path / "out/take/clip.json"))
    with open_store(store / "take/clip.h5") as held:
        rows = held.rows()
    assert len(found.getImgIds()) == 12
    assert len(found.getAnnIds(catIds=found.getCatIds(catNms=["head"]))) == len(rows.frame)
    for image in found.loadImgs(found.getImgIds()):
        boxes = found.loadAnns(found.getAnnIds(imgIds=image["id"]))
        here = rows.frame == image["frame_id"]
        assert [box["track_id"] for box in boxes] == rows.track_id[here].tolist()
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (box["bbox"] for box in boxes)])
        np.testing.assert_allclose(corners / [96, 64, 96, 64], rows.box_xyxy[here], rtol=1e-6)


def _by_tools(script: str, path: Path) -> Any:
    """What the script prints as JSON, run by a Python that has the annotation tools' packages."""
    done = subprocess.run([str(_TOOLS), "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_DATUMARO = """
import json, sys
from datumaro.components.dataset import Dataset
found = []
for item in Dataset.import_from(sys.argv[1], "cvat"):
    for one in item.annotations:
        if one.type.name == "bbox" and not one.attributes["outside"]:
            found.append([item.attributes["frame"], one.attributes["track_id"], *map(float, one.points)])
print(json.dumps(sorted(found)))
"""
_STUDIO = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames
(task,) = json.load(open(sys.argv[1]))
(prediction,) = task["predictions"]
config = '''<View><Labels name="label" toName="video"><Label value="head"/><Label value="gaze"/></Labels>
<Video name="video" value="$video" frameRate="$fps"/><VideoRectangle name="box" toName="video"/></View>'''
problems = LabelInterface(config).validate_prediction(prediction, return_errors=True)
whole = extract_key_frames(prediction["result"])
frames = {one["id"]: [key["frame"] for key in one["value"]["sequence"]] for one in whole}
print(json.dumps([problems, frames]))
"""


@pytest.mark.slow
@tools
def test_datumaro_reads_cvats_xml(tmp_path: Path) -> None:
    """The package that CVAT itself imports and exports with."""
    store = _scene(tmp_path / "st")
    _convert(store, tmp_path / "out", "cvat")
    found = np.array(_by_tools(_DATUMARO, tmp_path / "out/take/clip.xml"))
    with open_store(store / "take/clip.h5") as held:
        rows = held.rows()
    assert found[:, :2].astype(int).tolist() == np.column_stack([rows.frame, rows.track_id]).tolist()
    np.testing.assert_allclose(found[:, 2:] / [96, 64, 96, 64], rows.box_xyxy, rtol=1e-5)


@pytest.mark.slow
@tools
def test_label_studios_sdk_accepts_the_prediction(tmp_path: Path) -> None:
    _convert(_scene(tmp_path / "st"), tmp_path / "out", "label-studio")
    problems, frames = _by_tools(_STUDIO, tmp_path / "out/take/clip.json")
    assert problems == []
    assert (frames["head-1"], frames["head-2"]) == (list(range(1, 13)), [5, 6, 7, 8])


def test_a_correction_in_the_file_is_what_is_read(tmp_path: Path) -> None:
    """The way round: export, correct a box and take a person away by hand, read again."""
    _convert(_scene(tmp_path / "st"), tmp_path / "out", "coco")
    path = tmp_path / "out/take/clip.json"
    document = json.loads(path.read_text())
    document["annotations"] = [one for one in document["annotations"] if one["track_id"] == 1]
    document["annotations"][0]["bbox"] = [10, 20, 30, 40]
    path.write_text(json.dumps(document))
    table = read_heads(path, video=VIDEO, video_id="take/clip")
    assert table.box_xyxy[0].tolist() == [10, 20, 40, 60]
    assert set(table.track_id.tolist()) == {1}
    document["annotations"][0]["bbox"] = [10, 20, 300, 40]
    path.write_text(json.dumps(document))
    with pytest.raises(HeadsError, match=r"annotation 1: the box .* lies outside the 96x64 video"):
        read_heads(path, video=VIDEO).normalised(width=96, height=64, frame_count=12)
