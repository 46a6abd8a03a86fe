"""Annotations of Ego4D and Ego-Exo4D in small, and the errors for broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gazetools.annotations.ego4d import (
    ego4d_folder,
    ego4d_videos_with_gaze,
    missing_ego4d,
    read_ego4d_videos,
    read_wearer_gaze,
)
from gazetools.annotations.segments import read_segments
from gazetools.egoexo.cameras import read_calibration
from gazetools.egoexo.eye_gaze import read_eye_gaze
from gazetools.egoexo.gaze_2d import read_gaze_2d
from gazetools.schemas.errors import DataFileError, UsageError
from tests.helpers.command_line import run_cli


def test_ego4d_forecasting_is_in_the_time_of_the_video(tmp_path: Path) -> None:
    clip = {
        "video_uid": "v1", "clip_uid": "c1", "clip_parent_start_sec": 100.0, "action_clip_start_sec": 2.5,
        "action_clip_end_sec": 4.0, "verb_label": 3, "noun_label": 7, "verb": "cut", "extra": 1,
    }  # fmt: skip
    hidden = {name: value for name, value in clip.items() if "label" not in name} | {"video_uid": "v0"}
    (tmp_path / "lta.json").write_text(json.dumps({"version": "v2", "clips": [clip, hidden]}))
    second, first = read_segments(tmp_path / "lta.json", labelled=False)
    assert (first.video_id, first.classes, first.row) == ("v0", {}, 2)
    assert (second.start_seconds, second.stop_seconds) == (102.5, 104.0)
    assert second.classes == {"verb": 3, "noun": 7, "action": (3, 7)}
    with pytest.raises(UsageError, match=r"clips\[1\] lacks verb_label"):
        read_segments(tmp_path / "lta.json")
    del clip["clip_parent_start_sec"]
    (tmp_path / "lta.json").write_text(json.dumps({"clips": [clip]}))
    with pytest.raises(UsageError, match=r"clips\[0\] lacks clip_parent_start_sec"):
        read_segments(tmp_path / "lta.json")


def test_ego4d_json(tmp_path: Path) -> None:
    path = tmp_path / "ego4d.json"
    path.write_text(json.dumps({"videos": [{"video_uid": "v1", "duration_sec": 9.5, "has_gaze": True, "x": 1}]}))
    (video,) = read_ego4d_videos(path)
    assert (video.uid, video.duration_seconds, video.has_gaze) == ("v1", 9.5, True)
    path.write_text(json.dumps({"videos": [{"video_uid": "v1"}]}))
    with pytest.raises(UsageError, match=r"videos\[0\]: lacks 'duration_sec'"):
        read_ego4d_videos(path)


@pytest.mark.parametrize(
    ("reader", "command"),
    [
        (read_ego4d_videos, "--metadata"),
        (read_segments, "--datasets annotations"),
    ],
)
def test_an_absent_file_of_ego4d_says_how_to_get_it(
    tmp_path: Path, reader: Callable[[Path], Any], command: str
) -> None:
    with pytest.raises(DataFileError) as caught:
        reader(tmp_path / "fho_lta_train.json")
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
    (one,), (other,) = read_segments(nested), read_segments(flat)
    assert one == other
    assert (one.video_id, one.whole_take, one.start_seconds, one.classes) == ("t_1", True, 0.5, {"action": 843})
    del segment["step_unique_id"]
    flat.write_text(json.dumps({"segments": [segment]}))  # the test split has no labels
    assert read_segments(flat, labelled=False)[0].classes == {}
    with pytest.raises(DataFileError, match="segment 0: no 'step_unique_id'"):
        read_segments(flat)
    flat.write_text(json.dumps({"segments": [{"start_time": 1, "end_time": 2}, 5, {**segment, "end_time": 0.1}]}))
    with pytest.raises(
        DataFileError, match=r"segment 0: no 'take_name'; segment 1: .*; segment 2: end_time 0.1 is before"
    ):
        read_segments(flat, labelled=False)


def test_an_absent_keystep_file_says_how_to_get_it(tmp_path: Path) -> None:
    command = f"egoexo -o {tmp_path} --parts annotations --benchmarks keystep"
    with pytest.raises(DataFileError) as caught:
        read_segments(tmp_path / "annotations" / "keystep_val.json")
    assert command in str(caught.value)


def test_videos_of_ego4d_are_found_as_all_others(tmp_path: Path) -> None:
    """Capital and other suffixes, links; the full-scale video first."""
    for name in ("gaze/a.csv", "gaze/b.csv", "gaze/c.csv", "full_scale/a.MP4", "video_540ss/a.mp4", "store/x.mp4"):
        (tmp_path / "v2" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v2" / name).write_bytes(b"x")
    (tmp_path / "v2/video_540ss/b.mkv").write_bytes(b"x")
    (tmp_path / "v2/full_scale/c.mp4").symlink_to(tmp_path / "v2/store/x.mp4")
    found = ego4d_videos_with_gaze(tmp_path / "v2")
    videos = ["full_scale/a.MP4", "video_540ss/b.mkv", "full_scale/c.mp4"]
    assert [video for _, video, _ in found] == [tmp_path / "v2" / name for name in videos]
    assert missing_ego4d(tmp_path, tmp_path / "v2").keys() == {"ego4d.json"}


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
    assert missing["v2"] == [[str(folder / "gaze" / "v2.csv"), f"{base} gaze"]]  # --video_uids is for videos only
    assert missing_ego4d(tmp_path, folder, "v3,v4") == {}
