"""Which glasses are the wearer's where a capture has several, or where takes.json does not list their video."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.egoexo.takes import read_takes
from gazetools.egoexo.takes_file import read_takes_file
from gazetools.egoexo.wearer import frame_times
from gazetools.groundtruth import groundtruth
from gazetools.schemas.errors import DataFileError
from gazetools.store import open_store
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_takes import CLOCK_US, Camera, SyntheticTake, write_root

TAKE = SyntheticTake(name="pair_1", uid="p", cameras=(Camera(name="cam01"),), frames=45, empty_cells=(), ego_video=True)
OTHER = "aria02_214-1_capture_timestamp_ns"
Entry = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("glasses") / "root", [TAKE], draw=False)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "root"))


def _onlooker(root: Path, later_us: int) -> None:
    """A column of another pair of glasses before the wearer's, whose clock is `later_us` later."""
    path = root / "captures/pair/timesync.csv"
    header, *rows = path.read_text().splitlines()
    cells = []
    for row in rows:
        stamp = int(row.split(",")[1])
        cells.append(f"{stamp + later_us * 1000},{row}")
    path.write_text("\n".join([f"{OTHER},{header}", *cells]) + "\n")


def _entry(root: Path, change: Callable[[Entry], None]) -> None:
    content = json.loads((root / "takes.json").read_text())
    change(content[0])
    (root / "takes.json").write_text(json.dumps(content))


def _no_rgb(entry: Entry) -> None:
    del entry["frame_aligned_videos"]["aria01"]


def _null_rgb(entry: Entry) -> None:
    entry["frame_aligned_videos"]["aria01"]["rgb"]["relative_path"] = None


def _no_is_ego(entry: Entry) -> None:
    _no_rgb(entry)
    for camera in entry["capture"]["cameras"]:
        del camera["is_ego"]


def _no_aria_listed(entry: Entry) -> None:
    _no_rgb(entry)
    entry["capture"]["cameras"] = [c for c in entry["capture"]["cameras"] if c["cam_id"] != "aria01"]


def _two_listed(entry: Entry) -> None:
    entry["capture"]["cameras"].append({"cam_id": "aria02", "is_ego": True})


def _no_vrs(entry: Entry) -> None:
    entry.pop("vrs_relative_path", None)
    _two_listed(entry)


@pytest.mark.parametrize(
    "change", [_no_rgb, _null_rgb, _no_is_ego, _no_aria_listed], ids=lambda change: change.__name__
)
@pytest.mark.parametrize("later_us", [None, 500_000], ids=["alone", "with an onlooker"])
def test_the_glasses_are_found_without_their_video(
    root: Path, tmp_path: Path, change: Callable[[Entry], None], later_us: int | None
) -> None:
    _entry(root, change)
    if later_us is not None:
        _onlooker(root, later_us)
    (item,) = groundtruth(root, tmp_path / "truth").items
    assert (item.status, item.rows) == ("done", 45), item.reason
    with open_store(tmp_path / "truth/pair_1/cam01.h5") as store:
        target = store.extra("target_xy")
        assert target is not None
        np.testing.assert_allclose(target * [480, 270], np.tile(TAKE.target_pixel(TAKE.cameras[0]), (45, 1)), atol=0.01)


@pytest.mark.parametrize("later_us", [500_000, -500_000, 3_600_000_000], ids=["later", "earlier", "an hour"])
def test_the_clock_that_fits_is_taken_and_said(root: Path, tmp_path: Path, later_us: int) -> None:
    _entry(root, _no_vrs)
    _onlooker(root, later_us)
    done = run_cli("groundtruth", str(root), "-o", str(tmp_path / "truth"))
    assert done.exit_code == 0, done.stderr
    assert "aria01 are taken as the wearer's, not aria02" in done.stderr + done.stdout
    with open_store(tmp_path / "truth/pair_1/cam01.h5") as store:
        assert any("of 45 frames: aria01 45" in note for note in store.provenance.options["notes"])
        assert len(store) == 45


@pytest.mark.parametrize(
    ("change", "why"),
    [(_two_listed, "takes.json names its VRS file"), (lambda e: e.pop("vrs_relative_path"), "takes.json lists it")],
    ids=["VRS file", "the only one listed"],
)
def test_clocks_that_do_not_tell_leave_it_to_the_listing(root: Path, change: Callable[[Entry], None], why: str) -> None:
    _entry(root, change)
    _onlooker(root, 0)
    times = frame_times(read_takes(root)[0][0], 45)
    assert times.glasses == "aria01"
    assert why in times.notes[0]


