"""A world unlike the usual kitchens: other heads, a tilted and closer camera, other light."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from gazetools.scenes.canvas import Floats, Pixels
from gazetools.scenes.heads import HeadLook, random_head
from gazetools.scenes.poses import PersonTruth

_CAPS = ((235, 238, 240), (240, 210, 90), (150, 205, 235), (205, 235, 170))
"""Colours of caps: brighter than any face, so that brightness no longer tells face from hair."""
_FACES = ((120, 84, 64), (96, 70, 58), (150, 104, 78))
_LARGEST_TILT_DEGREES = 13.0
_ZOOM = (1.12, 1.38)
_LEAST_SHARE = 0.7
"""Least share of a head box that must be left in the picture."""


def shifted_head(rng: np.random.Generator) -> HeadLook:
    """A dark face under a bright cap; bun, hairline and iris are drawn as for other heads."""
    usual = random_head(rng)
    skin = np.array(_FACES[int(rng.integers(len(_FACES)))]) + rng.uniform(-8, 8, 3)
    cap = np.array(_CAPS[int(rng.integers(len(_CAPS)))]) + rng.uniform(-10, 10, 3)
    return replace(
        usual, skin=tuple(skin.tolist()), hair=tuple(cap.tolist()), glasses=bool(rng.random() < 0.5), bun=0.0
    )


class ShiftedCamera:
    """A camera that is tilted, closer and in another light; its numbers are drawn from `rng`."""

    def __init__(self, rng: np.random.Generator, aspect: float) -> None:
        """`aspect` is the picture's width over its height."""
        tilt = np.deg2rad(rng.uniform(4, _LARGEST_TILT_DEGREES) * (1 if rng.random() < 0.5 else -1))
        zoom = rng.uniform(*_ZOOM)
        cos, sin = zoom * np.cos(tilt), zoom * np.sin(tilt)
        # From shares of the straight picture to shares of the tilted one, around a point near the people.
        middle = np.array([0.5 + rng.uniform(-0.06, 0.06), 0.42])
        self._turn = np.array([[cos, -sin / aspect], [sin * aspect, cos]])
        self._shift = middle - self._turn @ middle
        self._gains = np.array([rng.uniform(0.55, 0.75), rng.uniform(0.75, 0.9), rng.uniform(1.0, 1.2)])
        self._gamma = float(rng.uniform(1.25, 1.6))

    def picture(self, straight: Pixels) -> Pixels:
        """The picture as this camera sees it, uint8 RGB [H, W, 3]; what it adds at the edges is mirrored."""
        height, width = straight.shape[:2]
        scale = np.array([width, height], np.float64)
        turn = self._turn * scale[:, None] / scale[None, :]
        warp = np.column_stack((turn, self._shift * scale))
        seen = cv2.warpAffine(straight, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        levels = (np.arange(256) / 255) ** self._gamma
        tables = [(levels * gain * 255).clip(0, 255).astype(np.uint8) for gain in self._gains]
        return np.stack([cv2.LUT(seen[:, :, channel], table) for channel, table in enumerate(tables)], axis=2)

    def truth(self, person: PersonTruth) -> PersonTruth | None:
        """The person in this camera's picture; None where less than 70 % of the head's box is in it."""
        x0, y0, x1, y1 = person.box_xyxy
        corners = self.points(np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)]))
        # A tilted head is about as large as before: the box around its tilted box would be too large.
        centre, half = corners.mean(axis=0), np.array([x1 - x0, y1 - y0]) / 2 * np.sqrt(abs(np.linalg.det(self._turn)))
        whole = np.concatenate((centre - half, centre + half))
        cut = whole.clip(0, 1)
        if np.prod(cut[2:] - cut[:2]) < _LEAST_SHARE * np.prod(whole[2:] - whole[:2]):
            return None
        gaze = self.points(np.array([person.gaze_xy]))[0]
        inside = bool(person.inside and (gaze >= 0).all() and (gaze < 1).all())
        x, y = (float(gaze[0]), float(gaze[1])) if inside else (-1.0, -1.0)
        return replace(person, box_xyxy=tuple(cut.tolist()), gaze_xy=(x, y), inside=inside)

    def points(self, points_n2: Floats) -> Floats:
        """Where this camera sees points [N, 2] of the straight picture; both are shares."""
        return np.asarray(points_n2 @ self._turn.T + self._shift)
