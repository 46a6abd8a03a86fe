"""The line of a gaze without a depth has no holes, wherever the segment lies; against dense points by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gazetools.egoexo.geometry import Fisheye
from gazetools.groundtruth.render import SIZE
from gazetools.groundtruth.segments import draw_segments
from tests.egoexo.test_geometry import LENS

K = LENS.k
SMALL = LENS.scaled(width=480, height=270)
PORTRAIT = Fisheye(fx=220.0, fy=220.0, cx=134.5, cy=239.5, k=K, width=270, height=480)
HALF_SPHERE = Fisheye(fx=150.0, fy=150.0, cx=239.5, cy=239.5, k=(0, 0, 0, 0), width=480, height=480)
NEAR_PINHOLE = Fisheye(fx=400.0, fy=400.0, cx=319.5, cy=179.5, k=(1 / 3, 2 / 15, 17 / 315, 0), width=640, height=360)

# eyes and a point to look at, in metres, camera axes (x right, y down, z forward)
SEGMENTS = {
    "across the picture": ((-1.5, 0.1, 3.0), (1.5, 0.4, 3.0)),
    "across, near the camera": ((-0.6, 0.0, 0.8), (0.6, 0.1, 0.9)),
    "starts at the picture's edge": ((-1.3, 0.7, 1.6), (0.5, -0.2, 2.5)),
    "leaves the picture": ((0.2, 0.1, 2.0), (2.5, 0.3, 1.5)),
    "enters from outside": ((-4.0, 0.0, 2.0), (0.0, 0.1, 2.2)),
    "passes behind the camera": ((0.3, 0.2, 1.5), (-0.2, 0.1, -1.0)),
    "comes from behind": ((0.4, -0.3, -0.5), (0.1, 0.0, 1.0)),
    "passes 2 cm from the camera": ((0.0, 0.02, 1.0), (0.0, 0.02, -1.0)),
    "nearly along the optical axis": ((0.01, 0.02, 2.0), (0.015, 0.02, 9.0)),
    "towards the camera": ((0.5, 0.3, 3.0), (0.05, 0.02, 0.2)),
    "from just beside the camera": ((0.1, 0.05, -0.05), (0.6, 0.2, 2.0)),
    "straight down": ((0.2, -0.9, 2.4), (0.2, 0.9, 2.4)),
    "slanted by a quarter": ((-1.0, -0.6, 2.2), (1.0, 0.6, 2.2)),
}
CAMERAS = {"GoPro": SMALL, "portrait": PORTRAIT, "180 degrees": HALF_SPHERE, "pinhole": NEAR_PINHOLE}


def _reference(lens: Fisheye, eyes: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Cells that 80,000 points of the segment fall into, at least 3 of them; even in depth and in its inverse."""
    depth = np.concatenate([np.linspace(0.25, 6, 40_000), 1 / np.linspace(4, 1 / 6, 40_000)])
    points = eyes + depth[:, None] * direction
    points = points[points[:, 2] > 1e-6]
    if not len(points):
        return np.zeros(0, np.int64)
    matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    uv = cv2.fisheye.projectPoints(points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), matrix, np.array(lens.k, float))
    angle = np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2])
    cell = uv[0][angle <= lens.max_angle, 0] / [lens.width, lens.height] * SIZE
    cell = cell[((cell >= 0) & (cell < SIZE)).all(axis=1)].astype(np.int64)
    number, count = np.unique(cell[:, 1] * SIZE + cell[:, 0], return_counts=True)
    return number[count >= 3]


def _drawn(lens: Fisheye, eyes: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    found = draw_segments(lens, eyes[None], direction[None], wanted=np.array([True]))
    return found.cells, found.render(np.array([0]))[0], float(found.inout[0])


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("name", SEGMENTS)
def test_every_cell_that_the_segment_passes_is_one(name: str, camera: str) -> None:
    eyes, target = (np.array(place, np.float64) for place in SEGMENTS[name])
    direction = (target - eyes) / np.linalg.norm(target - eyes)
    lens = CAMERAS[camera]
    expected = _reference(lens, eyes, direction)
    cells, heatmap, inout = _drawn(lens, eyes, direction)
    assert set(expected) <= set(cells)
    # and no others but such as the line touches at a corner
    assert len(set(cells) - set(expected)) <= 2
    assert (heatmap.reshape(-1)[expected] == 1).all()
    assert (inout == 0) == (len(cells) == 0)


def test_random_segments_have_no_holes() -> None:
    """Seen from all sides, far and near; neighbouring cells of the line touch each other."""
    rng = np.random.default_rng(8)
    eyes = rng.uniform((-2, -1, 0.3), (2, 1, 4), (12, 3))
    direction = rng.normal(size=(12, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    found = draw_segments(SMALL, eyes, direction, wanted=np.ones(12, bool))
    seen = 0
    for i in range(12):
        cells = found.cells[found.start[i] : found.start[i + 1]]
        expected = _reference(SMALL, eyes[i], direction[i])
        assert set(expected) <= set(cells)
        seen += len(expected)
    assert seen > 100


def test_a_segment_through_the_cameras_centre_is_seen_as_its_ends() -> None:
    """A head-on ray is one point in the picture; behind the camera there is nothing."""
    ahead = _drawn(SMALL, np.array([0.0, 0.0, 3.0]), np.array([0.0, 0.0, -1.0]))
    assert len(ahead[0]) == 1
    at_camera = _drawn(SMALL, np.zeros(3), np.array([0.0, 0.0, 1.0]))
    assert at_camera[0].tolist() == ahead[0].tolist() and at_camera[2] == 1
    away = _drawn(SMALL, np.array([0.0, 0.0, -0.1]), np.array([0.0, 0.0, -1.0]))
    assert len(away[0]) == 0 and away[2] == 0


def test_only_the_wanted_frames_have_a_line() -> None:
    eyes, direction = np.array([[0.0, 0.1, 3.0]] * 3), np.array([[1.0, 0.0, 0.0]] * 3)
    found = draw_segments(SMALL, eyes, direction, wanted=np.array([True, False, True]))
    lengths = np.diff(found.start)
    assert lengths[1] == 0 and lengths[0] == lengths[2] > 5
    assert np.isnan(found.inout[1])
    assert not found.render(np.array([1]))[0].any()