def test_glasses_that_nothing_tells_apart_are_refused_by_name(root: Path, tmp_path: Path) -> None:
    _entry(root, _no_vrs)
    _onlooker(root, 1000)
    (item,) = groundtruth(root, tmp_path / "truth").items
    assert item.status == "failed"
    assert "aria01, aria02" in str(item.reason) and "unknown" in str(item.reason)
    assert "--parts take_trajectory take_eye_gaze --uids p" in str(item.reason)


def test_glasses_that_takes_json_does_not_list_are_taken_with_a_word(root: Path, tmp_path: Path) -> None:
    path = root / "captures/pair/timesync.csv"
    path.write_text(path.read_text().replace("aria01_214-1", "aria03_214-1"))
    (item,) = groundtruth(root, tmp_path / "truth").items
    assert (item.status, item.rows) == ("done", 45)
    assert any("takes.json lists aria01, timesync.csv has aria03 alone" in note for note in item.notes)


def test_without_a_trajectory_the_gaze_tells(root: Path, tmp_path: Path) -> None:
    """The ego view needs no trajectory; an onlooker's video gets no gaze of another person."""
    _entry(root, _no_vrs)
    _onlooker(root, 3_600_000_000)
    (root / "takes/pair_1/trajectory/closed_loop_trajectory.csv").unlink()
    take = read_takes(root)[0][0]
    assert frame_times(take, 45).glasses == "aria01"
    videos = root / "takes/pair_1/frame_aligned_videos"
    (videos / "aria02_214-1.mp4").write_bytes((videos / "aria01_214-1.mp4").read_bytes())

    def listed(entry: Entry) -> None:
        stream = {"cam_id": "aria02", "stream_id": "214-1", "relative_path": "frame_aligned_videos/aria02_214-1.mp4"}
        entry["frame_aligned_videos"]["aria02"] = {"rgb": stream}

    _entry(root, listed)
    items = {item.video_id: item for item in groundtruth(root, tmp_path / "truth", view="ego").items}
    assert items["pair_1/aria01_214-1"].status == "done"
    assert "--cameras aria01" in str(items["pair_1/aria02_214-1"].reason)


def test_extract_says_which_glasses_it_took(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    _entry(root, _two_listed)
    _onlooker(root, 500_000)
    store = str(tmp_path / "store")
    done = run_cli(
        "extract", str(root), "-o", store, "--heads", "calib", "--model", str(tiny_model), "--stride", "30"
    )  # fmt: skip
    assert "aria01 are taken as the wearer's" in done.stderr + done.stdout
    with open_store(tmp_path / "store/pair_1/cam01.h5") as opened:
        assert "aria02" in opened.provenance.heads.notes[0]
        assert opened.provenance.options["first_row"] == "start"


def test_a_capture_without_any_clock_of_glasses_says_so(root: Path) -> None:
    path = root / "captures/pair/timesync.csv"
    path.write_text(path.read_text().replace("aria01_214-1_capture_timestamp_ns", "x"))
    with pytest.raises(DataFileError, match="none of the columns aria01_214-1_capture_timestamp_ns"):
        frame_times(read_takes_file(root)[0][0], 45)


def test_the_first_row_is_an_option(root: Path, tmp_path: Path) -> None:
    """`start+1` gives frame i the time of row start + 1 + i, as the dataset's tutorials walk through the rows."""
    take = read_takes(root)[0][0]
    start, next_row = (frame_times(take, 45, first_row=first).times_us for first in ("start", "start+1"))
    assert start[0] == CLOCK_US
    np.testing.assert_array_equal(next_row[:-1], start[1:])
    assert next_row[-1] - start[-1] in (33_000, 34_000)  # the row after the take's last is there too
    (item,) = groundtruth(root, tmp_path, first_row="start+1").items
    assert (item.status, item.rows) == ("done", 45)
    with open_store(tmp_path / "pair_1/cam01.h5") as store:
        assert store.provenance.options["first_row"] == "start+1"
    (again,) = groundtruth(root, tmp_path).items
    assert "other options" in str(again.reason)  # the two readings are never mixed
