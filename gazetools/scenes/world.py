"""The kitchen in metres: camera, places of the objects, stations of the people.

x to the right, y up, z away from the camera; the origin is on the floor below the middle of the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gazetools.scenes.canvas import Floats
from gazetools.scenes.settings import NOUNS, SceneSettings

TABLE_Y, TABLE_Z = 0.85, (-0.48, 0.48)
COUNTER_Y, COUNTER_Z = 0.95, (1.1, 1.5)
SHELF_Y, SHELF_Z = 1.58, (1.3, 1.5)
WALL_Z = 1.5
HEAD_HEIGHT = 0.36
"""Height of a head with hair in metres, larger than in life, so that a face fills several patches of a small model."""

# (x as a share of the kitchen's half width, y, z): near and far on the table in a zigzag, counter, shelves
_PLACES = (
    (-0.72, TABLE_Y, -0.28),
    (-0.34, TABLE_Y, 0.26),
    (0.02, TABLE_Y, -0.30),
    (0.36, TABLE_Y, 0.26),
    (0.74, TABLE_Y, -0.26),
    (-0.86, COUNTER_Y, 1.22),
    (0.88, COUNTER_Y, 1.22),
    (0.45, SHELF_Y, 1.4),
)
# (x share, z): behind the table, at its ends, before it (seen from behind)
_STATIONS = ((-0.52, 0.8), (0.0, 0.8), (0.5, 0.8), (-0.9, 0.05), (0.9, 0.05), (-0.62, -0.85), (0.64, -0.85))
_LEAST_HEAD_DISTANCE = 0.28
"""Least distance between the middles of two heads, in frame heights."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera without roll; `focal` in frame heights."""

    position: Floats
    pitch_down: float
    """Radians."""
    focal: float
    aspect: float
    """Width over height of the frame."""

    def frame_xy(self, points: Floats) -> Floats:
        """[..., 3] metres -> [..., 2] frame heights, x in 0..aspect, y in 0..1 downwards; NaN behind the camera."""
        right, up, depth = self._axes(points)
        with np.errstate(divide="ignore", invalid="ignore"):
            x = 0.5 * self.aspect + self.focal * right / depth
            y = 0.5 - self.focal * up / depth
        return np.where((depth > 0.1)[..., None], np.stack((x, y), axis=-1), np.nan)

    def scale_at(self, point: Floats) -> float:
        """Frame heights per metre at a point's depth."""
        return self.focal / float(self._axes(point)[2])

    def _axes(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        delta = points - self.position
        sin, cos = np.sin(self.pitch_down), np.cos(self.pitch_down)
        return delta[..., 0], delta[..., 1] * cos + delta[..., 2] * sin, delta[..., 2] * cos - delta[..., 1] * sin


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """The part of a scene that the clips of one participant share."""

    camera: Camera
    half_width: float
    """Distance in metres from the middle to the edge of the camera's view."""
    objects: Floats
    """Middle of each object's base in metres, [nouns, 3]."""
    style_seed: int
    """Seed of colours, textures and light."""


def make_kitchen(rng: np.random.Generator, settings: SceneSettings) -> Kitchen:
    """A kitchen with a camera that sees table, shelf and heads, and with all nouns at places."""
    half_width = 0.72 * settings.aspect
    camera = _aimed_camera(rng, settings.aspect, half_width)
    slots = np.arange(len(NOUNS))
    strayed = np.flatnonzero(rng.random(len(NOUNS)) >= settings.place_habit)
    slots[strayed] = rng.permutation(slots[strayed])
    objects = np.array(_PLACES)[slots]
    objects[:, 0] *= half_width
    objects[:, [0, 2]] += rng.uniform(-settings.place_jitter, settings.place_jitter, (len(NOUNS), 2))
    return Kitchen(camera=camera, half_width=half_width, objects=objects, style_seed=int(rng.integers(2**31)))


def _aimed_camera(rng: np.random.Generator, aspect: float, half_width: float) -> Camera:
    """A camera that sees heads and shelf in the upper part of the frame and the table's edge in the lower part."""
    distance, height = rng.uniform(3.9, 4.9), rng.uniform(2.0, 3.1)
    highest = np.arctan2(1.86 - height, distance + 0.8)
    lowest = np.arctan2(TABLE_Y - 0.06 - height, distance + TABLE_Z[0])
    middle, half = (highest + lowest) / 2, (highest - lowest) / 2
    focal = 0.5 / np.tan(half) * rng.uniform(0.9, 0.98)
    widest = 0.5 * aspect * (distance - 0.1) / (1.02 * half_width)
    return Camera(
        position=np.array([rng.uniform(-0.15, 0.15), height, -distance]),
        pitch_down=float(-middle + rng.uniform(-0.01, 0.01)),
        focal=float(min(focal, widest)),
        aspect=aspect,
    )


def choose_stations(rng: np.random.Generator, kitchen: Kitchen, count: int) -> Floats:
    """Centres of up to `count` heads that do not hide each other, [people, 3] in metres; person 1 first."""
    chosen: list[Floats] = []
    for station in rng.permutation(len(_STATIONS)):
        share, z = _STATIONS[station]
        x = share * kitchen.half_width + rng.uniform(-0.06, 0.06)
        head = np.array([x, rng.uniform(1.4, 1.62), z + rng.uniform(-0.05, 0.05)])
        here = kitchen.camera.frame_xy(head)
        reach = 0.6 * HEAD_HEIGHT * kitchen.camera.scale_at(head)
        inside = reach < here[0] < kitchen.camera.aspect - reach and reach < here[1] < 1 - reach
        apart = all(np.linalg.norm(here - kitchen.camera.frame_xy(other)) >= _LEAST_HEAD_DISTANCE for other in chosen)
        if inside and apart:
            chosen.append(head)
        if len(chosen) == count:
            break
    return np.array(chosen)
