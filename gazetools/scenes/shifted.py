"""A world unlike the usual kitchens: other heads, and a monochrome night camera that is tilted and closer."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from gazetools.scenes.canvas import Floats, Pixels
from gazetools.scenes.heads import HeadLook, random_head
from gazetools.scenes.poses import PersonTruth

_CAPS = ((40, 48, 110), (36, 80, 50), (110, 36, 44), (90, 80, 40))
_FACES = ((150, 104, 78), (176, 124, 92), (120, 84, 64))
_TILT_DEGREES = (2.0, 6.0)
_ZOOM = (1.05, 1.2)
_GAMMA = (1.5, 2.0)
_DARKEST, _BRIGHTEST = (20.0, 50.0), (110.0, 160.0)
"""Levels of black and white: a night camera has little contrast."""
_LEAST_SHARE = 0.7
"""Least share of a head box that must be left in the picture."""


def shifted_head(rng: np.random.Generator) -> HeadLook:
    """A darker face under a coloured cap, often with glasses; hairline and iris are drawn as for other heads."""
    usual = random_head(rng)
    skin = np.array(_FACES[int(rng.integers(len(_FACES)))]) + rng.uniform(-8, 8, 3)
    cap = np.array(_CAPS[int(rng.integers(len(_CAPS)))]) + rng.uniform(-10, 10, 3)
    return replace(
        usual, skin=tuple(skin.tolist()), hair=tuple(cap.tolist()), glasses=bool(rng.random() < 0.5), bun=0.0
    )


class ShiftedCamera:
    """A night camera that is tilted and closer; its numbers are drawn from `rng`."""

    def __init__(self, rng: np.random.Generator, aspect: float) -> None:
        """`aspect` is the picture's width over its height."""
        tilt = np.deg2rad(rng.uniform(*_TILT_DEGREES) * (1 if rng.random() < 0.5 else -1))
        zoom = rng.uniform(*_ZOOM)
        cos, sin = zoom * np.cos(tilt), zoom * np.sin(tilt)
        # From shares of the straight picture to shares of the tilted one, around a point near the people.
        middle = np.array([0.5 + rng.uniform(-0.06, 0.06), 0.42])
        self._turn = np.array([[cos, -sin / aspect], [sin * aspect, cos]])
        self._shift = middle - self._turn @ middle
        gamma, darkest, brightest = (float(rng.uniform(*limits)) for limits in (_GAMMA, _DARKEST, _BRIGHTEST))
        levels = darkest + (np.arange(256) / 255) ** gamma * (brightest - darkest)
        self._table = levels.clip(0, 255).astype(np.uint8)

    def picture(self, straight: Pixels) -> Pixels:
        """The picture as this camera sees it, uint8 RGB [H, W, 3]; what it adds at the edges is mirrored."""
        height, width = straight.shape[:2]
        scale = np.array([width, height], np.float64)
        warp = np.column_stack((self._turn * scale[:, None] / scale[None, :], self._shift * scale))
        seen = cv2.warpAffine(straight, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        grey = cv2.LUT(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), self._table)
        return np.repeat(grey[:, :, None], 3, axis=2)

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
