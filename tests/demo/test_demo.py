"""The demo's scenes are what they claim."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gazetools.heads.files import read_heads
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import FPS, HEIGHT, WIDTH
from gazetools.video import VideoReader


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scenes_agree_with_their_truth(tmp_path: Path) -> None:
    ids = render_scenes(tmp_path, clips=2, seconds=5, seed=1)
    assert ids == ["P01_01", "P02_02"]
    actions = _rows(tmp_path / "actions.csv")
    for video_id in ids:
        gaze = {
            (int(r["frame"]), int(r["track_id"])): (float(r["x"]), float(r["y"]))
            for r in _rows(tmp_path / "gaze" / f"{video_id}.csv")
        }
        with VideoReader(tmp_path / "videos" / f"{video_id}.mp4") as reader:
            assert reader.frame_count == 5 * FPS
            heads = read_heads(tmp_path / "heads" / f"{video_id}.csv")
            heads.normalised(width=WIDTH, height=HEIGHT, frame_count=reader.frame_count)
            first = next(row for row in actions if row["video_id"] == video_id)
            start = float(first["start_timestamp"].split(":")[-1])
            frame = round(start * FPS)
            # a second before the hand arrives the person already looks at the object, which is drawn there
            assert gaze[frame - FPS, 1] == pytest.approx(gaze[frame, 1], abs=0.02)


@pytest.mark.slow
def test_the_same_seed_renders_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        render_scenes(tmp_path / name, clips=1, seconds=4, seed=5)
    for kind in ("videos/P01_01.mp4", "heads/P01_01.csv", "gaze/P01_01.csv", "actions.csv"):
        assert (tmp_path / "a" / kind).read_bytes() == (tmp_path / "b" / kind).read_bytes()
