"""2-D gaze is judged by both pictures that its pixels may refer to, never by one sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.egoexo.gaze_2d import read_gaze_2d
from gazetools.groundtruth import groundtruth
from gazetools.schemas.errors import DataFileError
from gazetools.store import open_store
from tests.helpers.synthetic_takes import CLOCK_US, TAKES

TAKE = TAKES[0]


def _gaze(rng: np.random.Generator, side: int, *, middle: tuple[float, float] = (0.5, 0.5), spread: float = 0.12):
    """200 points around a place of a picture of `side` pixels."""
    return (np.array(middle) + rng.normal(0, spread, (200, 2))) * side


def _write(path: Path, points: np.ndarray) -> Path:
    lines = [f"{i * 3},{CLOCK_US + i * 100_000},{x:.3f},{y:.3f}" for i, (x, y) in enumerate(points)]
    path.write_text("\n".join(["frame_num,tracking_timestamp_us,x,y", *lines]) + "\n")
    return path


RNG = np.random.default_rng(4)
TAKEN = {
    "all inside": _gaze(RNG, 1408),
    "a few pixels past the right edge": np.vstack([_gaze(RNG, 1408), [(1410.2, 900)]]),
    "negative": np.vstack([_gaze(RNG, 1408), [(-12.5, 900), (700, -0.4)]]),
    "far past the edge, a tenth of the time": np.vstack([_gaze(RNG, 1408), np.tile([(1900.0, 800.0)], (20, 1))]),
    "looks to the lower right, past the edge at times": _gaze(RNG, 1408, middle=(0.62, 0.75)),
    "looks at the upper left": _gaze(RNG, 1408, middle=(0.3, 0.3)),
    "only unknown": np.full((5, 2), np.nan),
}
REFUSED = {
    "around the middle of the sensor": _gaze(RNG, 2880),
    "only some values over, the middle at 1440": _gaze(RNG, 2880, spread=0.03),
    "down at the hands": _gaze(RNG, 2880, middle=(0.5, 0.68)),
    "to the upper left, few values over": _gaze(RNG, 2880, middle=(0.4, 0.42), spread=0.05),
    "the two points that the issue 392 gives": np.array([(1403.28, 1182.86), (1632.34, 1499.99)]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_points_of_the_released_picture_are_taken(tmp_path: Path, name: str) -> None:
    gaze = read_gaze_2d(_write(tmp_path / "general_eye_gaze_2d.csv", TAKEN[name]))
    np.testing.assert_allclose(gaze.uv, TAKEN[name], atol=1e-3)


@pytest.mark.parametrize("name", REFUSED)
def test_points_of_the_sensors_picture_are_refused(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "general_eye_gaze_2d.csv", REFUSED[name])
    with pytest.raises(DataFileError) as caught:
        read_gaze_2d(path)
    assert (REFUSED[name] > 1408).any()
    for part in ("2880x2880", "1408x1408", "issue 392", "released files are right", "take_eye_gaze"):
        assert part in str(caught.value)


def test_the_released_points_of_issue_392_are_taken(tmp_path: Path) -> None:
    points = np.array([(669.230025, 567.539327), (785.293456, 725.175535)])
    assert len(read_gaze_2d(_write(tmp_path / "g_2d.csv", points)).uv) == 2


def test_samples_past_the_edge_are_outside_and_the_others_stay(broken_root: Path, tmp_path: Path) -> None:
    points = np.tile([(400.0, 600.0)], (31, 1))
    points[5], points[9] = (1408.0, 600.0), (400.0, -0.01)
    _write(broken_root / "takes" / TAKE.name / "eye_gaze" / "general_eye_gaze_2d.csv", points)
    (item,) = groundtruth(broken_root, tmp_path, takes=TAKE.name, view="ego").items
    assert item.status == "done", item.reason
    with open_store(tmp_path / TAKE.name / "aria01_214-1.h5") as store:
        rows = store.rows()
        assert sorted(set(rows.frame[rows.inout == 0].tolist())) == [14, 15, 16, 26, 27, 28]
        assert not rows.heatmap[rows.inout == 0].any()
        assert (rows.heatmap[rows.inout == 1].max(axis=(1, 2)) == 1).all()
