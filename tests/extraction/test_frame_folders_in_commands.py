"""Folders of frames in every command, as a user runs them: equal to the video they come from, and named where wrong."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import pytest

from gazetools import VideoReader
from gazetools.annotations.ego4d import ego4d_videos_with_gaze
from gazetools.extraction.inputs import plan_inputs
from gazetools.heads.detection import HeadDetection, detect_heads
from gazetools.schemas.heads import DetectOptions
from tests.heads.tiny_detectors import SquareDetector
from tests.helpers.command_line import Done, run_cli
from tests.helpers.equal_stores import assert_stores_equal

FRAMES, RATE = 24, 24


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`file/v.mp4`, RGB without loss at 24 per second, and the same frames in `frames/v` as EPIC names them."""
    root = tmp_path_factory.mktemp("footage")
    (root / "file").mkdir()
    (root / "frames" / "v").mkdir(parents=True)
    random = np.random.default_rng(2)
    with av.open(str(root / "file" / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264rgb", rate=RATE, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb24"
        for number in range(FRAMES):
            rgb = random.integers(0, 60, (64, 96, 3), np.uint8)
            rgb[20:32, 3 * number : 3 * number + 12] = 255
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            cv2.imwrite(str(root / "frames" / "v" / f"frame_{number + 1:010d}.png"), rgb[..., ::-1])
        container.mux(stream.encode(None))
    return root


def extracted(inputs: Path, store: Path, model: Path, *more: str) -> Done:
    options = ("--model", str(model), "--batch-size", "8", "--device", "cpu", "--dtype", "float32", "--json")
    return run_cli("extract", str(inputs), "-o", str(store), *options, *more)


@pytest.mark.slow
def test_frames_give_what_their_video_gives_through_all_commands(
    footage: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """extract, validate with and without --videos and --deep, pack, preview: every number of the store is equal."""
    rate = ("--frame-rate", str(RATE))
    assert extracted(footage / "file", tmp_path / "of_file", tiny_model, "--stride", "2").exit_code == 0
    done = extracted(footage / "frames", tmp_path / "of_frames", tiny_model, "--stride", "2", *rate)
    assert done.exit_code == 0, done.stderr
    assert_stores_equal(tmp_path / "of_file" / "v.h5", tmp_path / "of_frames" / "v.h5")
    with h5py.File(tmp_path / "of_frames" / "v.h5") as store:
        video = json.loads(store.attrs["provenance"])["video"]
    assert (video["container"], video["rate"], video["frame_count"]) == ("pictures", "24/1", FRAMES)
    assert video["pictures"]["pattern"] == "frame_%010d.png" and video["pictures"]["timed_by"] == "--frame-rate 24"
    again = extracted(footage / "frames" / "v", tmp_path / "of_frames", tiny_model, "--stride", "2", *rate)
    assert json.loads(again.stdout)["items"][0]["status"] == "complete"
    other = extracted(footage / "frames", tmp_path / "of_frames", tiny_model, "--stride", "2", "--frame-rate", "25")
    assert other.exit_code == 1 and "made from another file" in other.stdout
    for more in ((), ("--videos", str(footage / "frames"), "--deep", "4", "--model", str(tiny_model), *rate)):
        done = run_cli("validate", str(tmp_path / "of_frames"), "--json", *more)
        report = json.loads(done.stdout)
        assert done.exit_code == 0 and {f["code"] for f in report["findings"]} <= {"gaze-outside"}
        assert report["summary"]["videos_decoded"] == 1
    done = run_cli(
        "validate", str(tmp_path / "of_frames"), "--json", "--videos", str(footage / "frames"), "--frame-rate", "25"
    )
    assert done.exit_code == 1 and {f["code"] for f in json.loads(done.stdout)["findings"]} & {
        "pts-drift",
        "rate-mismatch",
    }
    for name in ("of_file", "of_frames"):
        assert run_cli("pack", str(tmp_path / name), "-o", str(tmp_path / f"{name}_packed")).exit_code == 0
    left, right = (np.load(tmp_path / f"{name}_packed" / "v.npz") for name in ("of_file", "of_frames"))
    assert left["pts_seconds"].shape == (FRAMES,) and np.isfinite(left["pts_seconds"]).all()
    for member in ("heatmap", "valid", "pts_seconds"):
        np.testing.assert_array_equal(left[member], right[member])
    sheet, film = tmp_path / "sheet.png", tmp_path / "film.mp4"
    for output in (sheet, film):
        arguments = ("--heatmaps", str(tmp_path / "of_frames"), "-o", str(output), *rate)
        assert run_cli("preview", str(footage / "frames" / "v"), *arguments).exit_code == 0
    with VideoReader(film) as reader:
        assert reader.frame_count == FRAMES and reader.pts_seconds[-1] == pytest.approx((FRAMES - 1) / RATE)


@pytest.mark.slow
def test_a_damaged_folder_costs_itself_and_is_taken_where_allowed(
    footage: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Beside a whole folder: a picture that is cut, numbers that are missing, pictures of two sizes."""
    root = tmp_path / "videos"
    for name in ("cut", "lost", "sizes", "whole"):
        shutil.copytree(footage / "frames" / "v", root / name)
    picture = "frame_{:010d}.png".format
    data = (root / "cut" / picture(5)).read_bytes()
    (root / "cut" / picture(5)).write_bytes(data[:-100])
    (root / "lost" / picture(7)).unlink()
    cv2.imwrite(str(root / "sizes" / picture(9)), np.zeros((8, 8, 3), np.uint8))
    shutil.copy(footage / "file" / "v.mp4", root / "file.mp4")
    done = extracted(root, tmp_path / "store", tiny_model, "--frame-rate", "24")
    items = {item["video_id"]: item for item in json.loads(done.stdout)["items"]}
    assert done.exit_code == 1 and {n: i["status"] for n, i in items.items()} == {
        "cut": "failed", "file": "done", "lost": "failed", "sizes": "failed", "whole": "done"
    }  # fmt: skip
    assert "(frame 4) is cut off inside its PNG data" in items["cut"]["reason"]
    assert "1 of the numbers 1 to 24 have no picture, the first after 6" in items["lost"]["reason"]
    assert "is 8x8 pixels, the first picture 96x64" in items["sizes"]["reason"]
    done = extracted(root, tmp_path / "store", tiny_model, "--frame-rate", "24", "--allow-damaged", "--overwrite")
    assert done.exit_code == 0, done.stdout
    with h5py.File(tmp_path / "store" / "lost.h5") as lost, h5py.File(tmp_path / "store" / "cut.h5") as cut:
        np.testing.assert_array_equal(lost["frames/pts_seconds"][()], [n / 24 for n in range(FRAMES) if n != 6])
        assert cut["frames/index"][()].tolist() == [n for n in range(FRAMES) if n != 4]
    report = json.loads(run_cli("validate", str(tmp_path / "store"), "--json").stdout)
    codes = {(f["video_id"], f["code"]) for f in report["findings"]}
    assert {("lost", "video-frames-lost"), ("lost", "video-damaged"), ("cut", "video-damaged")} <= codes


def test_without_a_rate_the_flag_is_named(footage: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Exit 2 before anything is done, in every command that opens a folder of frames."""
    folder = footage / "frames" / "v"
    for arguments in (
        ("extract", str(footage), "-o", str(tmp_path / "store"), "--model", str(tiny_model)),
        ("heads", str(folder), "-o", str(tmp_path / "boxes.csv")),
        ("preview", str(folder), "--heatmaps", str(tmp_path), "-o", str(tmp_path / "sheet.png")),
    ):
        done = run_cli(*arguments)
        assert done.exit_code == 2, arguments
        assert "Give --frame-rate RATE" in done.stderr and "60 for P01_01" in done.stderr
        assert "frame_rate.txt" in done.stderr and list(tmp_path.iterdir()) == []
    done = run_cli("extract", str(folder / "frame_0000000001.png"), "-o", str(tmp_path / "store"))
    assert done.exit_code == 2 and f"name the folder, {folder}, and give --frame-rate" in done.stderr
    done = run_cli("extract", str(folder), "-o", "store", "--frame-rate", "0")
    assert done.exit_code == 2 and "must be a rate above 0" in done.stderr


def test_heads_of_frames_are_those_of_the_video(footage: Path, tmp_path: Path) -> None:
    for name, options in (("file/v.mp4", {}), ("frames/v", {"frame_rate": "24"})):
        detection = HeadDetection(options=DetectOptions(**options), detector=SquareDetector())  # type: ignore[arg-type]
        detect_heads(footage / name, tmp_path / f"{name[:4]}.csv", detection)
    assert (tmp_path / "file.csv").read_text() == (tmp_path / "fram.csv").read_text()
    assert len((tmp_path / "file.csv").read_text().splitlines()) == FRAMES + 1


@pytest.mark.slow
def test_a_plan_of_frames_knows_their_number(footage: Path, tiny_model: Path, tmp_path: Path) -> None:
    """--dry-run estimates the space by the pictures that are there."""
    done = extracted(footage / "frames", tmp_path / "store", tiny_model, "--frame-rate", "24", "--dry-run")
    (video,) = json.loads(done.stdout)["videos"]
    assert video["video_id"] == "v" and json.loads(done.stdout)["space"]["videos"] == 1
    by_file = extracted(footage / "file", tmp_path / "store", tiny_model, "--dry-run")
    needed = [json.loads(one.stdout)["space"]["needed_bytes"] for one in (done, by_file)]
    assert needed[0] == needed[1]


def test_ego4d_s_and_ego_exo4d_s_videos_may_be_folders_of_frames(footage: Path, tmp_path: Path) -> None:
    """In the place of the file, without its suffix; a file that is there goes first."""
    (tmp_path / "gaze").mkdir()
    for uid in ("one", "two"):
        (tmp_path / "gaze" / f"{uid}.csv").write_text("")
        shutil.copytree(footage / "frames" / "v", tmp_path / "full_scale" / uid)
    shutil.copy(footage / "file" / "v.mp4", tmp_path / "full_scale" / "two.mp4")
    found = {uid: video for uid, video, _ in ego4d_videos_with_gaze(tmp_path)}
    assert found == {"one": tmp_path / "full_scale" / "one", "two": tmp_path / "full_scale" / "two.mp4"}
    root = tmp_path / "egoexo"
    shutil.copytree(footage / "frames" / "v", root / "takes" / "t" / "frame_aligned_videos" / "cam01")
    relative = "frame_aligned_videos/cam01.mp4"
    take = {
        "take_name": "t", "take_uid": "u", "root_dir": "takes/t",
        "capture": {"capture_name": "t", "cameras": [{"cam_id": "cam01", "is_ego": False}]},
        "frame_aligned_videos": {"cam01": {"0": {"cam_id": "cam01", "stream_id": "0", "relative_path": relative}}},
    }  # fmt: skip
    (root / "takes.json").write_text(json.dumps([take]))
    (item,) = plan_inputs([root])
    assert (item.video_id, item.path) == ("t/cam01", root / "takes" / "t" / relative.removesuffix(".mp4"))
