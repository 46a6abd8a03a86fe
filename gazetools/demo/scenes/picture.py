"""One clip's scene: people, objects and scripts from a seed; its truth and its picture at any time and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.demo.scenes.canvas import Canvas
from gazetools.demo.scenes.heads import HeadLook, head_sprite, random_head, turn_towards
from gazetools.demo.scenes.rooms import Room, draw_room
from gazetools.demo.scenes.script import Action, Look, Script, make_script
from gazetools.demo.scenes.settings import SceneSettings
from gazetools.demo.scenes.things import (
    OBJECT_HEIGHTS,
    BodyLook,
    draw_arm,
    draw_body,
    draw_object,
    object_colours,
    random_body,
)
from gazetools.demo.scenes.world import HEAD_HEIGHT, TABLE_Y, TABLE_Z, Kitchen, choose_stations, make_kitchen

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_HEAD_HALF = np.array([0.41 * HEAD_HEIGHT, 0.5 * HEAD_HEIGHT])
"""Half width and half height of the sphere, metres."""
_HEAD_TURN_SECONDS, _EYE_TURN_SECONDS = 0.24, 0.07
_BEHIND_EVERYBODY = 0.95
"""Metres in z beyond which no person or hand rest is."""
_MOST_EYE_TURN = 0.6
"""Radians that the eyes turn in the head."""
_LIFTS = (0.1, 0.06)
"""Metres by verb: how far the hand lifts the object."""


@dataclass(frozen=True, kw_only=True)
class PersonTruth:
    """One person at one time. Coordinates are shares of the frame, 0..1, x to the right, y down."""

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    gaze_xy: tuple[float, float]
    """(-1, -1) where the target is outside the frame."""
    inside: bool
    look: Look
    head_axes: Floats
    """Unit vector of the head's forward direction: to the right, up, towards the camera."""


@dataclass(frozen=True, kw_only=True)
class _Person:
    head: Floats
    head_look: HeadLook
    body: BodyLook
    script: Script
    eye_share: float
    """Of a turn away from the table that the eyes make without the head."""
    sway: float


@dataclass(frozen=True, kw_only=True)
class _Pose:
    """A person at one time, metres."""

    head: Floats
    forward: Floats
    gaze: Floats
    target: Floats
    look: Look
    hands: list[Floats]


