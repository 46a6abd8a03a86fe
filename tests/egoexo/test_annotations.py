"""EPIC-KITCHENS lists and Ego4D annotations in small, and what is said of broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gazetools.annotations.ego4d import read_ego4d_videos, read_lta, read_sta
from gazetools.annotations.epic import (
    annotation_frame_rate,
    read_tail_classes,
    read_unseen_participants,
    read_video_info,
)
from gazetools.schemas.errors import UsageError


@pytest.mark.parametrize(
    ("video_id", "fps", "seconds"),
    [
        ("P01_01", 59.94, 100.0),  # EPIC-KITCHENS-55: counted at 60 whatever the file has
        ("P01_105", 50.0, 100.0),  # the extension: counted at 50
        ("P02_03", 29.97, 100.0),  # 60 again: indexing this file by the frame number would end 100 s late
    ],
)
def test_frame_numbers_are_times_at_60_or_50(tmp_path: Path, video_id: str, fps: float, seconds: float) -> None:
    rate = annotation_frame_rate(video_id)
    start_frame = round(seconds * (50 if video_id == "P01_105" else 60))
    assert start_frame / rate == pytest.approx(seconds)
    path = tmp_path / "EPIC_100_video_info.csv"
    path.write_text(f"resolution,video_id,duration,fps,new\n1920x1080,{video_id},300.5,{fps},x\n")
    info = read_video_info(path)[video_id]
    assert (info.width, info.height, info.fps, info.duration_seconds) == (1920, 1080, fps, 300.5)
    assert (abs(start_frame / info.fps - seconds) > 0.05) == (video_id != "P01_105")


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "tail.csv").write_text("verb\n10\n12\n")
    (tmp_path / "unseen.csv").write_text("participant_id\nP18\nP32\n")
    assert read_tail_classes(tmp_path / "tail.csv") == {10, 12}
    assert read_unseen_participants(tmp_path / "unseen.csv") == {"P18", "P32"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("video_id,duration,fps\n", r"lacks the column\(s\) resolution"),
        ("video_id,duration,fps,resolution\nP01_01,1,50,big\n", "line 2, column resolution: 'big'"),
        ("video_id,duration,fps,resolution\nP01_01,one,50,2x2\n", "column duration: 'one' is not a number"),
        ("video_id,duration,fps,resolution\nP01_01,1\n", "line 2: 2 cells, but the header has 4"),
        ("", "is empty"),
    ],
)
def test_broken_video_info_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "info.csv").write_text(content)
    with pytest.raises(UsageError, match=says):
        read_video_info(tmp_path / "info.csv")


def test_a_name_that_is_no_epic_video() -> None:
    with pytest.raises(UsageError, match="no EPIC-KITCHENS-100 video id"):
        annotation_frame_rate("P1_1")


def test_ego4d_forecasting_is_in_the_time_of_the_video(tmp_path: Path) -> None:
    clip = {
        "video_uid": "v1", "clip_uid": "c1", "clip_parent_start_sec": 100.0, "action_clip_start_sec": 2.5,
        "action_clip_end_sec": 4.0, "verb_label": 3, "noun_label": 7, "verb": "cut", "extra": 1,
    }  # fmt: skip
    hidden = {name: value for name, value in clip.items() if "label" not in name} | {"video_uid": "v0"}
    (tmp_path / "lta.json").write_text(json.dumps({"version": "v2", "clips": [clip, hidden]}))
    first, second = read_lta(tmp_path / "lta.json")
    assert (first.video_uid, first.verb_label) == ("v0", None)
    assert (second.start_seconds, second.end_seconds, second.verb_label, second.noun_label) == (102.5, 104.0, 3, 7)
    del clip["clip_parent_start_sec"]
    (tmp_path / "lta.json").write_text(json.dumps({"clips": [clip]}))
    with pytest.raises(UsageError, match=r"clips\[0\] lacks clip_parent_start_sec"):
        read_lta(tmp_path / "lta.json")
    sta = {"info": {}, "annotations": [{"uid": "a", "video_id": "v1", "frame": 30, "objects": [{"box": [1, 2, 3, 4]}]}]}
    (tmp_path / "sta.json").write_text(json.dumps(sta))
    (one,) = read_sta(tmp_path / "sta.json")
    assert (one.video_uid, one.frame, one.objects[0]["box"]) == ("v1", 30, [1, 2, 3, 4])


def test_ego4d_json(tmp_path: Path) -> None:
    path = tmp_path / "ego4d.json"
    path.write_text(json.dumps({"videos": [{"video_uid": "v1", "duration_sec": 9.5, "has_gaze": True, "x": 1}]}))
    (video,) = read_ego4d_videos(path)
    assert (video.uid, video.duration_seconds, video.has_gaze) == ("v1", 9.5, True)
    path.write_text(json.dumps({"videos": [{"video_uid": "v1"}]}))
    with pytest.raises(UsageError, match=r"videos\[0\]: KeyError\('duration_sec'\)"):
        read_ego4d_videos(path)
