"""The angle at the camera in a table of a store whose video lies in an Ego-Exo4D root."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gazetools import open_store
from gazetools.egoexo.exo_view import exo_camera
from gazetools.exchange.table import gaze_table, write_gaze_table
from gazetools.video.probe import probe
from tests.helpers.stores import make_video


def test_the_camera_of_the_take_gives_the_angle_and_other_videos_have_none(egoexo_root: Path, tmp_path: Path) -> None:
    """Reference: project points at known angles from the camera, as the lens's own forward formula places them."""
    video = next(iter(sorted(egoexo_root.glob("takes/*/frame_aligned_videos/cam01.mp4"))))
    info = probe(video, None)
    _, camera = exo_camera(video, width=info.width, height=info.height)
    facts = {"path": str(video), "size_bytes": video.stat().st_size, "width": info.width, "height": info.height}
    store = tmp_path / "store"
    make_video(store, "take/cam01", frame_count=4, size_hw=(32, 32), video=facts)
    make_video(store, "other", frame_count=2)
    table = gaze_table(store)
    ours = table["video_id"] == "take/cam01"
    assert np.isnan(table["camera_angle_deg"][~ours]).all()
    for row in np.flatnonzero(ours):
        head = [
            (table[f"head_{axis}_min"][row].astype(float) + table[f"head_{axis}_max"][row].astype(float)) / 2
            for axis in "xy"
        ]
        peak = [table["peak_x"][row], table["peak_y"][row]]
        rays = [_ray_by_search(camera.lens, x * info.width, y * info.height) for x, y in (head, peak)]
        expected = math.degrees(math.acos(min(1.0, float(rays[0] @ rays[1]))))
        assert table["camera_angle_deg"][row] == pytest.approx(expected, abs=1e-3)
    report = write_gaze_table(store, tmp_path / "t.csv", videos=["other"])
    assert "/nowhere/other.mp4 is not there" in report.absent["camera_angle_deg"]
    with open_store(store / "other.h5") as reader:
        assert reader.row_has_head.all()


def _ray_by_search(lens, u: float, v: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The unit ray of a pixel by bisection of the forward formula rd(theta)."""
    x, y = (u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy
    radius = math.hypot(x, y)
    low, high = 0.0, lens.max_angle
    for _ in range(80):
        middle = (low + high) / 2
        s = middle * middle
        grown = middle * (1 + s * (lens.k[0] + s * (lens.k[1] + s * (lens.k[2] + s * lens.k[3]))))
        low, high = (middle, high) if grown < radius else (low, middle)
    return np.array([x / radius * math.sin(low), y / radius * math.sin(low), math.cos(low)])