class Scene:
    """A clip. Equal arguments give equal truth and pictures.

    Args:
        seed: of the whole set; `clip` and `participant` choose within it. A participant's clips share the kitchen.
        seconds: length of the scripts.
    """

    def __init__(
        self, settings: SceneSettings, *, seed: int, clip: int = 0, participant: int = 0, seconds: float
    ) -> None:
        self.settings = settings
        self.kitchen: Kitchen = make_kitchen(np.random.default_rng([seed, 1, participant]), settings)
        rng = np.random.default_rng([seed, 0, clip])
        wanted = int(rng.integers(settings.people[0], settings.people[1] + 1))
        heads = choose_stations(rng, self.kitchen, wanted)
        self._colours = object_colours(np.random.default_rng([self.kitchen.style_seed, 3]))
        self._people = [
            _Person(
                head=head,
                head_look=random_head(rng),
                body=random_body(rng),
                script=make_script(rng, settings, seconds=seconds, person=k, people=len(heads)),
                eye_share=float(rng.uniform(0.05, 0.4)),
                sway=float(rng.uniform(0, 6)),
            )
            for k, head in enumerate(heads)
        ]
        self._rooms: dict[tuple[int, int], Room] = {}
        self._sprites: dict[int, tuple[Floats, Pixels]] = {}
        self._backs: dict[tuple[int, int], tuple[tuple[int, ...], Pixels]] = {}
        self._projected: dict[tuple[int, float], tuple[Floats, float, Floats]] = {}
        self._posed: tuple[float, list[_Pose]] = (-1.0, [])

    @property
    def actions(self) -> list[Action]:
        """Of person 1."""
        return self._people[0].script.actions

    def objects_at(self, seconds: float) -> Floats:
        """Feet of all objects, [nouns, 3] in metres; hands lift some."""
        feet = self.kitchen.objects.copy()
        for person in self._people:
            action, _ = person.script.reach_at(seconds)
            if action is not None and action.start_seconds <= seconds < action.stop_seconds:
                share = (seconds - action.start_seconds) / (action.stop_seconds - action.start_seconds)
                feet[action.noun, 1] = self.kitchen.objects[action.noun, 1] + _LIFTS[action.verb] * np.sin(
                    np.pi * share
                )
        return feet

    def truth_at(self, seconds: float) -> list[PersonTruth]:
        """Of every person, track ids from 1."""
        return [self._truth(k, pose) for k, pose in enumerate(self._poses(seconds))]

    def object_targets_at(self, seconds: float) -> Floats:
        """Where one looks at each object, [nouns, 2] as shares of the frame."""
        heights = np.array([(0, h / 2, 0) for h in OBJECT_HEIGHTS])
        return self.kitchen.camera.frame_xy(self.objects_at(seconds) + heights) / (self.kitchen.camera.aspect, 1.0)

    def draw(self, seconds: float, size_hw: tuple[int, int]) -> Pixels:
        """The clean picture, uint8 RGB [H, W, 3]; the frame is squashed to any size."""
        if size_hw not in self._rooms:
            self._rooms[size_hw] = draw_room(self.kitchen, size_hw)
        room = self._rooms[size_hw]
        canvas = Canvas(self._behind(seconds, size_hw).copy(), self.kitchen.camera.aspect)
        table_drawn = False
        for depth, draw in sorted(self._drawables(seconds, room), key=lambda item: -item[0]):
            if not table_drawn and depth < TABLE_Z[1]:
                cv2.copyTo(room.table, room.table_mask, canvas.picture)
                table_drawn = True
            draw(canvas)
        if room.before_mask is not None:
            cv2.copyTo(room.before, room.before_mask, canvas.picture)
        return canvas.picture

    def _behind(self, seconds: float, size_hw: tuple[int, int]) -> Pixels:
        """The room behind everybody with the objects that stand still there, drawn once for every set of them."""
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
        """(depth, how to draw it) of everything that may move."""
        parts: list[tuple[float, Callable[[Canvas], None]]] = [
            (TABLE_Z[1] - 1e-6, lambda canvas: None)  # so that the table is drawn in any case
        ]
        for noun, foot in enumerate(self.objects_at(seconds)):
            if not self._stands_behind(noun, foot):
                parts.append((float(foot[2]), self._object_drawer(noun, foot, room)))
        for k, pose in enumerate(self._poses(seconds)):
            person, light = self._people[k], self._light(room, pose.head)
            parts.append((float(pose.head[2]), self._person_drawer(k, pose, light)))
            for side, hand in zip((-1, 1), pose.hands, strict=True):
                depth = pose.head[2] + 0.01 if hand[2] > pose.head[2] else min(hand[2] - 0.05, pose.head[2] - 0.01)
                parts.append((float(depth), self._arm_drawer(person, pose, side, hand, light)))
        return parts

    def _object_drawer(self, noun: int, foot: Floats, room: Room) -> Callable[[Canvas], None]:
        key = noun, float(foot[1])  # nothing else of an object ever changes
        if key not in self._projected:
            camera = self.kitchen.camera
            colour = self._colours[noun] * self._light(room, foot)
            self._projected[key] = camera.frame_xy(foot), camera.scale_at(foot), colour
        where, scale, colour = self._projected[key]
        return lambda canvas: draw_object(canvas, noun, where, scale, colour)

    def _person_drawer(self, index: int, pose: _Pose, light: Floats) -> Callable[[Canvas], None]:
        camera, person = self.kitchen.camera, self._people[index]
        scale, skin = camera.scale_at(pose.head), np.array(person.head_look.skin)
        middle = camera.frame_xy(pose.head)
        neck = middle + np.array([0.0, _HEAD_HALF[1] * 0.9 * scale])

        def draw(canvas: Canvas) -> None:
            draw_body(canvas, person.body, neck, scale, skin, light)
            canvas.sprite(self._sprite(index, pose), middle, _HEAD_HALF * scale, light)

        return draw

    def _arm_drawer(
        self, person: _Person, pose: _Pose, side: int, hand: Floats, light: Floats
    ) -> Callable[[Canvas], None]:
        camera = self.kitchen.camera
        scale = camera.scale_at(pose.head)
        shoulder = camera.frame_xy(pose.head) + np.array([side * person.body.broad * 0.85 * scale, 0.34 * scale])
        where, skin = camera.frame_xy(hand), np.array(person.head_look.skin)
        return lambda canvas: draw_arm(canvas, person.body, shoulder, where, scale, skin, light)

    def _sprite(self, index: int, pose: _Pose) -> Pixels:
        """Drawn anew only where the head or the eyes have turned."""
        key = np.concatenate((pose.forward, pose.gaze))
        held = self._sprites.get(index)
        if held is not None and np.abs(held[0] - key).max() < 0.008:
            return held[1]
        look = self._people[index].head_look
        sprite = head_sprite(look, turn_towards(pose.forward), self._view(pose.head), pose.gaze)
        self._sprites[index] = (key, sprite)
        return sprite

    def _view(self, point: Floats) -> Floats:
        """Right, up and towards the camera at a point: columns, [3, 3]."""
        toward = self.kitchen.camera.position - point
        toward = toward / np.linalg.norm(toward)
        right = np.array([-toward[2], 0.0, toward[0]])
        right /= np.linalg.norm(right)
        return np.stack((right, np.cross(right, toward), toward), axis=1)

    def _light(self, room: Room, point: Floats) -> Floats:
        share = float(self.kitchen.camera.frame_xy(point)[0]) / self.kitchen.camera.aspect
        return np.asarray(room.light[0] + (room.light[1] - room.light[0]) * min(max(share, 0), 1))

    def _poses(self, seconds: float) -> list[_Pose]:
        if self._posed[0] == seconds:
            return self._posed[1]
        feet = self.objects_at(seconds)
        heads = [p.head + np.array([0.012 * np.sin(seconds * 1.3 + p.sway), 0, 0]) for p in self._people]
        self._posed = seconds, [self._pose(k, seconds, feet, heads) for k in range(len(self._people))]
        return self._posed[1]

    def _pose(self, index: int, seconds: float, feet: Floats, heads: list[Floats]) -> _Pose:
        person, head = self._people[index], heads[index]
        hands = self._hands(person, head, seconds, feet)
        look, before = person.script.looks_at(seconds)
        target, left = (self._target(one, index, feet, heads, hands) for one in (look, before))
        since = seconds - look.start_seconds
        gaze = _between(left - head, target - head, since / _EYE_TURN_SECONDS)
        forward = _between(
            self._forward(person, head, left), self._forward(person, head, target), since / _HEAD_TURN_SECONDS
        )
        return _Pose(head=head, forward=forward, gaze=gaze, target=target, look=look, hands=hands)

    def _hands(self, person: _Person, head: Floats, seconds: float, feet: Floats) -> list[Floats]:
        """Left and right as seen from the camera; the one nearer to the object goes."""
        to_table = -head * (1, 0, 1)
        to_table = to_table / max(float(np.linalg.norm(to_table)), 1e-6)
        rest = [head + (side * 0.21, -0.58, 0) + to_table * 0.16 for side in (-1, 1)]
        action, share = person.script.reach_at(seconds)
        if action is not None:
            there = feet[action.noun] + (0, OBJECT_HEIGHTS[action.noun] * 0.6, 0)
            near = int(there[0] > head[0])
            rest[near] = rest[near] + (there - rest[near]) * _smooth(share)
        return rest

    def _target(self, look: Look, index: int, feet: Floats, heads: list[Floats], hands: list[Floats]) -> Floats:
        half = self.kitchen.half_width
        a, b, c = look.spot
        match look.kind:
            case "object":
                return feet[look.number] + (0, OBJECT_HEIGHTS[look.number] / 2, 0)
            case "head" if look.number != index:
                return heads[look.number]
            case "outside":
                side = -1 if b < 0.5 else 1
                if a < 0.7:
                    return np.array([side * half * (1.7 + c), 0.6 + 1.4 * a, -0.6 + 1.4 * c])
                return np.array([(2 * b - 1) * half, 3.3 + c, 0.3])
            case "point":
                return np.array([(1.4 * a - 0.7) * half, TABLE_Y, TABLE_Z[0] + b * (TABLE_Z[1] - TABLE_Z[0])])
            case _:
                return hands[int(a < 0.5)]

    def _forward(self, person: _Person, head: Floats, target: Floats) -> Floats:
        """The head's direction: towards the target, less what the eyes do alone."""
        to_target, rest = target - head, -head
        yaw, rest_yaw = np.arctan2(to_target[0], to_target[2]), np.arctan2(rest[0], rest[2])
        pitch = np.arctan2(to_target[1], np.hypot(to_target[0], to_target[2]))
        away = (yaw - rest_yaw + np.pi) % (2 * np.pi) - np.pi
        yaw -= person.eye_share * np.clip(away, -_MOST_EYE_TURN, _MOST_EYE_TURN)
        pitch -= person.eye_share * np.clip(pitch, -_MOST_EYE_TURN, _MOST_EYE_TURN)
        return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])

    def _truth(self, index: int, pose: _Pose) -> PersonTruth:
        camera = self.kitchen.camera
        frame = np.array([camera.aspect, 1.0])
        middle = camera.frame_xy(pose.head) / frame
        half = 1.06 * _HEAD_HALF * camera.scale_at(pose.head) / frame
        x, y = camera.frame_xy(pose.target) / frame
        inside = bool(0 <= x < 1 and 0 <= y < 1)  # False for NaN
        low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
        return PersonTruth(
            track_id=index + 1,
            box_xyxy=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
            gaze_xy=(float(x), float(y)) if inside else (-1.0, -1.0),
            inside=inside,
            look=pose.look,
            head_axes=self._view(pose.head).T @ pose.forward,
        )


def _smooth(share: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def _between(start: Floats, stop: Floats, share: float) -> Floats:
    """A unit vector on the way from one direction to another; opposite ones go round by the camera's side."""
    start, stop = start / np.linalg.norm(start), stop / np.linalg.norm(stop)
    mixed = start + (stop - start) * _smooth(share)
    length = float(np.linalg.norm(mixed))
    if length < 0.2:
        mixed = mixed + np.array([0.0, 0.0, -0.3])
        length = float(np.linalg.norm(mixed))
    return np.asarray(mixed / length)
