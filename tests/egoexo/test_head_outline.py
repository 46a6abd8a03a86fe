"""The head box is that of the head's silhouette: against the closed form for a pinhole, and dense surface points."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gazetools.egoexo.geometry import Fisheye, Poses, StaticCamera, rotation_from_quaternion
from gazetools.egoexo.head_boxes import BoxState, head_boxes
from tests.egoexo.test_geometry import LENS

HALF = np.array([0.09, 0.13, 0.11])
BEHIND_EYES = np.array([0, 0, -0.095])
SMALL = LENS.scaled(width=960, height=540)
# theta (1 + k1 theta^2 + ...) is the series of tan(theta): a pinhole to 1e-5 px within 15 degrees of the axis
PINHOLE = Fisheye(fx=900.0, fy=900.0, cx=479.5, cy=269.5, k=(1 / 3, 2 / 15, 17 / 315, 62 / 2835), width=960, height=540)
KNOWN = np.array([True])


def _camera(lens: Fisheye) -> StaticCamera:
    return StaticCamera(name="c", graph_uid="g", rotation=np.eye(3), translation=np.zeros(3), lens=lens)


def _pose(place: tuple[float, ...], seed: int) -> Poses:
    rotation = rotation_from_quaternion(np.random.default_rng(seed).normal(size=4))
    return Poses(rotation=rotation[None], translation=np.array([place], np.float64))


def _pinhole_box(lens: Fisheye, pose: Poses) -> np.ndarray:
    """The outline of an ellipsoid in a pinhole picture is a conic: its dual is P Q P^T, with Q the ellipsoid's dual.

    A line (1, 0, -u) touches the conic C* where C*_00 - 2 u C*_02 + u^2 C*_22 = 0 (Hartley and Zisserman, 8.3).
    """
    r, t = pose.rotation[0], pose.translation[0]
    centre = r @ BEHIND_EYES + t
    quadric = np.zeros((4, 4))
    quadric[:3, :3] = r @ np.diag(HALF**2) @ r.T - np.outer(centre, centre)
    quadric[:3, 3] = quadric[3, :3] = -centre
    quadric[3, 3] = -1
    p = np.array([[lens.fx, 0, lens.cx, 0], [0, lens.fy, lens.cy, 0], [0, 0, 1, 0]])
    c = p @ quadric @ p.T
    low, high = [], []
    for i in (0, 1):
        root = np.sqrt(c[i, 2] ** 2 - c[i, i] * c[2, 2])
        ends = sorted(((c[i, 2] - root) / c[2, 2], (c[i, 2] + root) / c[2, 2]))
        low.append(ends[0])
        high.append(ends[1])
    return np.array([*low, *high])


def _dense_box(lens: Fisheye, pose: Poses) -> np.ndarray:
    """Box of 160,000 points of the surface, projected by OpenCV."""
    a, b = np.meshgrid(np.linspace(-np.pi, np.pi, 801), np.linspace(-np.pi / 2, np.pi / 2, 201))
    ball = np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], axis=-1).reshape(-1, 3)
    points = (ball * HALF + BEHIND_EYES) @ pose.rotation[0].T + pose.translation[0]
    matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    uv = cv2.fisheye.projectPoints(points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), matrix, np.array(lens.k))[0][
        :, 0
    ]
    return np.concatenate([uv.min(axis=0), uv.max(axis=0)])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    side = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = np.prod(np.maximum(side, 0))
    return float(common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common))


@pytest.mark.parametrize("distance", [1.5, 2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_a_pinholes_box_is_that_of_the_projected_conic(distance: float, seed: int) -> None:
    pose = _pose((0.1 * distance, -0.05 * distance, distance), seed)
    box = head_boxes(_camera(PINHOLE), pose, KNOWN).box_xyxy[0]
    np.testing.assert_allclose(box, _pinhole_box(PINHOLE, pose), atol=0.02)


@pytest.mark.parametrize(
    "place", [(0, 0, 2), (0.9, 0.4, 2), (-1.2, -0.5, 2.4), (1.0, -0.3, 3), (0, 0.8, 4), (-2, 1, 6), (0.2, 0.1, 0.6)]
)
@pytest.mark.parametrize("seed", [5, 6])
def test_a_fisheyes_box_is_that_of_the_heads_surface(place: tuple[float, ...], seed: int) -> None:
    """Right at the axis, at the picture's edge, where lines bend most, and so near that the head fills the picture."""
    pose = _pose(place, seed)
    box, dense = head_boxes(_camera(SMALL), pose, KNOWN).box_xyxy[0], _dense_box(SMALL, pose)
    np.testing.assert_allclose(box, dense, atol=0.03)
    assert _overlap(box, dense) > 0.99
    assert 0.98 < np.prod(box[2:] - box[:2]) / np.prod(dense[2:] - dense[:2]) < 1.02


def test_the_box_is_cut_at_the_edge_and_counted() -> None:
    poses = _pose((2.45, 0.0, 1.6), 1)
    found = head_boxes(_camera(SMALL), poses, KNOWN)
    dense = _dense_box(SMALL, poses)
    assert dense[2] > 960 > dense[0]
    np.testing.assert_allclose(found.box_xyxy[0], np.clip(dense, 0, [960, 540, 960, 540]), atol=0.03)
    assert found.clipped == 1


@pytest.mark.parametrize(
    ("place", "state"),
    [
        ((0.0, 0.0, 0.05), BoxState.BEHIND),  # the camera is inside the head
        ((0.0, 0.0, 0.0), BoxState.BEHIND),
        ((0.02, 0.3, -0.2), BoxState.BEHIND),
        ((0.0, 0.0, -3.0), BoxState.BEHIND),
        ((30.0, 0.0, 2.0), BoxState.OUTSIDE),
        ((0.0, 0.0, 40.0), BoxState.SMALL),
    ],
)
def test_heads_at_and_behind_the_camera_have_no_box(place: tuple[float, ...], state: BoxState) -> None:
    poses = Poses(rotation=np.eye(3)[None], translation=np.array([place]))
    found = head_boxes(_camera(SMALL), poses, KNOWN)
    assert found.state[0] == state
    assert np.isnan(found.box_xyxy).all()


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_camera_sees_the_turned_picture(degrees: int) -> None:
    """The pixel of a point in the picture turned counter-clockwise, as numpy turns it."""
    camera = _camera(Fisheye(fx=200.0, fy=210.0, cx=101.0, cy=63.0, k=LENS.k, width=200, height=120))
    points = np.random.default_rng(2).uniform((-0.5, -0.3, 1), (0.5, 0.3, 3), (30, 3))
    pixels = camera.project(points)[0].round().astype(int)
    turned = camera.turned(degrees)
    for point, (u, v) in zip(points, pixels, strict=True):
        picture = np.zeros((120, 200), bool)
        picture[v, u] = True
        rows, columns = np.nonzero(np.rot90(picture, degrees // 90))
        np.testing.assert_allclose(turned.project(point)[0], [columns[0], rows[0]], atol=0.51)
    assert (turned.lens.width, turned.lens.height) == ((120, 200) if degrees in (90, 270) else (200, 120))
