"""One reader of annotations: what `train` accepts, `validate --annotations` accepts, with the same times and names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gazetools import validate
from gazetools.annotations.segment import Segment
from gazetools.annotations.segments import read_segments
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.anchors import AnchorPlan, NamedAnchor
from gazetools.trainer.data.survey import plan_data
from gazetools.validation.checks.annotations import match_clips, read_clips
from tests.helpers.stores import make_video

TIMES = "video_id,start_timestamp,stop_timestamp"
STEP = {"start_time": 0.5, "end_time": 2, "step_unique_id": 3}
LTA = {
    "video_uid": "v1", "clip_uid": "c1", "clip_parent_start_sec": 1.0, "action_clip_start_sec": 0.5,
    "action_clip_end_sec": 1.0, "verb_label": 3, "noun_label": 7,
}  # fmt: skip
# name -> (content, (video id, start, stop, classes) of its only segment)
READ: dict[str, tuple[Any, tuple[str, float, float, dict[str, Any]]]] = {
    "epic.csv": (
        f"narration_id,{TIMES},verb_class,noun_class\nP01_01_0,P01_01,00:00:00.50,00:01:02,2,7\n",
        ("P01_01", 0.5, 62.0, {"verb": 2, "noun": 7, "action": (2, 7)}),
    ),
    "seconds.csv": (f"{TIMES},action_class\nP01_01,1.5,62,4\n", ("P01_01", 1.5, 62.0, {"action": 4})),
    "minutes.csv": (f"action_class,x,{TIMES}\n9,?,take/cam01,1:00.5,62\n", ("take/cam01", 60.5, 62.0, {"action": 9})),
    "semicolons.csv": (
        "video_id;start_timestamp;stop_timestamp;action_class\nP01_01;1,5;00:01:02,25;4\n",
        ("P01_01", 1.5, 62.25, {"action": 4}),
    ),
    "excel.csv": (
        'sep=;\r\nvideo_id;start_timestamp;stop_timestamp;action_class\r\nP01_01;1,5;"62";4\r\n',
        ("P01_01", 1.5, 62.0, {"action": 4}),
    ),
    "tabs.csv": (f"{TIMES},action_class\nP01_01,1.5,62,4\n".replace(",", "\t"), ("P01_01", 1.5, 62.0, {"action": 4})),
    "keystep_train.json": (
        {"annotations": {"u1": {"take_name": "take", "segments": [STEP]}}},
        ("take", 0.5, 2.0, {"action": 3}),
    ),
    "keystep_segment_train.json": (
        {"segments": [{**STEP, "take_uid": "u1", "take_name": "take"}]},
        ("take", 0.5, 2.0, {"action": 3}),
    ),
    "fho_lta_train.json": (
        {"version": "v2", "clips": [{**LTA, "verb": "cut", "action_idx": 4}]},
        ("v1", 1.5, 2.0, {"verb": 3, "noun": 7, "action": (3, 7)}),
    ),
}
# name -> (content, message of both)
REFUSED: dict[str, tuple[Any, str]] = {
    "order.csv": (f"{TIMES},action_class\nv,2,1,4\n", "line 2: stop_timestamp 1 is before start_timestamp"),
    "width.csv": (f"{TIMES},action_class\nv,1,2\n", "line 2: 3 fields where the header has 4"),
    "id.csv": (f"{TIMES},action_class\n../v,1,2,4\n", "line 2: "),
    "time.csv": (f"{TIMES},action_class\nv,x,2,4\n", "line 2: 'x' is no timestamp"),
    "order.json": ({"segments": [{**STEP, "take_name": "t", "end_time": 0.1}]}, "segment 0: end_time 0.1 is before"),
    "none.json": ({"annotations": {}}, "has no segments"),
    "other.json": ({"videos": []}, "it is no keystep file"),
    "fho_lta_val.json": ({"clips": [LTA, {**LTA, "action_clip_end_sec": 0.1}]}, "clips[1]: 1.5 to 1.1 s of the video"),
    "fho_lta_test.json": ({"videos": []}, "has no list `clips`"),
    "lta.json": ({"clips": [5, {**LTA, "noun_label": "x"}]}, "clips[0]: it is no object; clips[1]: verb_label and"),
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("name", READ)
def test_train_and_validate_read_the_same(tmp_path: Path, name: str) -> None:
    content, expected = READ[name]
    path = write(tmp_path / name, content)
    (segment,) = read_segments(path)
    assert (segment.video_id, segment.start_seconds, segment.stop_seconds, segment.classes) == expected
    assert read_clips(path) == {segment.video_id: [segment]}


@pytest.mark.parametrize("name", REFUSED)
def test_train_and_validate_refuse_the_same(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    path = write(tmp_path / name, content)
    texts = []
    for read in (read_segments, read_clips):
        with pytest.raises(UsageError) as caught:
            read(path)
        texts.append(caught.value.message)
    assert texts[0] == texts[1]
    assert message in texts[0] and name in texts[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", f"{TIMES}\nv,1,2\n"),
        ("a.csv", f"{TIMES},verb_class\nv,1,2,3\n"),
        ("a.csv", f"{TIMES},verb_class,noun_class\nv,1,2,,\n"),
        ("a.json", {"segments": [{"take_name": "v", "start_time": 1, "end_time": 2}]}),
        ("a.json", {"clips": [{key: value for key, value in LTA.items() if "label" not in key} | {"video_uid": "v"}]}),
    ],
)
def test_validate_needs_no_labels(tmp_path: Path, name: str, content: Any) -> None:
    path = write(tmp_path / name, content)
    (segment,) = read_clips(path)["v"]
    assert segment.classes == {}
    with pytest.raises(UsageError):
        read_segments(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clips.csv", f"{TIMES}\nv1,0.5,2\nv1,00:00:01,00:00:09\n"),
        ("fho_lta_test_unannotated.json", {"clips": [LTA, {**LTA, "action_clip_end_sec": 8.0, "verb_label": None}]}),
    ],
)
def test_validate_takes_plain_seconds_and_ego4d(tmp_path: Path, name: str, content: Any) -> None:
    """90 frames of 30 per second: one action inside, one that ends at 9 s."""
    make_video(tmp_path / "store", "v1", frame_count=90)
    report = validate(tmp_path / "store", annotations=write(tmp_path / name, content))
    found = [(one.code, one.video_id) for one in report.findings if one.severity == "warning"]
    assert sorted(found, key=str) == [("clips-uncovered", "v1"), ("videos-not-compared", None)]
    assert (report.summary["clips"], report.summary["clips_covered"]) == (2, 1)


def test_the_trainer_plans_the_actions_of_ego4d(tmp_path: Path) -> None:
    (tmp_path / "full_scale").mkdir()
    (tmp_path / "full_scale" / "v1.mp4").touch()
    clips = [LTA, {**LTA, "clip_parent_start_sec": 100.0, "verb_label": 4}]
    paths = {f"dataset_{part}": str(write(tmp_path / f"{part}.json", {"clips": clips})) for part in ("train", "val")}
    start = NamedAnchor(name="start", point=(1.0, 1.0))
    data = plan_data(
        DataSettings(base_path=str(tmp_path / "full_scale"), **paths),
        AnchorPlan(train=start, validation=(start,), rule="test"),
    )
    assert data.labels.counts == {"verb": 2, "noun": 1, "action": 2}
    assert [clip.segment.start_seconds for clip in data.train.clips] == [1.5, 100.5]


def test_a_segment_names_its_group() -> None:
    one = Segment(row=1, video_id="take/cam01", start_seconds=0.0, stop_seconds=1.0, classes={})
    assert one.group == "take"


EMPTY = {
    "one.csv": f"{TIMES},action_class\nv,1,2,4\nv,3,3,4\n",
    "nested.json": {
        "annotations": {
            "u": {
                "take_name": "v",
                "segments": [{**STEP, "start_time": 1, "end_time": 2}, {**STEP, "start_time": 3, "end_time": 3}],
            }
        }
    },
    "flat.json": {
        "segments": [
            {**STEP, "take_name": "v", "start_time": 1, "end_time": 2},
            {**STEP, "take_name": "v", "start_time": 3, "end_time": 3},
        ]
    },
    "fho_lta.json": {"clips": [LTA, {**LTA, "action_clip_end_sec": LTA["action_clip_start_sec"]}]},
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_action_of_no_length_costs_itself(tmp_path: Path, name: str) -> None:
    """It is read, named by validate, and no clip of training; the other action of the file stays."""
    segments = read_segments(write(tmp_path / name, EMPTY[name]))
    assert [segment.is_empty for segment in segments] == [False, True]
    clips, findings = match_clips(read_clips(tmp_path / name), [segments[0].video_id])
    assert clips == {segments[0].video_id: [segments[0]]}
    assert [(finding.code, finding.severity) for finding in findings] == [("clips-empty", "warning")]
    assert segments[1].title in findings[0].message
