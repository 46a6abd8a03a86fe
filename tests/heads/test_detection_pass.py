"""The detection pass over a real clip: boxes, identities, reuse, refusals, and `gazetools heads` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gazetools.heads.detection import HeadDetection, _usual_rate, detect_heads, record_path
from gazetools.heads.files import read_heads
from gazetools.heads.table import HeadTable
from gazetools.schemas.errors import EnvironmentLacksError, UsageError, VideoError
from gazetools.schemas.heads import DetectOptions, HeadsRecord
from tests.heads.tiny_detectors import SquareDetector, write_person_detector, write_pose_model
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli


def _square(**options: object) -> tuple[HeadDetection, SquareDetector]:
    detector = SquareDetector()
    return HeadDetection(options=DetectOptions(**options), detector=detector), detector  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_the_moving_square_is_one_person_with_the_right_boxes(clip: Path, tmp_path: Path, batch_size: object) -> None:
    detection, _ = _square(batch_size=batch_size)
    found = detect_heads(clip, tmp_path / "boxes.csv", detection)
    table = read_heads(found.path)
    assert table.frame.tolist() == list(range(40))
    # 3 px per frame from 0, back at the left edge in frame 28: too far to be the same
    assert table.track_id.tolist() == [1] * 28 + [2] * 12
    left = [(3 * frame) % (96 - 12) for frame in range(40)]
    np.testing.assert_allclose(table.box_xyxy, [[x, 20, x + 12, 32] for x in left], atol=2)  # H.264 blurs edges
    assert (found.record.frames, found.record.rows, found.record.tracks) == (40, 40, 2)
    assert found.path.read_text().startswith("frame,track_id,xmin,ymin,xmax,ymax,score\n0,1,")


def test_it_is_reused_and_remade_where_anything_differs(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "boxes.csv"
    detection, detector = _square()
    assert not detect_heads(clip, output, detection).reused
    assert detector.frames_seen == 40
    assert detect_heads(clip, output, detection).reused
    assert detector.frames_seen == 40
    first = output.read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        detect_heads(clip, output, _square(score=0.7)[0])
    output.write_bytes(first + b"39,9,1,1,5,5,0.9\n")  # edited by hand: no longer the detector's
    with pytest.raises(UsageError, match="--overwrite"):
        detect_heads(clip, output, detection)
    assert not detect_heads(clip, output, detection, overwrite=True).reused
    assert output.read_bytes() == first
    output.unlink()  # killed between record and CSV
    assert not detect_heads(clip, output, detection).reused
    assert output.read_bytes() == first
    assert HeadsRecord.model_validate_json(record_path(output).read_text()).rows == 40


def test_every_second_frame(clip: Path, tmp_path: Path) -> None:
    detection, detector = _square(every=2)
    table = read_heads(detect_heads(clip, tmp_path / "b.csv", detection).path)
    assert detector.frames_seen == 20
    assert set(table.frame.tolist()) == set(range(0, 40, 2))


def test_looking_seldom_does_not_lose_people_who_are_there_every_time(clip: Path, tmp_path: Path) -> None:
    """Every second frame of 30 fps is 0.067 s, more than the 0.05 s that may be missed."""
    found = detect_heads(clip, tmp_path / "b.csv", _square(every=2, lost_seconds=0.05)[0])
    assert (found.record.rows, found.record.tracks) == (20, 2)


RATES = [
    ([0, 0.04, 0.08], 25.0, "constant"),
    ([5, 5.04, 5.08, 65], 25.0, "a pause of a minute is not usual"),
    ([0, 0, 0.5, 0.5, 1], 2.0, "frames of one time"),
    ([7], 30.0, "one frame"),
    ([], 30.0, "none"),
]


@pytest.mark.parametrize(("times", "rate", "why"), RATES, ids=[case[2] for case in RATES])
def test_the_usual_rate(times: list[float], rate: float, why: str) -> None:
    assert _usual_rate(np.array(times, np.float64)) == pytest.approx(rate), why


def test_without_the_tracking_package_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(EnvironmentLacksError, match="package trackers") as caught:
        HeadDetection.load(DetectOptions())
    assert caught.value.hint == "pip install 'gazetools[detect]'"


def test_a_person_without_a_head_is_followed_and_counted(clip: Path, tmp_path: Path) -> None:
    detection, detector = _square()
    whole = detector.find

    def headless(frames, min_score):  # type: ignore[no-untyped-def]
        people = whole(frames, min_score)
        for one, number in zip(people, range(detector.frames_seen - len(frames), detector.frames_seen), strict=True):
            if 10 <= number < 15:
                one.head_xyxy[:] = [None] * len(one.head_xyxy)
        return people

    detector.find = headless  # type: ignore[method-assign]
    found = detect_heads(clip, tmp_path / "b.csv", detection)
    table = read_heads(found.path)
    assert found.record.people_without_head == 5
    assert sorted(set(range(40)) - set(table.frame.tolist())) == [10, 11, 12, 13, 14]
    assert table.track_id[table.frame == 20].tolist() == [1]


def test_a_video_that_can_not_be_read_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(VideoError):
        detect_heads(cut, tmp_path / "b.csv", _square()[0])
    assert not list(tmp_path.glob("*b.csv*"))


def _table(rows: list[tuple[int, int, float]]) -> HeadTable:
    frame, track, x = (np.array(column) for column in zip(*rows, strict=True))
    boxes = np.stack((x, x * 0, x + 10, x * 0 + 10), axis=1).astype(np.float64)
    return HeadTable.from_columns("t", frame.astype(np.int64), track.astype(np.int32), boxes, np.arange(len(frame)))


def test_short_gaps_are_filled_on_straight_lines_per_person() -> None:
    table = _table([(0, 1, 0), (4, 1, 8), (0, 2, 50), (1, 2, 50), (9, 2, 90), (5, 1, 9)])
    filled = table.fill_gaps(3)
    assert filled.filled == 3
    assert filled.frame[filled.track_id == 1].tolist() == [0, 1, 2, 3, 4, 5]
    assert filled.box_xyxy[filled.track_id == 1, 0].tolist() == [0, 2, 4, 6, 8, 9]
    assert filled.frame[filled.track_id == 2].tolist() == [0, 1, 9]  # 7 missing frames are more than 3
    assert table.fill_gaps(7).filled == 10
    assert table.fill_gaps(0).filled == 0
    assert filled.of_frame(1) == slice(2, 4)


def test_the_command_with_real_classes_and_local_folders(clip: Path, tmp_path: Path) -> None:
    """Random weights find random people; what is asserted is the path and the form of what comes out."""
    detector, pose = write_person_detector(tmp_path / "detr"), write_pose_model(tmp_path / "pose")
    short = write_clip(tmp_path / "short.mp4", frames=6)
    out = tmp_path / "boxes.csv"
    arguments = ["heads", str(short), "-o", str(out), "--detector", str(detector), "--pose", str(pose)]
    arguments += ["--score", "0.02", "--low-score", "0.01", "--json"]
    done = run_cli(*arguments)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["frames"] == 6
    assert result["tracks"] > 0
    assert result["rows"] + result["people_without_head"] > 0
    table = read_heads(out) if result["rows"] else None
    if table is not None:
        table.normalised(width=96, height=64, frame_count=6)
        assert table.box_xyxy.min() >= 0
    again = json.loads(run_cli(*arguments).stdout)
    assert again["reused"]
    record = json.loads(record_path(out).read_text())
    assert set(record["weights_sha256"]) == {"detector", "pose"}


CODES = [
    (["--detector", "rtdetrr"], 2, "Unknown detector"),
    (["--score", "0.05"], 2, "--low-score (0.1)"),
    (["--every", "0"], 2, "every"),
    ([], 3, "hf download"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), CODES, ids=[case[2] for case in CODES])
def test_exit_codes(
    arguments: list[str], code: int, words: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    done = run_cli("heads", str(clip), "-o", str(tmp_path / "b.csv"), *arguments, "--json")
    assert done.exit_code == code, done.stderr
    assert words in json.loads(done.stdout)["error"]["message"] + str(json.loads(done.stdout)["error"]["hint"])
    assert not (tmp_path / "b.csv").exists()


def test_a_missing_video_is_2(tmp_path: Path) -> None:
    done = run_cli("heads", str(tmp_path / "none.mp4"), "-o", str(tmp_path / "b.csv"))
    assert done.exit_code == 2
    assert "does not exist" in done.stderr


def test_a_killed_pass_leaves_nothing_and_the_next_one_finishes(clip: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.heads.tiny_detectors import SquareDetector\n"
        "from gazetools.heads.detection import HeadDetection, detect_heads\n"
        "from gazetools.schemas.heads import DetectOptions\n"
        "detector = SquareDetector(); whole = detector.find\n"
        "def find(frames, score):\n"
        "    if detector.frames_seen >= 20: os.kill(os.getpid(), 9)\n"
        "    return whole(frames, score)\n"
        "detector.find = find\n"
        "detection = HeadDetection(options=DetectOptions(), detector=detector)\n"
        "detect_heads(Path(sys.argv[1]), Path(sys.argv[2]), detection)\n"
    )
    out = tmp_path / "boxes.csv"
    done = subprocess.run([sys.executable, "-c", code, str(clip), str(out)], env=os.environ.copy(), check=False)
    assert done.returncode == -9
    assert not list(tmp_path.iterdir())
    assert detect_heads(clip, out, _square()[0]).record.rows == 40
