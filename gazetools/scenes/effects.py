"""Effects of a camera on a clean picture: exposure, soft lens, shutter, sensor noise; one camera per clip."""

from __future__ import annotations

import cv2
import numpy as np

from gazetools.scenes.canvas import Pixels

_NOISE_TILE = 160
_NOISE_MARGIN = 64


class CameraEffects:
    """One camera with properties drawn from `rng`; equal seeds and frames give equal pictures."""

    def __init__(self, rng: np.random.Generator, size_hw: tuple[int, int]) -> None:
        gain, gamma = rng.uniform(0.75, 1.15), rng.uniform(0.8, 1.25)
        self._table = (np.linspace(0, 1, 256) ** gamma * gain * 255).clip(0, 255).astype(np.uint8)
        self._sigma = float(rng.uniform(0, 1.1)) * size_hw[0] / 448
        self._shutter = float(rng.uniform(0.2, 0.45)) if rng.random() < 0.5 else 0.0
        strength = rng.uniform(0.5, 5)
        tile = rng.standard_normal((_NOISE_TILE, _NOISE_TILE, 3), dtype=np.float32) * np.float32(strength)
        noise = np.rint(tile).astype(np.int8)
        times = (*(-(-(side + _NOISE_MARGIN) // _NOISE_TILE) for side in size_hw), 1)
        self._plus, self._minus = (np.tile(n.clip(0, 127).astype(np.uint8), times) for n in (noise, -noise))
        self._last: Pixels | None = None

    def __call__(self, picture: Pixels, frame_index: int, *, previous: Pixels | None = None) -> Pixels:
        """The picture as recorded. The shutter mixes in the previous frame: `previous`, else that of the last call."""
        previous, self._last = previous if previous is not None else self._last, picture
        if self._shutter and previous is not None:
            picture = cv2.addWeighted(picture, 1 - self._shutter, previous, self._shutter, 0)
        if self._sigma > 0.35:
            picture = cv2.GaussianBlur(picture, (3, 3), self._sigma)
        picture = cv2.LUT(picture, self._table)
        # the same noise at another place each frame is some hundred times cheaper than new noise
        y, x = (frame_index * 29) % _NOISE_MARGIN, (frame_index * 47) % _NOISE_MARGIN
        height, width = picture.shape[:2]
        picture = cv2.add(picture, self._plus[y : y + height, x : x + width])
        return np.asarray(cv2.subtract(picture, self._minus[y : y + height, x : x + width]), np.uint8)
