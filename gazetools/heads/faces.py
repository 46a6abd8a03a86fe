"""Face detector: OpenCV's FaceDetectorYN (YuNet), light, for people who face the camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import CheckpointError

_LARGEST_SIDE = 1280
"""Longer side to which larger frames are shrunk: YuNet was trained on faces of 10 to 300 pixels."""
_NMS_OVERLAP = 0.3
_MAX_FACES = 5000


class FaceDetector:
    """YuNet (Wu et al. 2023) on the CPU."""

    def __init__(self, path: Path) -> None:
        import cv2

        try:
            self._net: Any = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, _NMS_OVERLAP, _MAX_FACES)
        except cv2.error as error:
            raise CheckpointError(
                f"OpenCV can't read the face detector {path}: {str(error).strip().splitlines()[-1]}.",
                hint="It must be a YuNet .onnx file of OpenCV's model zoo.",
            ) from None

    def detect(
        self, frame: npt.NDArray[np.uint8], min_score: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(face boxes [N, 4] in pixels, scores [N]) of a frame [H, W, 3] RGB, best first."""
        import cv2

        height, width = frame.shape[:2]
        shrink = min(1.0, _LARGEST_SIDE / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if size != (width, height):
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize(size)
        self._net.setScoreThreshold(min_score)
        _, rows = self._net.detect(picture)
        rows = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        stretch = np.array([width / size[0], height / size[1]] * 2)
        boxes = np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:4]), axis=1) * stretch
        return boxes, rows[:, 14]
