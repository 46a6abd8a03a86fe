"""Pictures of the eight objects, and of bodies, arms and hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gazetools.scenes.canvas import Canvas, Floats
from gazetools.scenes.settings import NOUNS

OBJECT_HEIGHTS = (0.11, 0.09, 0.27, 0.09, 0.08, 0.05, 0.16, 0.2)
"""Heights in metres, in the order of NOUNS; the gaze target is at half the height."""
OBJECT_HALF_WIDTHS = (0.055, 0.095, 0.045, 0.05, 0.115, 0.13, 0.06, 0.1)
_COLOURS = (
    (205, 60, 60), (70, 110, 210), (50, 150, 80), (120, 190, 50), (60, 60, 66), (240, 240, 235), (225, 160, 50),
    (150, 90, 190),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BodyLook:
    """Look of a body; RGB in 0..255."""

    shirt: Floats
    stripes: bool
    broad: float
    """Half the shoulders' width in metres."""


def random_body(rng: np.random.Generator) -> BodyLook:
    """A body with a random shirt and shoulders."""
    shirt, stripes = rng.uniform(40, 225, 3), bool(rng.random() < 0.3)
    return BodyLook(shirt=shirt, stripes=stripes, broad=float(rng.uniform(0.19, 0.25)))


def object_colours(rng: np.random.Generator) -> Floats:
    """Colour of each noun, [nouns, 3]; it varies a little between kitchens."""
    return np.array(_COLOURS) + rng.uniform(-18, 18, (len(NOUNS), 3))


def draw_object(canvas: Canvas, noun: int, foot_xy: Floats, scale: float, colour: Floats) -> None:
    """Draw a noun standing on `foot_xy` (frame heights); `scale` is frame heights per metre, colour is RGB."""
    h, w = OBJECT_HEIGHTS[noun] * scale, OBJECT_HALF_WIDTHS[noun] * scale
    x, y = float(foot_xy[0]), float(foot_xy[1])
    dark, light = colour * 0.7, np.minimum(colour * 1.25 + 12, 255)
    canvas.oval((x, y), (w * 1.15, w * 0.4), (52, 46, 42))  # contact shadow
    match NOUNS[noun]:
        case "cup":
            canvas.oval((x + w * 1.1, y - h * 0.5), (w * 0.6, h * 0.3), dark)
            canvas.box((x, y - h / 2), (w, h / 2), colour)
            canvas.oval((x, y - h), (w, w * 0.35), dark)
        case "bowl":
            canvas.polygon([(x - w, y - h), (x + w, y - h), (x + w * 0.5, y), (x - w * 0.5, y)], colour)
            canvas.oval((x, y - h), (w, w * 0.36), light)
        case "bottle":
            canvas.box((x, y - h * 0.33), (w, h * 0.33), colour)
            canvas.box((x, y - h * 0.8), (w * 0.4, h * 0.2), dark)
            canvas.box((x, y - h * 0.3), (w, h * 0.12), light)
        case "apple":
            canvas.oval((x, y - h * 0.5), (w, h * 0.5), colour)
            canvas.oval((x - w * 0.3, y - h * 0.65), (w * 0.25, h * 0.2), light)
        case "pan":
            canvas.box((x + w * 1.5, y - h * 0.7), (w * 0.7, h * 0.1), dark)
            canvas.polygon([(x - w, y - h), (x + w, y - h), (x + w * 0.85, y), (x - w * 0.85, y)], colour)
            canvas.oval((x, y - h), (w, w * 0.33), dark)
        case "plate":
            canvas.oval((x, y - h * 0.5), (w, w * 0.38), colour)
            canvas.oval((x, y - h * 0.6), (w * 0.6, w * 0.22), colour * 0.85)
        case "jar":
            canvas.box((x, y - h * 0.42), (w, h * 0.42), colour)
            canvas.box((x, y - h * 0.92), (w * 0.85, h * 0.09), dark)
        case _:
            canvas.oval((x + w * 1.05, y - h * 0.5), (w * 0.35, h * 0.12), dark)
            canvas.polygon([(x - w * 0.6, y - h * 0.75), (x + w * 0.6, y - h * 0.75), (x + w, y), (x - w, y)], colour)
            canvas.oval((x, y - h * 0.85), (w * 0.5, h * 0.16), dark)


def draw_body(canvas: Canvas, look: BodyLook, neck_xy: Floats, scale: float, skin: Floats, shade: Floats) -> None:
    """Draw neck, shoulders and trunk below a head whose chin is at `neck_xy`."""
    x, y = float(neck_xy[0]), float(neck_xy[1])
    b = look.broad * scale
    shirt = look.shirt * shade
    canvas.box((x, y + 0.02 * scale), (0.055 * scale, 0.08 * scale), skin * (0.8 * shade))
    trunk = [
        (x - 0.07 * scale, y + 0.05 * scale), (x + 0.07 * scale, y + 0.05 * scale), (x + b * 0.85, y + 0.1 * scale),
        (x + b, y + 0.17 * scale), (x + b * 0.88, y + 0.95 * scale), (x - b * 0.88, y + 0.95 * scale),
        (x - b, y + 0.17 * scale), (x - b * 0.85, y + 0.1 * scale),
    ]  # fmt: skip
    canvas.polygon(trunk, shirt)
    if look.stripes:
        for k in range(4):
            canvas.box((x, y + (0.2 + 0.11 * k) * scale), (b * 0.93, 0.02 * scale), shirt * 0.65)


def draw_arm(
    canvas: Canvas, look: BodyLook, shoulder_xy: Floats, hand_xy: Floats, scale: float, skin: Floats, shade: Floats
) -> None:
    """Draw upper arm, forearm and hand; the elbow hangs a little below the straight line."""
    elbow = 0.5 * (shoulder_xy + hand_xy) + np.array([0.0, 0.07 * scale])
    canvas.stroke(shoulder_xy, elbow, 0.09 * scale, look.shirt * (0.9 * shade))
    canvas.stroke(elbow, hand_xy, 0.07 * scale, look.shirt * (0.84 * shade))
    canvas.oval(hand_xy, (0.048 * scale, 0.044 * scale), skin * shade)
