"""A head as a sphere; the colour of each pixel is found in the head's own coordinates, so that every pose is right.

Face, eyes with pupils, nose, ears and hair turn with the head; from behind only hair is visible. The nose and the ears
stand out of the sphere, so that the outline shows a profile as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Colour = tuple[float, ...]

SPRITE_SIDE = 80
SPRITE_REACH = 1.3
"""Half the sprite's side in head radii."""
_PIXEL = 2 * SPRITE_REACH / SPRITE_SIDE
_SKINS = ((244, 208, 178), (226, 178, 146), (198, 146, 112), (164, 114, 84), (134, 92, 68))
_HAIRS = ((28, 22, 20), (70, 42, 26), (118, 76, 40), (176, 138, 78), (120, 118, 116), (150, 60, 30))
_LIGHTEST_HAIR = 0.45
"""Largest brightness of hair as a share of the skin's, so that the face contrasts with the hair for all colours."""


@dataclass(frozen=True, kw_only=True)
class HeadLook:
    """Look of a head in every pose. Colours are RGB in 0..255."""

    skin: Colour
    hair: Colour
    hairline: float
    """Lower middle of the face's oval; higher shows more forehead."""
    bun: float
    """Radius of a knot of hair at the back in head radii; 0 for none."""
    glasses: bool
    iris: Colour


def random_head(rng: np.random.Generator) -> HeadLook:
    """A head with random skin, hair and extras."""
    skin = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) + rng.uniform(-8, 8, 3)
    hair = np.array(_HAIRS[int(rng.integers(len(_HAIRS)))]) + rng.uniform(-10, 10, 3)
    hair *= min(1.0, _LIGHTEST_HAIR * skin.sum() / hair.sum())
    return HeadLook(
        skin=tuple(skin.tolist()),
        hair=tuple(hair.tolist()),
        hairline=float(rng.uniform(-0.26, -0.12)),
        bun=float(rng.uniform(0.22, 0.3)) if rng.random() < 0.35 else 0.0,
        glasses=bool(rng.random() < 0.2),
        iris=((25.0, 20.0, 18.0), (30.0, 50.0, 90.0), (40.0, 70.0, 40.0))[int(rng.integers(3))],
    )


def turn_towards(direction: Floats) -> Floats:
    """The rotation [3, 3] of an upright head facing `direction`; its columns are its right, up and forward."""
    forward = direction / max(float(np.linalg.norm(direction)), 1e-9)
    right = np.array([forward[2], 0.0, -forward[0]])
    right /= max(float(np.linalg.norm(right)), 1e-9)
    return np.stack((right, np.cross(forward, right), forward), axis=1)


def head_sprite(look: HeadLook, head: Floats, view: Floats, gaze: Floats) -> npt.NDArray[np.uint8]:
    """The head as the camera sees it: uint8 [side, side, 4], RGB times alpha, and alpha.

    `head` is its rotation (`turn_towards`), `view` [3, 3] has the columns right, up and towards the camera in the
    world, `gaze` is the unit vector to the gaze target in the world; pupils stop where eyes do.
    """
    x, y, z, radius = _sphere()
    to_head = (head.T @ view).astype(np.float32)
    hx, hy, hz = (row[0] * x + row[1] * y + row[2] * z for row in to_head)
    front = hz > 0
    colour = np.empty((*x.shape, 3), np.float32)
    colour[:] = np.array(look.hair, np.float32) * (1 + 0.12 * np.sin(9 * hx + 5 * hz) * np.cos(7 * hy))[..., None]
    skin = np.array(look.skin, np.float32)

    def paint(where: Floats, paint_colour: Floats | Colour) -> None:
        weight = where[..., None].astype(np.float32)
        colour[:] = colour * (1 - weight) + np.asarray(paint_colour, np.float32) * weight

    paint(np.maximum(_oval(hx, hy, 0, look.hairline, 0.86, 0.8) * front, np.clip((-0.78 - hy) / _PIXEL, 0, 1)), skin)
    paint(_oval(hx, hy, 0, -0.1, 0.09, 0.2) * front, skin * 0.86)
    paint(_oval(hx, hy, 0, -0.53, 0.24, 0.07) * front, (150.0, 60.0, 60.0))
    gx, gy, gz = head.T @ gaze
    pupil_x, pupil_y = (float(np.clip(v / max(gz, 0.25), -0.9, 0.9)) for v in (gx, gy))
    for side in (-0.36, 0.36):
        if look.glasses:
            paint(_oval(hx, hy, side, 0.06, 0.3, 0.24) * front, (40.0, 40.0, 45.0))
            paint(_oval(hx, hy, side, 0.06, 0.25, 0.19) * front, skin * 0.97)
        eye = _oval(hx, hy, side, 0.07, 0.24, 0.18) * front
        paint(eye, (248.0, 248.0, 246.0))
        paint(eye * _oval(hx, hy, side + 0.15 * pupil_x, 0.07 + 0.1 * pupil_y, 0.13, 0.13), look.iris)
        paint(_oval(hx, hy, side, 0.32, 0.22, 0.05) * front, np.array(look.hair) * 0.8)
    for side in (-1.0, 1.0):
        paint(_oval(hz, hy, -0.05, -0.05, 0.2, 0.26) * (hx * side > 0.7), skin * 0.9)
    colour *= (0.78 + 0.22 * np.clip(0.45 * -x + 0.65 * y + 0.6 * z, 0, 1))[..., None].astype(np.float32)
    alpha = np.clip((1 - radius) / _PIXEL + 0.5, 0, 1).astype(np.float32)
    colour *= alpha[..., None]

    def attach(middle: tuple[float, float, float], size: float, paint_colour: Floats) -> None:
        """Draw a small ball on the sphere: over the sphere on the near side, behind it on the far side."""
        nonlocal alpha
        px, py, pz = view.T @ head @ np.array(middle)
        ball = _oval(x, y, px, py, size, size).astype(np.float32)
        if pz <= 0:
            ball *= 1 - alpha
            colour[:] += ball[..., None] * paint_colour
        else:
            colour[:] = colour * (1 - ball[..., None]) + ball[..., None] * paint_colour
        alpha = np.maximum(alpha, alpha + ball * (1 - alpha))

    attach((0, -0.14, 1.08), 0.19, (skin * 0.92).astype(np.float64))
    for side in (-1.02, 1.02):
        attach((side, -0.05, -0.05), 0.16, (skin * 0.88).astype(np.float64))
    if look.bun:
        attach((0, 0.3, -0.98), look.bun, np.array(look.hair) * 0.9)
    return np.concatenate((colour, 255 * alpha[..., None]), axis=2).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _sphere() -> tuple[Floats, Floats, Floats, Floats]:
    """Maps of x (right), y (up), z (towards the viewer; 0 outside) on the unit sphere, and of the radius."""
    axis = ((np.arange(SPRITE_SIDE) + 0.5) * _PIXEL - SPRITE_REACH).astype(np.float32)
    x, y = np.meshgrid(axis, -axis)
    radius = np.hypot(x, y)
    return x, y, np.sqrt(np.clip(1 - radius**2, 0, None)), radius


def _oval(x: Floats, y: Floats, middle_x: float, middle_y: float, half_x: float, half_y: float) -> Floats:
    """1 inside an oval, 0 outside, with an edge of about two pixels."""
    inside = 1 - ((x - middle_x) / half_x) ** 2 - ((y - middle_y) / half_y) ** 2
    return np.clip(inside * (min(half_x, half_y) / (3 * _PIXEL)) + 0.5, 0, 1)
