"""The scripts for ELAN, Rerun and FiftyOne: the file that ELAN gets, element by element; what the others receive."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
import xml.etree.ElementTree as Xml
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.helpers.stores import MadeVideo, make_video

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMES, RATE = 30, 30.0


def _run(script: str, *arguments: object) -> list[str]:
    """The lines that the script prints."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _map(frame: int, track: int) -> np.ndarray[Any, Any]:
    """The peak of person 1 is top left, then bottom right from frame 10 on; that of person 2 in the centre."""
    heatmap = np.full((9, 12), 0.1)
    heatmap[(1, 1) if track == 1 and frame < 10 else (8, 11) if track == 1 else (4, 5)] = 0.9
    return heatmap


@pytest.fixture
def store(tmp_path: Path) -> MadeVideo:
    """Person 1 in all frames but 20 to 22, looking outside in frames 5 and 6; person 2 in the first ten."""
    people = {f: [1, 2] if f < 10 else [1] if f not in (20, 21, 22) else [] for f in range(FRAMES)}
    return make_video(
        tmp_path / "store",
        "take/clip",
        frame_count=FRAMES,
        people=people,
        size_hw=(9, 12),
        make_map=_map,
        make_inout=lambda frame, track: 0.2 if track == 1 and frame in (5, 6) else 0.9,
    )


CHILDREN = {
    "ANNOTATION_DOCUMENT": ("HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"),
    "HEADER": ("MEDIA_DESCRIPTOR",),
    "TIME_ORDER": ("TIME_SLOT",),
    "TIER": ("ANNOTATION",),
    "ANNOTATION": ("ALIGNABLE_ANNOTATION",),
    "ALIGNABLE_ANNOTATION": ("ANNOTATION_VALUE",),
}
"""EAFv3.0.xsd, as far as the script uses it: the children of each element in the order of the schema."""
REQUIRED = {
    "ANNOTATION_DOCUMENT": {"AUTHOR", "DATE", "VERSION"},
    "MEDIA_DESCRIPTOR": {"MEDIA_URL", "MIME_TYPE"},
    "TIME_SLOT": {"TIME_SLOT_ID"},
    "TIER": {"TIER_ID", "LINGUISTIC_TYPE_REF"},
    "ALIGNABLE_ANNOTATION": {"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"},
    "LINGUISTIC_TYPE": {"LINGUISTIC_TYPE_ID"},
}
"""The attributes that the schema requires."""


def test_elan_gets_intervals_in_the_form_of_its_schema(store: MadeVideo, tmp_path: Path) -> None:
    video = tmp_path / "a clip.mp4"
    path = tmp_path / "clip.eaf"
    assert _run("elan_gaze.py", tmp_path / "store" / "take" / "clip.h5", path, video) == [
        "person 1: 5 intervals",
        "person 2: 1 intervals",
    ]
    root = Xml.parse(path).getroot()
    for element in root.iter():
        order = CHILDREN.get(element.tag, ())
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places)
        assert REQUIRED.get(element.tag, set()) <= set(element.attrib)
    assert (root.tag, root.get("VERSION")) == ("ANNOTATION_DOCUMENT", "3.0")
    datetime.fromisoformat(str(root.get("DATE")))
    ids = Counter(v for e in root.iter() for k, v in e.items() if k in ("TIME_SLOT_ID", "ANNOTATION_ID", "TIER_ID"))
    assert set(ids.values()) == {1}
    slots = {str(e.get("TIME_SLOT_ID")): int(str(e.get("TIME_VALUE"))) for e in root.iter("TIME_SLOT")}
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None and media.get("MEDIA_URL") == video.as_uri()
    found = {
        str(tier.get("TIER_ID")): [
            (slots[str(one.get("TIME_SLOT_REF1"))], slots[str(one.get("TIME_SLOT_REF2"))], one[0].text)
            for one in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }
    ms = [round(frame / RATE * 1000) for frame in range(FRAMES + 1)]
    assert found == {
        "person 1": [
            (ms[0], ms[5], "top left"),
            (ms[5], ms[7], "outside"),
            (ms[7], ms[10], "top left"),
            (ms[10], ms[20], "bottom right"),
            (ms[23], ms[30], "bottom right"),
        ],
        "person 2": [(ms[0], ms[10], "middle centre")],
    }
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")} == {
        one.get("LINGUISTIC_TYPE_ID") for one in root.iter("LINGUISTIC_TYPE")
    }


