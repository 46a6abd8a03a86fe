"""`--heads calib` against the closed form of the synthetic takes, and every reason to refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.egoexo.geometry import Poses
from gazetools.egoexo.head_boxes import BoxState, head_boxes
from gazetools.heads.calib import WEARER, calib_heads
from gazetools.schemas.errors import UsageError
from gazetools.store import open_store
from tests.egoexo.test_geometry import CAMERA
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_takes import TAKES

TAKE = TAKES[0]
EDIT = Callable[[Path, Callable[[list[list[str]]], None]], None]


def _video(root: Path, camera: str = "cam01", take: str = TAKE.name) -> Path:
    return root / "takes" / take / "frame_aligned_videos" / f"{camera}.mp4"


def _heads(root: Path, camera: str = "cam01", **size: int) -> Any:
    return calib_heads(_video(root, camera), **{"width": 480, "height": 270, "frame_count": 90, **size})


@pytest.mark.parametrize("camera", TAKE.cameras[:2], ids=lambda camera: camera.name)
def test_boxes_are_the_projected_head(egoexo_root: Path, camera: Any) -> None:
    heads = _heads(egoexo_root, camera.name)
    assert heads.table.frame.tolist() == [f for f in range(90) if f not in TAKE.empty_cells]
    expected = np.array([camera.head_box(TAKE.seconds(frame)) for frame in heads.table.frame.tolist()])
    np.testing.assert_allclose(heads.table.box_xyxy, expected, atol=0.02)  # the outline is known at 32 points
    assert heads.table.roles == {WEARER: "wearer"}
    assert heads.counts["heads_no_pose"] == heads.counts["pose_timesync_empty"] == 3


def test_agreement_with_egopose_is_reported(egoexo_root: Path) -> None:
    counts = _heads(egoexo_root).counts
    assert counts["egopose_frames"] == 9  # frames 2, 11, ... 83 but 11, whose time is unknown
    assert counts["egopose_joints_inside"] == 1.0
    assert 0 < counts["egopose_centre_error"] < 0.5


def test_the_box_follows_the_video_size(egoexo_root: Path) -> None:
    small, large = _heads(egoexo_root), _heads(egoexo_root, width=1920, height=1080)
    np.testing.assert_allclose((small.table.box_xyxy + 0.5) * 4 - 0.5, large.table.box_xyxy, atol=1e-6)


@pytest.mark.parametrize(
    ("camera", "size", "says"),
    [
        ("cam03", {"width": 270, "height": 480}, "portrait"),
        ("cam04", {}, r"quality is 0 \(bad\)"),
        ("cam05", {"frame_count": 88}, "88 frames"),
        ("cam01", {"frame_count": 92}, "at most 1 more or less"),
        ("aria01_214-1", {"width": 176, "height": 176}, "ego camera"),
        ("cam09", {}, "no camera 'cam09'"),
    ],
)
def test_geometry_that_cannot_be_trusted_is_refused(
    egoexo_root: Path, camera: str, size: dict[str, int], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        _heads(egoexo_root, camera, **size)


@pytest.mark.parametrize("frame_count", [89, 90, 91])
def test_one_frame_more_or_less_is_normal(egoexo_root: Path, frame_count: int) -> None:
    """Published sources disagree whether timesync_end_idx is included."""
    assert len(_heads(egoexo_root, frame_count=frame_count).table) == frame_count - 3


def _set(name: str, value: str, only_row: int | None = None) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        place = [cell.strip() for cell in rows[0]].index(name)
        for number, row in enumerate(rows[1:]):
            if only_row is None or number == only_row:
                row[place] = value

    return change


def _drop_column(name: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        place = [cell.strip() for cell in rows[0]].index(name)
        for row in rows:
            del row[place]

    return change


def _nanoseconds_as_microseconds(rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row[1] = row[1][:-3]


TRAJECTORY = f"takes/{TAKE.name}/trajectory/closed_loop_trajectory.csv"
CALIBS = f"takes/{TAKE.name}/trajectory/gopro_calibs.csv"
TIMESYNC = f"captures/{TAKE.capture}/timesync.csv"


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (TRAJECTORY, _set("graph_uid", "another-world"), "of the world.s. another-world"),
        (TRAJECTORY, _set("tx_world_device", "x1.5"), "line .*column tx_world_device: 'x1.5' is not a number"),
        (TRAJECTORY, _drop_column("qw_world_device"), r"lacks the column\(s\) qw_world_device"),
        (TRAJECTORY, lambda rows: rows.__setitem__(200, rows[200][:-1]), "line 201: 27 cells, but the header has 28"),
        (TRAJECTORY, lambda rows: rows.insert(5, rows[30]), "line 7.*goes backwards"),
        (CALIBS, _set("quality", "-1", 0), r"quality is -1 \(unknown\)"),
        (CALIBS, _set("cam_uid", "cam01", 1), "2 rows"),
        (CALIBS, _set("intrinsics_type", "PINHOLE", 0), "only KANNALABRANDTK3"),
        (CALIBS, _set("intrinsics_3", "", 0), "intrinsics_3: '' is not a number"),
        (CALIBS, _set("end_frame_idx", "50", 0), "a part of the video"),
        (CALIBS, lambda rows: rows.__delitem__(1), "not listed"),
        (TIMESYNC, _nanoseconds_as_microseconds, "another unit"),
        (TIMESYNC, _drop_column("aria01_214-1_capture_timestamp_ns"), "none of the columns"),
    ],
)
def test_broken_recordings_are_named(
    broken_root: Path, edit_csv: EDIT, file: str, change: Callable[[list[list[str]]], None], says: str
) -> None:
    edit_csv(broken_root / file, change)
    with pytest.raises(UsageError, match=says):
        _heads(broken_root)


@pytest.mark.parametrize(
    ("file", "part"), [(TRAJECTORY, "take_trajectory"), (CALIBS, "take_trajectory"), (TIMESYNC, "captures")]
)
def test_missing_files_come_with_their_download_command(broken_root: Path, file: str, part: str) -> None:
    (broken_root / file).unlink()
    uid = TAKE.capture_uid if part == "captures" else TAKE.uid
    with pytest.raises(UsageError, match=f"egoexo -o .*--parts {part} --uids {uid}"):
        _heads(broken_root)


def test_a_gap_in_the_trajectory_costs_its_frames_only(broken_root: Path, edit_csv: EDIT) -> None:
    def cut(rows: list[list[str]]) -> None:
        del rows[1 + 100 + 1000 - 4 : 1 + 100 + 1200]  # 0.996 s to 1.2 s: frames 30 to 35

    edit_csv(broken_root / TRAJECTORY, cut)
    heads = _heads(broken_root)
    assert heads.counts["pose_gap"] == 5  # frame 30 has a pose 5 ms away, which is just near enough
    assert set(range(31, 36)).isdisjoint(heads.table.frame.tolist())
    assert {30, 36} <= set(heads.table.frame.tolist())


@pytest.mark.parametrize(
    ("place_camera", "state"),
    [
        ((0.0, 0.0, 2.0), BoxState.GOOD),
        ((0.0, 0.0, -2.0), BoxState.BEHIND),
        ((4.2, 0.0, 2.0), BoxState.OUTSIDE),
        ((0.0, 0.0, 90.0), BoxState.SMALL),
    ],
)
def test_states_of_boxes(place_camera: tuple[float, ...], state: BoxState) -> None:
    world = CAMERA.rotation @ np.array(place_camera) + CAMERA.translation
    poses = Poses(rotation=np.eye(3)[None], translation=world[None])
    boxes = head_boxes(CAMERA, poses, np.array([True]))
    assert boxes.state[0] == state
    assert np.isfinite(boxes.box_xyxy).all() == (state == BoxState.GOOD)


def test_extract_of_a_root_takes_the_good_cameras_and_names_the_others(
    egoexo_root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    done = run_cli(
        "extract", str(egoexo_root), "-o", str(store), "--heads", "calib", "--model", str(tiny_model),
        "--takes", "lab_cooking_01_*,site*", "--stride", "30", "--people", "wearer", "--json",
    )  # fmt: skip
    items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
    assert done.exit_code == 1, done.stderr
    status = {video_id: item["status"] for video_id, item in items.items()}
    good = {f"{TAKE.name}/cam01", f"{TAKE.name}/cam02", "site_music_07_1/cam01", "site_music_07_1/cam02"}
    assert status == {
        **dict.fromkeys(good, "done"),
        **{f"{TAKE.name}/{name}": "failed" for name in ("cam03", "cam04", "cam05")},
    }
    assert items[f"{TAKE.name}/cam01"]["head_counts"]["egopose_joints_inside"] == 1.0
    with open_store(store / TAKE.name / "cam01.h5") as opened:
        assert opened.tracks == {WEARER: "wearer"}
        box = opened.row_box[0] * [480, 270, 480, 270]
        np.testing.assert_allclose(box, TAKE.cameras[0].head_box(0.0), atol=0.02)
        assert opened.provenance.heads.counts["heads_good"] == 87
    again = run_cli(
        "extract", str(egoexo_root), "-o", str(store), "--heads", "calib", "--model", str(tiny_model),
        "--takes", "site*", "--cameras", "cam01", "--stride", "30", "--people", "wearer", "--json",
    )  # fmt: skip
    assert [item["status"] for item in json.loads(again.stdout)["items"]] == ["complete"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--takes", "lab_coking_01_2"), "Did you mean 'lab_cooking_01_2'"),
        (("--cameras", "cam77"), "No exo video"),
        (("--views", "side"), "views"),
    ],
)
def test_choices_that_match_nothing(egoexo_root: Path, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run_cli("extract", str(egoexo_root), "-o", str(tmp_path / "s"), "--heads", "calib", "--dry-run", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_videos_elsewhere_have_no_calibration(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not lie in an Ego-Exo4D root"):
        calib_heads(clip, width=96, height=64, frame_count=40)
