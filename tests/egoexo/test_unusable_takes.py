"""Faults of takes.json planted in one take of several: named with file, entry and reason; the other takes go on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gazetools.egoexo.takes import read_takes, take_of_video
from gazetools.schemas.errors import UsageError
from tests.helpers.command_line import run_cli
from tests.helpers.synthetic_takes import Camera, SyntheticTake, write_root

GOOD = SyntheticTake(name="good_1", uid="g", cameras=(Camera(name="cam01"),), frames=6, empty_cells=())
BAD = SyntheticTake(name="bad_1", uid="b", cameras=(Camera(name="cam01"), Camera(name="cam02")), frames=6)
ENTRY = r"takes\.json, entry 1"

Entry = dict[str, Any]


@pytest.fixture(scope="module")
def two_takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("two") / "root", [GOOD, BAD])


@pytest.fixture
def root(two_takes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_takes, tmp_path / "root"))


def _plant(root: Path, change: Callable[[list[Any]], None]) -> None:
    path = root / "takes.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def _set(key: str, value: Any) -> Callable[[list[Any]], None]:
    return lambda entries: entries[1].__setitem__(key, value)


def _path_of(camera: str, value: Any) -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        entries[1]["frame_aligned_videos"][camera]["0"]["relative_path"] = value

    return change


def _listed_twice(entries: list[Any]) -> None:
    entries[1]["capture"]["cameras"].append({"cam_id": "cam02", "is_ego": True})


WHOLE_TAKE = [
    pytest.param(lambda e: e[1].pop("take_name"), ENTRY + r" \(take_uid 'b'\): it has no take_name", id="no name"),
    pytest.param(_set("take_name", 7), ENTRY + ".*take_name is 7, not a name", id="name of another type"),
    pytest.param(_set("take_name", "../bad_1"), ENTRY + ".*not allowed", id="name that leads out"),
    pytest.param(_set("take_name", "bad/1"), ENTRY + ".*has a slash", id="name with a slash"),
    pytest.param(lambda e: e.__setitem__(1, ["bad_1"]), ENTRY + r": it is \['bad_1'\], not an object", id="no object"),
    pytest.param(_set("root_dir", "takes/../.."), ENTRY + r" \(take 'bad_1'\).*not allowed", id="folder leads out"),
    pytest.param(_set("root_dir", "takes/good_1"), ENTRY + ".*its folder is also that of entry 0", id="shared folder"),
    pytest.param(_set("take_name", "Good_1"), ENTRY + ".*take_name is also that of entry 0", id="differs in case only"),
    pytest.param(_set("timesync_start_idx", "7"), ENTRY + ".*timesync_start_idx is '7', not a whole", id="text row"),
    pytest.param(_set("timesync_end_idx", 7.5), ENTRY + ".*timesync_end_idx is 7.5, not a whole", id="half a row"),
    pytest.param(_set("capture", []), ENTRY + r".*capture is \[\], not an object", id="capture of another type"),
    pytest.param(lambda e: e[1]["capture"].update(cameras=5), ENTRY + ".*cameras is 5, not a list", id="no list"),
    pytest.param(lambda e: e[1]["capture"].update(cameras=["x"]), ENTRY + ".*has 'x', not an object", id="no camera"),
    pytest.param(_set("frame_aligned_videos", [1]), ENTRY + ".*frame_aligned_videos is .1.", id="no videos object"),
    pytest.param(_set("take_uid", 5), ENTRY + ".*take_uid is 5, not a text", id="uid of another type"),
]
ONE_CAMERA = [
    pytest.param(_path_of("cam02", "../../good_1/cam02.mp4"), "camera cam02: .*not allowed", id="path leads out"),
    pytest.param(_path_of("cam02", 5), "camera cam02: its relative_path is 5, not a path", id="path of another type"),
    pytest.param(_listed_twice, "camera cam02: capture.cameras lists cam02 2 times", id="camera listed twice"),
    pytest.param(
        lambda e: e[1]["frame_aligned_videos"].update(cam02="x"), "camera cam02: its streams are 'x'", id="no streams"
    ),
]


@pytest.mark.parametrize(("change", "says"), WHOLE_TAKE)
def test_an_unusable_entry_costs_its_own_take(root: Path, change: Callable[[list[Any]], None], says: str) -> None:
    _plant(root, change)
    shared = says.split(" ")[-3:] == ["of", "entry", "0"]  # then neither of the two is certain
    assert [take.name for take in read_takes(root)[0]] == ([] if shared else ["good_1"])
    found = [entry for entry in read_takes(root)[1] if entry.item_id == "takes.json[1]"]
    assert len(found) == 1
    assert re.search(says, found[0].message), found[0].message
    assert f"egoexo -o {root} --parts metadata" in found[0].message


@pytest.mark.parametrize(("change", "says"), ONE_CAMERA)
def test_an_unusable_camera_costs_itself(root: Path, change: Callable[[list[Any]], None], says: str) -> None:
    _plant(root, change)
    assert not read_takes(root)[1]
    bad = read_takes(root)[0][0]
    by_name = {camera.name: camera for camera in bad.cameras if not camera.is_ego or camera.problem}
    assert by_name["cam01"].problem is None and by_name["cam01"].path is not None
    assert re.search(says, str(by_name["cam02"].problem)), by_name["cam02"].problem


def test_two_cameras_of_one_file_and_keys_that_occur_twice(root: Path) -> None:
    _plant(root, _path_of("cam02", "frame_aligned_videos/cam01.mp4"))
    (camera,) = [camera for camera in read_takes(root)[0][0].cameras if camera.name == "cam01"]
    assert "given for cam01 and cam02" in str(camera.problem)
    text = (root / "takes.json").read_text()
    twice = text.replace('"take_uid": "b"', '"take_uid": "b", "take_uid": "c"')
    assert twice != text
    (root / "takes.json").write_text(twice)
    assert "has the key(s) take_uid twice" in read_takes(root)[1][0].message
    assert [take.name for take in read_takes(root)[0]] == ["good_1"]


def test_a_video_of_an_unusable_take_says_why(root: Path) -> None:
    _plant(root, _set("timesync_start_idx", "7"))
    with pytest.raises(UsageError, match="timesync_start_idx is '7'"):
        take_of_video(root / "takes" / "bad_1" / "frame_aligned_videos" / "cam01.mp4")


def test_all_commands_go_on_and_name_what_is_left_out(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A nameless entry, a duplicated take, a spoilt camera and a take without videos beside a good take."""

    def change(entries: list[Any]) -> None:
        _listed_twice(entries)
        bare = {**entries[1], "take_name": "bare_1", "root_dir": "takes/bare_1", "frame_aligned_videos": None}
        entries += [{"take_uid": "n"}, {**entries[0], "take_name": "x", "root_dir": "takes/x"}, bare]
        entries.append(dict(entries[3]))

    _plant(root, change)
    (root / "takes" / "bare_1").mkdir()
    wrong = {
        "takes.json[2]": r"entry 2 \(take_uid 'n'\): it has no take_name",
        "takes.json[3]": r"entry 3 \(take 'x'\): its take_name is also that of entry 5",
        "takes.json[5]": r"entry 5 \(take 'x'\): its take_name is also that of entry 3",
        "bad_1/cam02": "lists cam02 2 times",
        "bare_1": "lists no exo video",
    }
    store, truth = tmp_path / "store", tmp_path / "truth"
    extract = ("extract", str(root), "-o", str(store), "--heads", "calib", "--model", str(tiny_model), "--stride", "3")
    for command in (extract, ("groundtruth", str(root), "-o", str(truth), "--stride", "3")):
        done = run_cli(*command, "--json")
        assert done.exit_code == 1, done.stderr
        items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
        good = {video_id for video_id, item in items.items() if item["status"] == "done"}
        assert good == {"good_1/cam01", "bad_1/cam01"}, items
        assert set(items) - good == set(wrong)
        for video_id, says in wrong.items():
            assert items[video_id]["status"] == "failed"
            assert re.search(says, items[video_id]["reason"]), items[video_id]["reason"]
    report = json.loads((store / "extract_report.json").read_text())
    assert {item["video_id"] for item in report["items"] if item["status"] == "failed"} == set(wrong)
    assert "it has no take_name" in run_cli(*extract).stdout  # the closing table, and again when all is there already

    done = run_cli("validate", str(truth), "--videos", str(root), "--json")
    findings = [f for f in json.loads(done.stdout)["findings"] if f["code"] == "take-unusable"]
    assert done.exit_code == 1
    assert sorted(str(f["video_id"]) for f in findings) == ["None", "bad_1/cam02", "x", "x"]
    assert any("it has no take_name" in f["message"] for f in findings)
    assert not any(f["code"].startswith("video") for f in json.loads(done.stdout)["findings"])

    dry = run_cli("groundtruth", str(root), "-o", str(tmp_path / "no"), "--dry-run", "--json")
    assert {"takes.json[2]", "bad_1"} <= set(json.loads(dry.stdout)["missing"])
    dry = run_cli(*extract, "--dry-run", "--json")
    assert dry.exit_code == 1
    assert {row["video_id"] for row in json.loads(dry.stdout)["videos"]} == {*wrong, "good_1/cam01", "bad_1/cam01"}


def test_named_takes_report_only_what_was_named(root: Path, tmp_path: Path) -> None:
    _plant(root, _set("timesync_start_idx", "7"))
    done = run_cli("groundtruth", str(root), "-o", str(tmp_path), "--takes", "good_*", "--stride", "3")
    assert done.exit_code == 0, done.stderr
    done = run_cli("groundtruth", str(root), "-o", str(tmp_path), "--takes", "bad_1", "--json")
    assert done.exit_code == 1
    assert "timesync_start_idx" in json.loads(done.stdout)["items"][0]["reason"]


def test_shards_count_what_is_left_out_once(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    _plant(root, _set("timesync_start_idx", "7"))
    codes = [
        run_cli(
            "extract", str(root), "-o", str(tmp_path), "--heads", "calib", "--model", str(tiny_model), "--shard", shard
        ).exit_code
        for shard in ("1/2", "2/2")
    ]
    assert sorted(codes) == [0, 1]
    items = json.loads((tmp_path / "extract_report.json").read_text())["items"]
    assert [(item["video_id"], item["status"]) for item in items] == [
        ("good_1/cam01", "done"),
        ("takes.json[1]", "failed"),
    ]
