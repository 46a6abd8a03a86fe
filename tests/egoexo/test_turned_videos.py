"""Videos whose pictures are stored turned and carry a flag: ego RGB streams, exo cameras on their side."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gazetools.groundtruth import groundtruth
from gazetools.heads.calib import calib_heads
from gazetools.schemas.errors import UsageError
from gazetools.store import open_store
from tests.helpers.synthetic_takes import Camera, SyntheticTake, write_root

TAKE = SyntheticTake(
    name="turned_1", uid="t", cameras=(Camera(name="cam01"),), frames=12, empty_cells=(), ego_video=True
)
VIDEOS = f"takes/{TAKE.name}/frame_aligned_videos"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("turned") / "root", [TAKE], draw=False)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "root"))


def _flag(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix (a b u c d v x y w) into the track header (tkhd) of an MP4; pixels stay."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: matrix after 40 bytes
    a, b, c, d = (value * 65536 for value in matrix)
    numbers = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    path.write_bytes(data)


# counter-clockwise degrees that make the picture upright -> (a, b, c, d); -90 is ffprobe's name for the first
FLAGS = {270: (0, 1, -1, 0), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1)}


@pytest.mark.parametrize("degrees", FLAGS)
def test_gaze_in_an_ego_video_refers_to_the_upright_picture(root: Path, tmp_path: Path, degrees: int) -> None:
    """The flag turns the stored picture upright, and the 2-D gaze is of the upright one, so nothing else may turn."""
    targets = []
    for name in ("plain", "flagged"):
        (item,) = groundtruth(root, tmp_path / name, view="ego").items
        assert item.status == "done", item.reason
        with open_store(tmp_path / name / f"{TAKE.name}/aria01_214-1.h5") as store:
            targets.append(store.extra("target_xy"))
            assert store.provenance.video.rotation_degrees == (degrees if name == "flagged" else 0)
        _flag(root / VIDEOS / "aria01_214-1.mp4", FLAGS[degrees])
    np.testing.assert_array_equal(targets[0], targets[1])


@pytest.mark.parametrize("degrees", [90, 270])
def test_a_flagged_exo_video_has_the_calibration_of_its_stored_picture(
    root: Path, tmp_path: Path, degrees: int
) -> None:
    """Boxes and targets turn with the picture: a pixel (u, v) comes to (v, W - 1 - u) by 90 degrees."""
    camera = TAKE.cameras[0]
    plain = calib_heads(root / VIDEOS / "cam01.mp4", width=480, height=270, frame_count=12).table.box_xyxy
    _flag(root / VIDEOS / "cam01.mp4", FLAGS[degrees])
    turned = calib_heads(root / VIDEOS / "cam01.mp4", width=270, height=480, frame_count=12).table.box_xyxy
    left, top, right, bottom = plain.T
    expected = {90: (top, 479 - right, bottom, 479 - left), 270: (269 - bottom, left, 269 - top, right)}[degrees]
    np.testing.assert_allclose(turned, np.stack(expected, axis=1), atol=1e-6)
    (item,) = groundtruth(root, tmp_path / "truth").items
    assert item.status == "done", item.reason
    with open_store(tmp_path / f"truth/{TAKE.name}/cam01.h5") as store:
        target = store.extra("target_xy")
    u, v = TAKE.target_pixel(camera)
    pixel = (v, 479 - u) if degrees == 90 else (269 - v, u)
    assert target is not None
    np.testing.assert_allclose(target * [270, 480], np.tile(pixel, (12, 1)), atol=1e-3)


def test_a_portrait_video_without_a_flag_stays_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="how it was turned is not recorded"):
        calib_heads(root / VIDEOS / "cam01.mp4", width=270, height=480, frame_count=12)
