"""Perceptual fingerprints of sampled frames: enough to distinguish videos and offsets without the model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.schemas.store import FINGERPRINT_SIZE

FINGERPRINT_EVERY = 16
"""One processed frame in so many is sampled: 64 bytes a frame on average, next to 8 KiB of heatmap."""


def fingerprint(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey thumbnail uint8 [32, 32] of an RGB frame [H, W, 3]: area means, BT.601 luma."""
    import cv2

    # resize first: the weighted sum over 1080p pixels would cost more than the resize
    small = cv2.resize(rgb, (FINGERPRINT_SIZE, FINGERPRINT_SIZE), interpolation=cv2.INTER_AREA)
    luma = small.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.clip(np.rint(luma), 0, 255).astype(np.uint8)
