"""One clip's scene: the picture of its people and objects at any time and size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from gazetools.scenes.canvas import Canvas, Floats, Pixels
from gazetools.scenes.heads import HeadLook, head_sprite, random_head, turn_towards
from gazetools.scenes.poses import HEAD_HALF, Person, Pose, Story
from gazetools.scenes.rooms import Room, draw_room
from gazetools.scenes.settings import SceneSettings
from gazetools.scenes.things import draw_arm, draw_body, draw_object, object_colours
from gazetools.scenes.world import TABLE_Z

_BEHIND_EVERYBODY = 0.95
"""Depth (z) in metres behind all people and their resting hands."""


class Scene(Story):
    """One clip as pictures; arguments as for Story. Equal arguments give equal truth and pictures."""

    def __init__(
        self,
        settings: SceneSettings,
        *,
        seed: int,
        clip: int = 0,
        participant: int = 0,
        seconds: float,
        looks: Callable[[np.random.Generator], HeadLook] = random_head,
    ) -> None:
        super().__init__(settings, seed=seed, clip=clip, participant=participant, seconds=seconds, looks=looks)
        self._colours = object_colours(np.random.default_rng([self.kitchen.style_seed, 3]))
        self._rooms: dict[tuple[int, int], Room] = {}
        self._sprites: dict[int, tuple[Floats, Pixels]] = {}
        self._backs: dict[tuple[int, int], tuple[tuple[int, ...], Pixels]] = {}
        self._projected: dict[tuple[int, float], tuple[Floats, float, Floats]] = {}

    def draw(self, seconds: float, size_hw: tuple[int, int]) -> Pixels:
        """The clean picture, uint8 RGB [H, W, 3]; the frame is squashed to any size."""
        if size_hw not in self._rooms:
            self._rooms[size_hw] = draw_room(self.kitchen, size_hw)
        room = self._rooms[size_hw]
        canvas = Canvas(self._behind(seconds, size_hw).copy(), self.kitchen.camera.aspect)
        # the sort is stable: the table covers what stands at the depth of its far edge
        table = TABLE_Z[1], lambda canvas: cv2.copyTo(room.table, room.table_mask, canvas.picture)
        for _, draw in sorted([*self._drawables(seconds, room), table], key=lambda item: -item[0]):
            draw(canvas)
        if room.before_mask is not None:
            cv2.copyTo(room.before, room.before_mask, canvas.picture)
        return canvas.picture

    def _behind(self, seconds: float, size_hw: tuple[int, int]) -> Pixels:
        """The room behind everybody with the objects at rest there, drawn once for every set of them."""
        still = tuple(n for n, foot in enumerate(self.objects_at(seconds)) if self._stands_behind(n, foot))
        if size_hw not in self._backs or self._backs[size_hw][0] != still:
            room = self._rooms[size_hw]
            canvas = Canvas(room.behind.copy(), self.kitchen.camera.aspect)
            for noun in sorted(still, key=lambda n: -self.kitchen.objects[n, 2]):
                self._object_drawer(noun, self.kitchen.objects[noun], room)(canvas)
            self._backs[size_hw] = still, canvas.picture
        return self._backs[size_hw][1]

    def _stands_behind(self, noun: int, foot: Floats) -> bool:
        return bool(foot[2] > _BEHIND_EVERYBODY and foot[1] == self.kitchen.objects[noun, 1])

    def _drawables(self, seconds: float, room: Room) -> list[tuple[float, Callable[[Canvas], None]]]:
        """(depth, function that draws it) for everything that may move."""
        parts: list[tuple[float, Callable[[Canvas], None]]] = []
        for noun, foot in enumerate(self.objects_at(seconds)):
            if not self._stands_behind(noun, foot):
                parts.append((float(foot[2]), self._object_drawer(noun, foot, room)))
        for k, pose in enumerate(self._poses(seconds)):
            person, light = self._people[k], self._light(room, pose.head)
            parts.append((float(pose.head[2]), partial(self._draw_person, k, pose, light)))
            for side, hand in zip((-1, 1), pose.hands, strict=True):
                depth = pose.head[2] + 0.01 if hand[2] > pose.head[2] else min(hand[2] - 0.05, pose.head[2] - 0.01)
                parts.append((float(depth), partial(self._draw_arm, person, pose, side, hand, light)))
        return parts

    def _object_drawer(self, noun: int, foot: Floats, room: Room) -> Callable[[Canvas], None]:
        key = noun, float(foot[1])  # nothing else of an object ever changes
        if key not in self._projected:
            camera = self.kitchen.camera
            colour = self._colours[noun] * self._light(room, foot)
            self._projected[key] = camera.frame_xy(foot), camera.scale_at(foot), colour
        where, scale, colour = self._projected[key]
        return lambda canvas: draw_object(canvas, noun, where, scale, colour)

    def _draw_person(self, index: int, pose: Pose, light: Floats, canvas: Canvas) -> None:
        camera, person = self.kitchen.camera, self._people[index]
        scale, skin = camera.scale_at(pose.head), np.array(person.head_look.skin)
        middle = camera.frame_xy(pose.head)
        draw_body(canvas, person.body, middle + np.array([0.0, HEAD_HALF[1] * 0.9 * scale]), scale, skin, light)
        canvas.sprite(self._sprite(index, pose), middle, HEAD_HALF * scale, light)

    def _draw_arm(self, person: Person, pose: Pose, side: int, hand: Floats, light: Floats, canvas: Canvas) -> None:
        camera = self.kitchen.camera
        scale = camera.scale_at(pose.head)
        shoulder = camera.frame_xy(pose.head) + np.array([side * person.body.broad * 0.85 * scale, 0.34 * scale])
        skin = np.array(person.head_look.skin)
        draw_arm(canvas, person.body, shoulder, camera.frame_xy(hand), scale, skin, light)

    def _sprite(self, index: int, pose: Pose) -> Pixels:
        """The head sprite, which is drawn again only after the head or the eyes have turned."""
        key = np.concatenate((pose.forward, pose.gaze))
        if index not in self._sprites or np.abs(self._sprites[index][0] - key).max() >= 0.008:
            look = self._people[index].head_look
            sprite = head_sprite(look, turn_towards(pose.forward), self._view(pose.head), pose.gaze)
            self._sprites[index] = (key, sprite)
        return self._sprites[index][1]

    def _light(self, room: Room, point: Floats) -> Floats:
        share = float(self.kitchen.camera.frame_xy(point)[0]) / self.kitchen.camera.aspect
        return np.asarray(room.light[0] + (room.light[1] - room.light[0]) * min(max(share, 0), 1))
