"""Anti-aliased drawing in units of frame heights, so that a scene can be drawn at any size and aspect ratio."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.scenes.heads import SPRITE_REACH, SPRITE_SIDE

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Colour = Sequence[float] | Floats

_SHIFT = 4
"""Bits after the point of the corners that OpenCV draws."""
_CIRCLE = np.stack([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)])


class Canvas:
    """A picture, uint8 RGB [H, W, 3], of a frame that is `aspect` wide and 1 high; x to the right, y down."""

    def __init__(self, picture: Pixels, aspect: float) -> None:
        self.picture = picture
        height, width = picture.shape[:2]
        self.pixels_per_unit = np.array([width / aspect, float(height)])

    def polygon(self, points_xy: Floats | Sequence[Sequence[float]], colour: Colour) -> None:
        """Draw a filled convex polygon; nothing where a corner is behind the camera (NaN) or very near to it."""
        pixels = (np.asarray(points_xy, np.float64) * self.pixels_per_unit - 0.5) * 2**_SHIFT
        if not np.abs(pixels).max() < 1e6:
            return
        rgb = [min(max(float(value), 0.0), 255.0) for value in colour]
        cv2.fillConvexPoly(self.picture, np.rint(pixels).astype(np.int32), rgb, cv2.LINE_AA, _SHIFT)

    def oval(self, middle_xy: Floats | Sequence[float], half_xy: Sequence[float] | Floats, colour: Colour) -> None:
        """Draw a filled ellipse."""
        self.polygon(_CIRCLE * np.asarray(half_xy) + np.asarray(middle_xy), colour)

    def box(self, middle_xy: Floats | Sequence[float], half_xy: Sequence[float] | Floats, colour: Colour) -> None:
        """Draw a filled upright rectangle."""
        (x, y), (w, h) = middle_xy, half_xy
        self.polygon([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)], colour)

    def stroke(self, start_xy: Floats, stop_xy: Floats, width: float, colour: Colour) -> None:
        """Draw a thick line with round ends."""
        x, y = stop_xy - start_xy
        if (length := float(np.hypot(x, y))) > 1e-6:
            side = np.array([-y, x]) * (width / 2 / length)
            self.polygon(np.array([start_xy + side, stop_xy + side, stop_xy - side, start_xy - side]), colour)
        for end in (start_xy, stop_xy):
            self.oval(end, (width / 2, width / 2), colour)

    def sprite(self, rgba: Pixels, middle_xy: Floats, half_xy: Sequence[float] | Floats, shade: Floats) -> None:
        """Draw a head sprite (RGB times alpha) so that its sphere becomes an ellipse of half axes `half_xy`."""
        height, width = self.picture.shape[:2]
        middle = middle_xy * self.pixels_per_unit
        reach = np.asarray(half_xy) * self.pixels_per_unit * SPRITE_REACH
        x0, y0 = np.floor(middle - reach - 1).astype(int).clip(0)
        x1, y1 = np.minimum(np.ceil(middle + reach + 1).astype(int), (width, height))
        if x1 <= x0 or y1 <= y0:
            return
        scale = 2 * reach / SPRITE_SIDE
        shift = middle - reach - (x0, y0) + scale * 0.5 - 0.5
        warp = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
        small = cv2.warpAffine(rgba, warp, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
        area = self.picture[y0:y1, x0:x1]
        hidden = cv2.cvtColor(255 - small[..., 3], cv2.COLOR_GRAY2RGB)
        lit = cv2.multiply(small[..., :3], (*(float(v) for v in shade), 0.0))
        area[:] = cv2.add(cv2.multiply(area, hidden, scale=1 / 255), lit)
