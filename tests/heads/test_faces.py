"""OpenCV's FaceDetectorYN through our code: colours, scaling of large frames, head boxes, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazetools.heads.detectors import FaceHeadDetector, load_detector
from gazetools.heads.faces import FaceDetector
from gazetools.heads.geometry import head_from_face
from gazetools.schemas.errors import CheckpointError
from gazetools.schemas.heads import DetectOptions
from tests.heads.tiny_yunet import write_yunet


@pytest.fixture(scope="module")
def yunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yunet(tmp_path_factory.mktemp("yunet") / "yunet.onnx")


@pytest.mark.parametrize("size_hw", [(96, 128), (64, 320), (90, 130)])
def test_faces_lie_where_they_are_in_frames_of_any_size(yunet: Path, size_hw: tuple[int, int]) -> None:
    frame = np.zeros((*size_hw, 3), np.uint8)
    frame[16:24, 40:48] = 255
    frame[48:56, 80:88] = 200
    boxes, scores = FaceDetector(yunet).detect(frame, 0.5)
    # the network's boxes are 8 px wide around the corner of their cell: (c + 0) * 8
    np.testing.assert_allclose(boxes, [[36, 12, 44, 20], [76, 44, 84, 52]], atol=1e-3)
    np.testing.assert_allclose(scores, np.sqrt([1, 200 / 255]), atol=1e-3)
    assert len(FaceDetector(yunet).detect(frame, 0.95)[0]) == 1


def test_large_frames_are_shrunk_and_boxes_given_in_their_pixels(yunet: Path) -> None:
    frame = np.zeros((1440, 2560, 3), np.uint8)  # half of it is 1280x720
    frame[160:176, 320:336] = 255
    boxes, _ = FaceDetector(yunet).detect(frame, 0.5)
    np.testing.assert_allclose(boxes, [[312, 152, 328, 168]], atol=0.01)


def test_heads_come_from_faces_and_nobody_is_a_normal_case(yunet: Path) -> None:
    detector = load_detector(DetectOptions(detector=str(yunet)))
    assert isinstance(detector, FaceHeadDetector)
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[48:56, 80:88] = 255
    found, empty = detector.find([frame, np.zeros_like(frame)], 0.5)
    np.testing.assert_allclose(found.head_xyxy[0], head_from_face(np.array([76.0, 44, 84, 52])), atol=1e-2)
    assert len(empty.body_xyxy) == len(empty.head_xyxy) == 0


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not an onnx file")
    with pytest.raises(CheckpointError, match="can't read the face detector"):
        FaceDetector(tmp_path / "bad.onnx")
