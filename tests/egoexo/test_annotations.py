"""EPIC-KITCHENS lists and Ego4D annotations in small, and what is said of broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gazetools.annotations.ego4d import (
    read_ego4d_clips,
    read_ego4d_videos,
    read_lta,
    read_sta,
    read_taxonomy,
    read_wearer_gaze,
)
from gazetools.annotations.ego4d_root import ego4d_folder, missing_ego4d
from gazetools.annotations.epic import (
    annotation_frame_rate,
    read_classes,
    read_tail_classes,
    read_unseen_participants,
    read_video_info,
)
from gazetools.annotations.keysteps import read_keysteps, read_label_mapping
from gazetools.egoexo.cameras import read_calibration
from gazetools.egoexo.eye_gaze import read_eye_gaze, read_gaze_2d
from gazetools.schemas.errors import DataFileError, UsageError
from tests.helpers.command_line import run_cli


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
    path.write_text(
        json.dumps({"clips": [{"clip_uid": "c", "video_uid": "v", "video_start_sec": 2, "video_end_sec": 9}]})
    )
    (clip,) = read_ego4d_clips(path)
    assert (clip.uid, clip.video_uid, clip.start_seconds, clip.end_seconds) == ("c", "v", 2.0, 9.0)
    path.write_text(
        json.dumps({"clips": [{"clip_uid": "c", "video_uid": "v", "video_start_sec": 9, "video_end_sec": 2}]})
    )
    with pytest.raises(DataFileError, match=r"clips\[0\]: 9.0 to 2.0 s is no range"):
        read_ego4d_clips(path)
    taxonomy = tmp_path / "fho_lta_taxonomy.json"
    taxonomy.write_text(json.dumps({"nouns": ["apple"], "extra": 1, "verbs": ["cut", "wash"]}))
    assert read_taxonomy(taxonomy) == (["cut", "wash"], ["apple"])
    taxonomy.write_text(json.dumps({"nouns": [3], "verbs": []}))
    with pytest.raises(DataFileError, match=r"nouns\[0\]: 3 is no name"):
        read_taxonomy(taxonomy)


@pytest.mark.parametrize(
    ("reader", "command"),
    [
        (read_ego4d_videos, "--metadata"),
        (read_lta, "--datasets annotations"),
        (read_sta, "--datasets annotations"),
        (read_taxonomy, "--datasets annotations"),
    ],
)
def test_an_absent_file_of_ego4d_says_how_to_get_it(
    tmp_path: Path, reader: Callable[[Path], Any], command: str
) -> None:
    with pytest.raises(DataFileError) as caught:
        reader(tmp_path / "file.json")
    assert "does not exist" in str(caught.value)
    assert str(caught.value).endswith(f"ego4d --output_directory ROOT --version v2 {command}")


POSE = "tx_world_cam,ty_world_cam,tz_world_cam,qx_world_cam,qy_world_cam,qz_world_cam,qw_world_cam"
LENS = ",".join(f"intrinsics_{number}" for number in range(8))
# (reader, header, rows): of each file one row of the wanted columns, which are then shuffled, padded and extended
TABLES: dict[str, tuple[Callable[[Path], Any], str, list[str]]] = {
    "gopro_calibs": (
        lambda path: sorted(read_calibration(path).cameras),
        f"cam_uid,graph_uid,{POSE},image_width,image_height,intrinsics_type,{LENS},start_frame_idx,end_frame_idx,quality",
        ["cam01,g,1,2,3,0,0,0,1,3840,2160,KANNALABRANDTK3,1761,1761,1920,1080,0.03,0.05,-0.05,0.01,-1,-1,1"],
    ),
    "eye gaze, older": (
        lambda path: read_eye_gaze(path).depth_m.round(6).tolist(),
        "tracking_timestamp_us,yaw_rads_cpf,pitch_rads_cpf,depth_m",
        ["1000,0.1,-0.3,0.8", "2000,0.1,-0.3,0.9"],
    ),
    "eye gaze, newer": (
        lambda path: read_eye_gaze(path).depth_m.round(6).tolist(),
        "tracking_timestamp_us,left_yaw_rads_cpf,right_yaw_rads_cpf,pitch_rads_cpf,depth_m",
        ["1000,0.05,0.12,-0.2,1.6"],
    ),
    "2-D gaze": (
        lambda path: read_gaze_2d(path).uv.tolist(),
        "frame_num,tracking_timestamp_us,x,y",
        ["0,1000,700.5,500", "3,2000,701.5,501"],
    ),
    "Ego4D gaze": (
        lambda path: read_wearer_gaze(path, 2).xy.round(6).tolist(),
        "component_idx,canonical_timestamp_s,confidence,norm_pos_x,norm_pos_y",
        ["0,0.0,0.9,0.25,0.75", "0,0.0333,0.9,0.5,0.5"],
    ),
    "label mapping": (
        lambda path: {step: label.label_id for step, label in read_label_mapping(path).items()},
        "label_id,step_unique_id,step_name,scenario_name",
        ["0,1567,Stir the mixture,cooking", "1,502,Check paper recipe,cooking"],
    ),
    "EPIC video info": (
        lambda path: {key: one.fps for key, one in read_video_info(path).items()},
        "video_id,duration,fps,resolution",
        ["P01_01,300.5,59.94,1920x1080"],
    ),
    "EPIC classes": (
        lambda path: {number: (one.key, one.category) for number, one in read_classes(path).items()},
        "id,key,instances,category",
        ["0,take,['take'],retrieve", "1,put,['put'],leave"],
    ),
    "EPIC tail": (lambda path: sorted(read_tail_classes(path)), "verb", ["10", "12"]),
    "EPIC unseen": (lambda path: sorted(read_unseen_participants(path)), "participant_id", ["P18", "P32"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_go_by_name(tmp_path: Path, name: str) -> None:
    """Another order, extra columns with empty cells, spaces around everything, an empty line at the end."""
    reader, header, rows = TABLES[name]
    plain, odd = tmp_path / "plain.csv", tmp_path / "odd.csv"
    plain.write_text("\n".join([header, *rows]) + "\n")
    lines = []
    for number, line in enumerate([header, *rows]):
        cells = [f" {cell} " for cell in line.split(",")]
        lines.append(",".join(["new_first" if number == 0 else "", *cells[::-1], " new_last " if number == 0 else " "]))
    odd.write_text("\r\n".join(lines) + "\r\n\r\n")
    found = reader(plain)
    assert found
    assert reader(odd) == found


@pytest.mark.parametrize("name", TABLES)
def test_a_row_of_another_width_is_named(tmp_path: Path, name: str) -> None:
    reader, header, rows = TABLES[name]
    path = tmp_path / "cut.csv"
    path.write_text(
        "\n".join([header, *rows, "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25"]) + "\n"
    )
    with pytest.raises(DataFileError, match=rf"cut\.csv, line {len(rows) + 2}: 25 cells, but the header has"):
        reader(path)


STEP = {"start_time": 0.5, "end_time": 2.25, "step_unique_id": 843, "step_name": "Unbox package", "is_essential": True}


def test_keysteps_in_both_forms(tmp_path: Path) -> None:
    nested, flat = tmp_path / "keystep_train.json", tmp_path / "keystep_segment_train.json"
    nested.write_text(json.dumps({"annotations": {"u1": {"take_name": "t_1", "segments": [STEP]}}, "taxonomy": {}}))
    segment = {**STEP, "take_uid": "u1", "take_name": "t_1", "label_id": 35, "segment_name_list": ["train/t_1/x.mp4"]}
    flat.write_text(json.dumps({"date": "x", "splits": "train", "segments": [segment]}))
    (one,), (other,) = read_keysteps(nested), read_keysteps(flat)
    assert one == other
    assert (one.take_name, one.take_uid, one.start_seconds, one.step_unique_id) == ("t_1", "u1", 0.5, 843)
    del segment["step_unique_id"]
    flat.write_text(json.dumps({"segments": [segment]}))  # the test split has no labels
    assert read_keysteps(flat, labelled=False)[0].step_unique_id is None
    with pytest.raises(DataFileError, match="segment 0: no 'step_unique_id'"):
        read_keysteps(flat)
    flat.write_text(json.dumps({"segments": [{"start_time": 1, "end_time": 2}, 5, {**segment, "end_time": 0.1}]}))
    with pytest.raises(
        DataFileError, match=r"segment 0: no 'take_name'; segment 1: .*; segment 2: end_time 0.1 is not"
    ):
        read_keysteps(flat, labelled=False)


def test_an_absent_keystep_file_says_how_to_get_it(tmp_path: Path) -> None:
    command = f"egoexo -o {tmp_path} --parts annotations --benchmarks keystep"
    for reader, name in (
        (read_keysteps, "keystep_val.json"),
        (read_label_mapping, "keystep_benchmark/label_mapping.csv"),
    ):
        with pytest.raises(DataFileError) as caught:
            reader(tmp_path / "annotations" / name)
        assert command in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("0,5,a\n1,5,b\n", "line 3, column step_unique_id: 5 has two rows"),
        ("x,5,a\n", "line 2, column label_id: 'x' is not a whole number"),
    ],
)
def test_broken_label_mappings_are_named(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "label_mapping.csv"
    path.write_text("label_id,step_unique_id,step_name\n" + rows)
    with pytest.raises(DataFileError, match=says):
        read_label_mapping(path)


def test_what_an_ego4d_folder_lacks_is_listed_with_its_command(tmp_path: Path) -> None:
    """v1 has gaze and no video, v2 a video and no gaze though ego4d.json says so, v3 both, v4 no gaze anywhere."""
    for folder in ("v2/gaze", "v2/video_540ss"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("gaze/v1.csv", "gaze/v3.csv", "video_540ss/v2.mp4", "video_540ss/v3.mp4", "video_540ss/v4.mp4"):
        (tmp_path / "v2" / name).touch()
    folder = ego4d_folder(tmp_path)
    assert folder == tmp_path / "v2"
    base = f"ego4d --output_directory {tmp_path} --version v2 --datasets"
    lacking = missing_ego4d(tmp_path, folder)
    assert lacking["v1"][0][1] == f"{base} full_scale --video_uids v1"
    assert lacking["ego4d.json"][0][1] == f"{base} gaze --metadata"
    videos = [{"video_uid": f"v{n}", "duration_sec": 1, "has_gaze": n != 4} for n in range(1, 5)]
    (tmp_path / "v2" / "ego4d.json").write_text(json.dumps({"videos": videos}))
    done = run_cli("groundtruth", str(tmp_path), "-o", str(tmp_path / "s"), "--view", "ego", "--dry-run", "--json")
    missing = json.loads(done.stdout)["missing"]
    assert done.exit_code == 1
    assert set(missing) == {"v1", "v2"}
    assert missing["v2"] == [[str(folder / "gaze" / "v2.csv"), f"{base} gaze --video_uids v2"]]
    assert missing_ego4d(tmp_path, folder, "v3,v4") == {}