class _Recorder(ModuleType):
    """A stand-in for a package: every name is a function that records its calls."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "Box2DFormat":
            return type("Box2DFormat", (), {"XYXY": "XYXY"})
        recorder = self

        class Call:
            def __init__(self, *args: Any, **keywords: Any) -> None:
                self.name, self.args, self.keywords = name, args, keywords
                self.frames: dict[int, Any] = {}
                recorder.calls.append((name, args, keywords))

            def add_sample(self, sample: Any) -> None:
                recorder.calls.append(("add_sample", (sample,), {}))

            def __len__(self) -> int:
                return sum(1 for call in recorder.calls if call[0] == "add_sample")

        return Call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, keywords) for called, args, keywords in self.calls if called == name]


def _run_with(script: str, package: _Recorder, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_rerun_receives_every_frame_at_its_time(
    store: MadeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rerun = _Recorder("rerun")
    _run_with(
        "rerun_gaze.py", rerun, monkeypatch, tmp_path / "store" / "take" / "clip.h5", tmp_path / "x.rrd", "clip.mp4"
    )
    times = [keywords["duration"] for _, keywords in rerun.named("set_time")]
    assert times == store.pts_seconds.tolist()
    logged = Counter(args[0] for args, _ in rerun.named("log"))
    assert logged == {
        "video": FRAMES + 1, "video/heads": FRAMES, "video/gaze": FRAMES,
        "heatmap/person_1": 27, "heatmap/person_2": 10, "inout/person_1": 27, "inout/person_2": 10,
    }  # fmt: skip
    (boxes, _), (points, _) = rerun.named("Boxes2D")[0], rerun.named("Points2D")[0]
    np.testing.assert_allclose(rerun.named("Boxes2D")[0][1]["array"][0], [9.6, 6.4, 38.4, 32], rtol=1e-6)  # 96x64
    np.testing.assert_allclose(points[0][0], (1.5 / 12 * 96, 1.5 / 9 * 64))
    assert boxes == ()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="the package rerun-sdk is not installed")
def test_rerun_writes_a_recording(store: MadeVideo, tmp_path: Path) -> None:
    lines = _run("rerun_gaze.py", tmp_path / "store" / "take" / "clip.h5", tmp_path / "x.rrd")
    assert lines[-1] == f"{tmp_path / 'x.rrd'}: {FRAMES} frames"
    assert (tmp_path / "x.rrd").read_bytes()[:4] == b"RRF2"


def test_fiftyone_receives_frames_counted_from_one(
    store: MadeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fiftyone = _Recorder("fiftyone")
    _run_with("fiftyone_gaze.py", fiftyone, monkeypatch, tmp_path / "store", "kitchen")
    assert fiftyone.named("Dataset") == [(("kitchen",), {"persistent": True})]
    ((sample,), _) = fiftyone.named("add_sample")[0]
    assert sample.keywords == {"filepath": "/nowhere/take/clip.mp4", "video_id": "take/clip"}
    assert sorted(sample.frames) == [f + 1 for f in range(FRAMES) if f not in (20, 21, 22)]
    first = sample.frames[1].keywords
    heads = [one.keywords for one in first["heads"].keywords["detections"]]
    assert [one["label"] for one in heads] == ["person 1", "person 2"]
    np.testing.assert_allclose(heads[0]["bounding_box"], [0.1, 0.1, 0.3, 0.4], rtol=1e-6)  # x, y, width, height
    point = first["gaze"].keywords["keypoints"][0].keywords
    np.testing.assert_allclose(point["points"], [(1.5 / 12, 1.5 / 9)])
    assert point["in_frame"] == pytest.approx(0.9)
    assert first["heatmap"].keywords["map"].shape == (9, 12) and first["heatmap"].keywords["range"] == [0, 1]
