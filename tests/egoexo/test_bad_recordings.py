"""Each fault of the issue's list in the recordings of one take of several, through the commands as a user runs them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_takes import Camera, SyntheticTake, write_root

GOOD = SyntheticTake(name="good_1", uid="g", cameras=(Camera(name="cam01"),), frames=12, empty_cells=())
BAD = SyntheticTake(name="bad_1", uid="b", cameras=(Camera(name="cam01"),), frames=12, empty_cells=())
TRAJECTORY, CALIBS = "takes/bad_1/trajectory/closed_loop_trajectory.csv", "takes/bad_1/trajectory/gopro_calibs.csv"
GAZE, TIMESYNC = "takes/bad_1/eye_gaze/general_eye_gaze.csv", "captures/bad/timesync.csv"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def two_takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("two") / "root", [GOOD, BAD])


@pytest.fixture
def root(two_takes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_takes, tmp_path / "root"))


def _cells(file: str, column: str, value: Callable[[str], str], rows: slice = slice(None)) -> Change:
    def change(root: Path) -> None:
        header, *lines = [line.split(",") for line in (root / file).read_text().splitlines()]
        place = [name.strip() for name in header].index(column)
        for line in lines[rows]:
            line[place] = value(line[place].strip())
        (root / file).write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n")

    return change


def _remove(file: str) -> Change:
    return lambda root: (root / file).unlink()


def _video(**changes: Any) -> Change:
    def change(root: Path) -> None:
        other = root.parent / "other"
        camera = Camera(name="cam01", **changes)
        write_root(other, [SyntheticTake(name="bad_1", uid="b", cameras=(camera,), frames=12)], draw=False)
        video = "takes/bad_1/frame_aligned_videos/cam01.mp4"
        shutil.copy(other / video, root / video)

    return change


def _no_rotation(root: Path) -> None:
    for name in ("qx", "qy", "qz", "qw"):
        _cells(TRAJECTORY, f"{name}_world_device", lambda _: "0")(root)


def _half_of_the_rows(root: Path) -> None:
    """timesync.csv ends 6 frames before the take."""
    (take,) = (one for one in json.loads((root / "takes.json").read_text()) if one["take_name"] == "bad_1")
    lines = (root / TIMESYNC).read_text().splitlines()
    (root / TIMESYNC).write_text("\n".join(lines[: 1 + take["timesync_start_idx"] + 6]) + "\n")


def _second_row(root: Path) -> None:
    lines = (root / CALIBS).read_text().splitlines()
    (root / CALIBS).write_text("\n".join([*lines, lines[1]]) + "\n")


def _two_eyes(left: str, right: str) -> Change:
    """The newer file, with the same angles in all samples."""

    def change(root: Path) -> None:
        times = [line.split(",")[0] for line in (root / GAZE).read_text().splitlines()[1:]]
        header = "tracking_timestamp_us,left_yaw_rads_cpf,right_yaw_rads_cpf,pitch_rads_cpf,depth_m"
        rows = [f"{time},{left},{right},-0.1,1.598" for time in times]
        (root / GAZE).write_text("\n".join([header, *rows]) + "\n")

    return change


# what is planted -> what `groundtruth` says of the take, and what `extract --heads calib` says (None: it does not
# need that file). A text beginning with "=" is a count of the finished item: the fault costs frames, not the take.
FAULTS: dict[str, tuple[Change, str, str | None]] = {
    "missing trajectory": (_remove(TRAJECTORY), "closed_loop.* is missing.*--parts take_trajectory", "is missing"),
    "missing calibration": (_remove(CALIBS), "gopro_calibs.* is missing.*--parts take_trajectory", "is missing"),
    "missing timesync": (_remove(TIMESYNC), "timesync.* is missing.*--parts captures --uids cccccccc", "is missing"),
    "missing eye gaze": (_remove(GAZE), "no eye-gaze file.*--parts take_eye_gaze --uids b", None),
    "quality 0": (_cells(CALIBS, "quality", lambda _: "0"), r"quality is 0 \(bad\)", "quality is 0"),
    "quality -1": (_cells(CALIBS, "quality", lambda _: "-1"), r"quality is -1 \(unknown\)", "quality is -1"),
    "another world": (_cells(TRAJECTORY, "graph_uid", lambda _: "w2"), "of the world.s. w2", "of the world.s. w2"),
    "portrait": (_video(width=270, height=480), "270x480 .*3840x2160: one is portrait", "portrait"),
    "13 frames": (_video(frames=13), "=inside 13|frames_no_gaze_sample", "=frames 13"),
    "11 frames": (_video(frames=11), "=inside 11", "=frames 11"),
    "14 frames": (_video(frames=14), "has 14 frames.*12 rows.*at most 1 more or less", "14 frames"),
    "nan gaze": (_cells(GAZE, "yaw_rads_cpf", lambda _: "nan", slice(0, 2)), "=gaze_nan_gaze 2", None),
    "all gaze nan": (_cells(GAZE, "yaw_rads_cpf", lambda _: "nan"), "=frames_gaze_lost 12", None),
    "diverging eyes": (_two_eyes("0.8015", "0.7737"), "=depth_unknown 12", None),
    "hardly converging": (_two_eyes("0.05", "0.06"), "=gaze_small_vergence", None),
    "cells empty": (
        _cells(TIMESYNC, "aria01_214-1_capture_timestamp_ns", lambda _: "", slice(9, 12)),
        "=pose_timesync_empty 3",
        "=pose_timesync_empty 3",
    ),
    "poses empty": (_cells(TRAJECTORY, "tx_world_device", lambda _: ""), "has rows .* no pose", "has rows .* no pose"),
    "no rotation": (_no_rotation, "has rows .* without a rotation", "without a rotation"),
    "size of 0": (_cells(CALIBS, "image_width", lambda _: "0"), "column image_width: 0: ", "column image_width"),
    "half of the rows cut": (_half_of_the_rows, "=pose_timesync_no_row 6", "=pose_timesync_no_row 6"),
    "microseconds for nanoseconds": (
        _cells(TIMESYNC, "aria01_214-1_capture_timestamp_ns", lambda cell: cell[:-3]),
        "clock seems to be in another unit",
        "another unit",
    ),
    "degrees for radians": (_cells(GAZE, "yaw_rads_cpf", lambda _: "12.5"), "are these degrees", None),
    "camera calibrated twice": (_second_row, "cam01 can't be used: it has 2 rows", "has 2 rows"),
}


def _check(item: dict[str, Any], says: str, counts: str) -> None:
    if not says.startswith("="):
        assert item["status"] == "failed"
        assert re.search(says, item["reason"]), item["reason"]
        return
    assert item["status"] == "done", item
    known = " ".join(f"{name} {number:g}" for name, number in {"frames": item["frames"], **item[counts]}.items())
    assert re.search(says[1:], known), known


@pytest.mark.parametrize("fault", FAULTS)
def test_ground_truth_names_the_fault_and_goes_on(root: Path, tmp_path: Path, fault: str) -> None:
    change, says, _ = FAULTS[fault]
    change(root)
    done = run_cli("groundtruth", str(root), "-o", str(tmp_path / "truth"), "--json")
    items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
    assert done.exit_code == (0 if says.startswith("=") else 1), done.stderr
    assert items["good_1/cam01"]["status"] == "done"
    assert items["good_1/cam01"]["counts"]["pseudo_cameras"] == 1  # best_exo, which names no recording
    _check(items["bad_1/cam01"], says, "counts")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_extract_and_validate_go_on(root: Path, tiny_model: Path, tmp_path: Path, fault: str) -> None:
    change, _, says = FAULTS[fault]
    change(root)
    store = tmp_path / "store"
    done = run_cli("extract", str(root), "-o", str(store), "--heads", "calib", "--model", str(tiny_model), "--json")
    items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
    assert items["good_1/cam01"]["status"] == "done"
    assert items["good_1/cam01"]["head_counts"]["pseudo_cameras"] == 1
    _check(items["bad_1/cam01"], says or "=heads_good 12", "head_counts")
    checked = run_cli("validate", str(store), "--videos", str(root), "--json")
    findings = json.loads(checked.stdout)["findings"]
    assert checked.exit_code in {0, 1}
    assert not [f for f in findings if f["code"] == "check-failed"], findings


def test_rows_that_timesync_lacks_are_said_with_the_command(root: Path, tmp_path: Path) -> None:
    _half_of_the_rows(root)
    done = run_cli("groundtruth", str(root), "-o", str(tmp_path / "truth"), "--json")
    (item,) = (one for one in json.loads(done.stdout)["items"] if one["video_id"] == "bad_1/cam01")
    (note,) = (note for note in item["notes"] if "no row for the last 6 of 12 frames" in note)
    assert "--parts captures --uids cccccccc" in note
