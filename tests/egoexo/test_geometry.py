"""The golden numbers of the formats, the traps of fisheye projection, and an independent reference (OpenCV)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gazetools.egoexo.cameras import read_calibration
from gazetools.egoexo.eye_gaze import vergence_to_gaze
from gazetools.egoexo.geometry import DEVICE_CPF, Fisheye, StaticCamera, gaze_direction, rotation_from_quaternion
from gazetools.schemas.errors import UsageError

LENS = Fisheye(
    fx=1761.275757,
    fy=1761.275757,
    cx=1920.0,
    cy=1080.0,
    k=(0.036902, 0.057131, -0.057154, 0.018458),
    width=3840,
    height=2160,
)
CAMERA = StaticCamera(
    name="cam01",
    graph_uid="g",
    rotation=rotation_from_quaternion([-0.437056, -0.661141, 0.501553, 0.346871]),
    translation=np.array([1.691723, 0.545741, -0.116511]),
    lens=LENS,
)


@pytest.mark.parametrize(
    ("point", "pixel", "inside"),
    [
        ((0.5, 0.2, 2.0), (2351.3258, 1252.5303), True),
        ((-1.2, -0.4, 1.5), (718.7568, 679.5856), True),
        ((0, 0, 3), (1920, 1080), True),  # on the axis, where r = 0
        ((2.0, 0.5, 1.0), (3964.1937, 1591.0484), False),  # beyond the right edge
    ],
)
def test_golden_projections(point: tuple[float, ...], pixel: tuple[float, ...], inside: bool) -> None:
    uv, in_front = LENS.project(point)
    assert in_front
    np.testing.assert_allclose(uv, pixel, atol=1e-4)
    assert bool(LENS.contains(uv)) is inside


def test_golden_world_point_and_axis() -> None:
    uv, in_front = CAMERA.project(np.array([-0.245096, 0.311661, -0.812168]))
    assert in_front
    np.testing.assert_allclose(uv, (2351.3258, 1252.5303), atol=3e-3)  # the world point is given to 1e-6 m
    np.testing.assert_allclose(CAMERA.rotation[:, 2], (-0.897075, -0.359990, -0.256250), atol=1e-6)
    exact_world = CAMERA.rotation @ np.array([0.5, 0.2, 2.0]) + CAMERA.translation
    np.testing.assert_allclose(exact_world, (-0.245096, 0.311661, -0.812168), atol=1e-6)
    np.testing.assert_allclose(CAMERA.project(exact_world)[0], (2351.3258, 1252.5303), atol=1e-4)


HEADER = (
    "cam_uid,graph_uid,tx_world_cam,ty_world_cam,tz_world_cam,qx_world_cam,qy_world_cam,qz_world_cam,qw_world_cam,"
    "image_width,image_height,intrinsics_type,intrinsics_0,intrinsics_1,intrinsics_2,intrinsics_3,intrinsics_4,"
    "intrinsics_5,intrinsics_6,intrinsics_7,start_frame_idx,end_frame_idx,quality"
)
SAMPLE_ROW = (  # of projectaria-tools' public test fixture, its leading space included
    " cam01,40084458-f219-16ca-0c3c-8bd94ee06e6c,1.691723,0.545741,-0.116511,-0.437056,-0.661141,0.501553,0.346871,"
    "3840,2160,KANNALABRANDTK3,1761.275757,1761.275757,1920.000000,1080.000000,0.036902,0.057131,-0.057154,0.018458,"
    "-1,-1,1"
)


def test_golden_projections_from_the_sample_row_as_it_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "gopro_calibs.csv"
    path.write_text(f"{HEADER}\n{SAMPLE_ROW}\n")
    camera = read_calibration(path).camera("cam01")
    assert camera.graph_uid == "40084458-f219-16ca-0c3c-8bd94ee06e6c"
    points = np.array([(0.5, 0.2, 2.0), (-1.2, -0.4, 1.5), (0, 0, 3), (2.0, 0.5, 1.0), (0.5, 0.2, -2.0)])
    uv, in_front = camera.project(points @ camera.rotation.T + camera.translation)
    golden = [(2351.3258, 1252.5303), (718.7568, 679.5856), (1920, 1080), (3964.1937, 1591.0484)]
    np.testing.assert_allclose(uv[:4], golden, atol=1e-4)
    assert in_front.tolist() == [True, True, True, True, False]
    assert camera.lens.contains(uv).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("point", [(0.5, 0.2, -2.0), (0.1, 0.1, 0.0), (0.0, 0.0, -1.0), (np.nan, 0, 1)])
def test_points_behind_have_no_pixel(point: tuple[float, ...]) -> None:
    uv, in_front = LENS.project(point)
    assert not in_front
    assert np.isnan(uv).all()
    assert not LENS.contains(uv)


def test_projection_equals_opencv() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((-2, -2, 0.3), (2, 2, 5), (500, 3))
    matrix = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])
    theirs, _ = cv2.fisheye.projectPoints(points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), matrix, np.array(LENS.k))
    ours, in_front = LENS.project(points)
    np.testing.assert_allclose(ours[in_front], theirs.reshape(-1, 2)[in_front], atol=1e-8)
    assert in_front.sum() > 400


def test_a_lens_that_folds_back_hides_what_lies_beyond_the_fold() -> None:
    folding = Fisheye(fx=500, fy=500, cx=320, cy=240, k=(-0.3, 0.0, 0.0, 0.0), width=640, height=480)
    assert folding.max_angle == pytest.approx(np.sqrt(1 / 0.9))
    angles = np.array([folding.max_angle - 0.01, folding.max_angle + 0.01])
    _, in_front = folding.project(np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=-1))
    assert in_front.tolist() == [True, False]


def test_unproject_undoes_project() -> None:
    points = np.random.default_rng(1).uniform((-1.5, -1, 0.5), (1.5, 1, 4), (200, 3))
    rays = LENS.unproject(LENS.project(points)[0])
    np.testing.assert_allclose(rays, points / np.linalg.norm(points, axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(LENS.unproject([LENS.cx, LENS.cy]), (0, 0, 1), atol=1e-12)


def test_scaling_moves_the_centre_by_half_pixels() -> None:
    small = LENS.scaled(width=960, height=540)
    assert small.fx == pytest.approx(LENS.fx / 4)
    assert small.cx == pytest.approx((1920.5) / 4 - 0.5)
    uv, _ = small.project((0.5, 0.2, 2.0))
    np.testing.assert_allclose((uv + 0.5) * 4 - 0.5, (2351.3258, 1252.5303), atol=1e-4)
    LENS.scaled(width=796, height=448)  # the official down-scaled size, rounded to even


@pytest.mark.parametrize(
    ("size", "says"), [((2160, 3840), "portrait"), ((448, 448), "portrait"), ((800, 400), "no sc")]
)
def test_a_picture_of_another_shape_is_refused(size: tuple[int, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        LENS.scaled(width=size[0], height=size[1], name="cam01")


def test_golden_gaze_points() -> None:
    cpf = 0.8 * gaze_direction(0.1, -0.3)
    np.testing.assert_allclose(cpf, (0.076333, -0.235338, 0.760782), atol=1e-6)
    device = DEVICE_CPF[:, :3] @ cpf + DEVICE_CPF[:, 3]
    np.testing.assert_allclose(device, (0.205948, -0.451724, 0.612278), atol=2e-6)


@pytest.mark.parametrize(
    ("left", "right", "pitch", "depth", "yaw"),
    [(0.05, 0.12, -0.2, 0.914486, 0.085104), (-0.02, 0.04, 0.1, 1.054902, 0.010009)],
)
def test_golden_vergence(left: float, right: float, pitch: float, depth: float, yaw: float) -> None:
    found_yaw, found_depth = vergence_to_gaze(np.array([left]), np.array([right]), np.array([pitch]))
    np.testing.assert_allclose(found_depth, depth, atol=1e-6)
    np.testing.assert_allclose(found_yaw, yaw, atol=1e-6)


def test_a_quaternion_without_length_is_refused() -> None:
    with pytest.raises(UsageError, match="length 0"):
        rotation_from_quaternion([0, 0, 0, 0])
