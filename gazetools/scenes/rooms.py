"""The parts of a kitchen that do not move, drawn once per clip: wall, counter and shelf, then the table."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.scenes.canvas import Canvas, Floats, Pixels
from gazetools.scenes.world import COUNTER_Y, COUNTER_Z, SHELF_Y, SHELF_Z, TABLE_Y, TABLE_Z, WALL_Z, Kitchen


@dataclass(frozen=True, kw_only=True)
class Room:
    """The layers of a kitchen at one picture size; people behind the table stand between the first two."""

    behind: Pixels
    """Wall, counter and shelf: uint8 [H, W, 3]."""
    table: Pixels
    table_mask: Pixels
    """255 where the table hides what is behind it."""
    before: Pixels
    """Something near the camera."""
    before_mask: Pixels | None
    """255 where it is; None: nothing is near the camera."""
    light: Floats
    """Brightness of red, green, blue at the left and the right edge: [2, 3], 1 = neutral."""


def draw_room(kitchen: Kitchen, size_hw: tuple[int, int]) -> Room:
    """The room of a kitchen; all its colours and textures follow from the kitchen's style seed."""
    rng = np.random.default_rng([kitchen.style_seed, 7])
    camera, half = kitchen.camera, kitchen.half_width
    height, width = size_hw
    slope = rng.uniform(-0.28, 0.28) * np.array([[-1.0], [1.0]])
    light = np.clip(1 + slope + rng.uniform(-0.14, 0.1), 0.55, 1.3) * rng.uniform(0.93, 1.07, 3)

    def corners(x: float, y: tuple[float, float], z: tuple[float, float], shift: Floats | float = 0.0) -> Floats:
        points = [(-x, y[0], z[0]), (x, y[0], z[0]), (x, y[1], z[1]), (-x, y[1], z[1])]
        return camera.frame_xy(np.array(points) + shift)

    wall, wood, cupboard = (_paint(rng, low) for low in (110, 70, 60))
    behind = np.tile(wall.astype(np.uint8), (height, width, 1))
    canvas = Canvas(behind, camera.aspect)
    _tiles(canvas, rng, kitchen, wall)
    canvas.polygon(corners(3 * half, (0.0, 0.0), (-3.0, WALL_Z)), _paint(rng, 70))  # the floor
    canvas.polygon(corners(2 * half, (0.0, COUNTER_Y), (COUNTER_Z[0], COUNTER_Z[0])), cupboard * 0.8)
    canvas.polygon(corners(2 * half, (COUNTER_Y, COUNTER_Y), COUNTER_Z), cupboard)
    shelf = np.array([(0.45 * half, 0.0, 0.0)])
    canvas.polygon(corners(0.25 * half, (SHELF_Y, SHELF_Y), SHELF_Z, shelf), wood * 0.9)
    canvas.polygon(corners(0.25 * half, (SHELF_Y - 0.03, SHELF_Y), (SHELF_Z[0], SHELF_Z[0]), shelf), wood * 0.6)

    table, mask = (np.zeros((height, width, 3), np.uint8) for _ in range(2))
    top = corners(0.8 * half, (TABLE_Y, TABLE_Y), TABLE_Z)
    front = corners(0.8 * half, (TABLE_Y, TABLE_Y - 0.05), (TABLE_Z[0], TABLE_Z[0]))
    for outline, colour in ((top, wood), (front, wood * 0.6)):
        Canvas(table, camera.aspect).polygon(outline, colour)
        Canvas(mask, camera.aspect).polygon(outline, (255, 255, 255))
    before, before_mask = _something_near(rng, camera.aspect, size_hw)
    grain = _grain(rng, size_hw)
    glow = np.linspace(light[0], light[1], width, dtype=np.float32)[None]
    fall = np.linspace(1.06, 0.92, height, dtype=np.float32)[:, None, None]
    for layer in (behind, table):
        lit = layer + grain
        lit *= glow
        lit *= fall
        layer[:] = cv2.convertScaleAbs(np.maximum(lit, 0, out=lit))  # rounds and stops at 255
    return Room(
        behind=behind,
        table=table,
        table_mask=(mask[..., 0] > 127).astype(np.uint8) * 255,
        before=before,
        before_mask=before_mask,
        light=light,
    )


def _paint(rng: np.random.Generator, darkest: float) -> Floats:
    """A random colour of walls and furniture, rarely a strong one."""
    colour = rng.uniform(darkest, 235, 3)
    return colour.mean() + (colour - colour.mean()) * rng.uniform(0.1, 0.8)


def _tiles(canvas: Canvas, rng: np.random.Generator, kitchen: Kitchen, wall: Floats) -> None:
    """Draw joints between tiles, and a window or a picture on the wall."""
    camera, half = kitchen.camera, kitchen.half_width
    step, contrast = rng.uniform(0.18, 0.5), rng.uniform(0.8, 1.1)
    if rng.random() < 0.7:
        joints = [((x, COUNTER_Y), (x, 3.0)) for x in np.arange(-2 * half, 2 * half, step)]
        joints += [((-2 * half, y), (2 * half, y)) for y in np.arange(COUNTER_Y, 3.0, step)]
        for ends in joints:
            start, stop = camera.frame_xy(np.array([(*end, WALL_Z) for end in ends]))
            canvas.stroke(start, stop, 0.004, wall * contrast)
    x, y, w, h = rng.uniform(-1, 1) * half, rng.uniform(1.3, 1.7), rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.3)
    for grow, colour in ((0.04, rng.uniform(30, 250, 3)), (0.0, rng.uniform(30, 250, 3))):
        sides = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        corners = [(x + sx * (w + grow), y + sy * (h + grow), WALL_Z) for sx, sy in sides]
        canvas.polygon(camera.frame_xy(np.array(corners)), colour)


def _something_near(rng: np.random.Generator, aspect: float, size_hw: tuple[int, int]) -> tuple[Pixels, Pixels | None]:
    """A plant, lamp or jug near the camera that hides a corner, and its mask; None in half of the kitchens."""
    layer = np.zeros((*size_hw, 3), np.uint8)
    if rng.random() < 0.5:
        return layer, None
    mask = np.zeros((*size_hw, 3), np.uint8)
    left, hangs = bool(rng.random() < 0.5), bool(rng.random() < 0.4)
    x, y = (0.0 if left else aspect) + rng.uniform(-0.06, 0.06), rng.uniform(-0.03, 0.03) + (0.0 if hangs else 1.0)
    colour = rng.uniform(20, 150, 3)
    for _ in range(5):
        middle = np.array([x, y]) + rng.uniform(-0.08, 0.08, 2)
        half = rng.uniform(0.03, 0.1, 2)
        Canvas(layer, aspect).oval(middle, half, colour * rng.uniform(0.7, 1.3))
        Canvas(mask, aspect).oval(middle, half, (255, 255, 255))
    return layer, (mask[..., 0] > 127).astype(np.uint8) * 255


def _grain(rng: np.random.Generator, size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Soft spots and stripes of a few grey levels, float32 [H, W, 1]."""
    height, width = size_hw
    spots = rng.normal(0, rng.uniform(2, 9), (12, 18)).astype(np.float32)
    stripes = rng.normal(0, rng.uniform(1, 6), (96, 3)).astype(np.float32)
    soft = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft + cv2.resize(stripes, (width, height), interpolation=cv2.INTER_LINEAR))[..., None]
