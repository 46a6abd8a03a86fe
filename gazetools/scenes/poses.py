"""Places and gaze of all people of a clip at any time: people, objects and scripts from a seed, and the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gazetools.scenes.canvas import Floats
from gazetools.scenes.heads import HeadLook, random_head
from gazetools.scenes.script import Action, Look, Script, make_script
from gazetools.scenes.settings import SceneSettings
from gazetools.scenes.things import OBJECT_HEIGHTS, BodyLook, random_body
from gazetools.scenes.world import HEAD_HEIGHT, TABLE_Y, TABLE_Z, Kitchen, choose_stations, make_kitchen

HEAD_HALF = np.array([0.41 * HEAD_HEIGHT, 0.5 * HEAD_HEIGHT])
"""Half width and half height of the head's sphere in metres."""
_HEAD_TURN_SECONDS, _EYE_TURN_SECONDS = 0.24, 0.07
_MOST_EYE_TURN = 0.6
"""Largest turn of the eyes in the head in radians."""
_LIFTS = (0.1, 0.06)
"""Height in metres to which the hand lifts an object, by verb."""


@dataclass(frozen=True, kw_only=True)
class PersonTruth:
    """One person at one time. Coordinates are shares of the frame, 0..1, x to the right, y down."""

    track_id: int
    box_xyxy: tuple[float, ...]
    gaze_xy: tuple[float, float]
    """(-1, -1) where the target is outside the frame."""
    inside: bool
    look: Look
    head_axes: Floats
    """Unit vector of the head's forward direction: to the right, up, towards the camera."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Properties of a person that do not change in a clip."""

    head: Floats
    """Place of the head in metres; it sways a little around it."""
    head_look: HeadLook
    body: BodyLook
    script: Script
    eye_share: float
    """Share of a turn away from the table that the eyes make without the head."""
    sway: float
    """Phase of the sway in radians."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A person at one time, in metres; `forward` and `gaze` are unit vectors."""

    head: Floats
    forward: Floats
    gaze: Floats
    target: Floats
    look: Look
    hands: list[Floats]


class Story:
    """The people and objects of a clip in metres. Equal arguments give equal truth.

    `seed` is that of the whole set; `clip` and `participant` choose within it, and a participant's clips share the
    kitchen. `seconds` is the length of the scripts.
    """

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
        self.settings = settings
        self.kitchen: Kitchen = make_kitchen(np.random.default_rng([seed, 1, participant]), settings)
        rng = np.random.default_rng([seed, 0, clip])
        wanted = int(rng.integers(settings.people[0], settings.people[1] + 1))
        heads = choose_stations(rng, self.kitchen, wanted)
        self._people = [
            Person(
                head=head,
                head_look=looks(rng),
                body=random_body(rng),
                script=make_script(rng, settings, seconds=seconds, person=k, people=len(heads)),
                eye_share=float(rng.uniform(0.05, 0.4)),
                sway=float(rng.uniform(0, 6)),
            )
            for k, head in enumerate(heads)
        ]
        self._posed: tuple[float, list[Pose]] = (-1.0, [])

    @property
    def actions(self) -> list[Action]:
        """Actions of person 1."""
        return self._people[0].script.actions

    def objects_at(self, seconds: float) -> Floats:
        """Feet of all objects, [nouns, 3] in metres; a hand may have lifted one."""
        feet = self.kitchen.objects.copy()
        for person in self._people:
            action, _ = person.script.reach_at(seconds)
            if action is not None and action.start_seconds <= seconds < action.stop_seconds:
                share = (seconds - action.start_seconds) / (action.stop_seconds - action.start_seconds)
                lift = _LIFTS[action.verb] * np.sin(np.pi * share)
                feet[action.noun, 1] = self.kitchen.objects[action.noun, 1] + lift
        return feet

    def truth_at(self, seconds: float) -> list[PersonTruth]:
        """The truth about every person; track ids count from 1."""
        return [self._truth(k, pose) for k, pose in enumerate(self._poses(seconds))]

    def object_targets_at(self, seconds: float) -> Floats:
        """The point at which one looks at each object, [nouns, 2] as shares of the frame."""
        heights = np.array([(0, h / 2, 0) for h in OBJECT_HEIGHTS])
        return self.kitchen.camera.frame_xy(self.objects_at(seconds) + heights) / (self.kitchen.camera.aspect, 1.0)

    def _poses(self, seconds: float) -> list[Pose]:
        if self._posed[0] != seconds:
            feet = self.objects_at(seconds)
            heads = [p.head + np.array([0.012 * np.sin(seconds * 1.3 + p.sway), 0, 0]) for p in self._people]
            self._posed = seconds, [self._pose(k, seconds, feet, heads) for k in range(len(self._people))]
        return self._posed[1]

    def _pose(self, index: int, seconds: float, feet: Floats, heads: list[Floats]) -> Pose:
        person, head = self._people[index], heads[index]
        hands = self._hands(person, head, seconds, feet)
        look, previous = person.script.looks_at(seconds)
        target, left = (self._target(one, index, feet, heads, hands) for one in (look, previous))
        since = seconds - look.start_seconds
        gaze = _between(left - head, target - head, since / _EYE_TURN_SECONDS)
        start, stop = (self._forward(person, head, place) for place in (left, target))
        forward = _between(start, stop, since / _HEAD_TURN_SECONDS)
        return Pose(head=head, forward=forward, gaze=gaze, target=target, look=look, hands=hands)

    def _hands(self, person: Person, head: Floats, seconds: float, feet: Floats) -> list[Floats]:
        """Left and right hand as seen from the camera; the one nearer to the action's object reaches for it."""
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

    def _forward(self, person: Person, head: Floats, target: Floats) -> Floats:
        """The head's direction: towards the target, less the part of the turn that the eyes make alone."""
        to_target, rest = target - head, -head
        yaw, rest_yaw = np.arctan2(to_target[0], to_target[2]), np.arctan2(rest[0], rest[2])
        pitch = np.arctan2(to_target[1], np.hypot(to_target[0], to_target[2]))
        away = (yaw - rest_yaw + np.pi) % (2 * np.pi) - np.pi
        yaw -= person.eye_share * np.clip(away, -_MOST_EYE_TURN, _MOST_EYE_TURN)
        pitch -= person.eye_share * np.clip(pitch, -_MOST_EYE_TURN, _MOST_EYE_TURN)
        return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])

    def _view(self, point: Floats) -> Floats:
        """The directions right, up and towards the camera at a point as columns, [3, 3]."""
        toward = self.kitchen.camera.position - point
        toward = toward / np.linalg.norm(toward)
        right = np.array([-toward[2], 0.0, toward[0]])
        right /= np.linalg.norm(right)
        return np.stack((right, np.cross(right, toward), toward), axis=1)

    def _truth(self, index: int, pose: Pose) -> PersonTruth:
        camera = self.kitchen.camera
        frame = np.array([camera.aspect, 1.0])
        middle = camera.frame_xy(pose.head) / frame
        half = 1.06 * HEAD_HALF * camera.scale_at(pose.head) / frame
        x, y = camera.frame_xy(pose.target) / frame
        inside = bool(0 <= x < 1 and 0 <= y < 1)  # False for NaN
        return PersonTruth(
            track_id=index + 1,
            box_xyxy=tuple(np.clip((*(middle - half), *(middle + half)), 0, 1).tolist()),
            gaze_xy=(float(x), float(y)) if inside else (-1.0, -1.0),
            inside=inside,
            look=pose.look,
            head_axes=self._view(pose.head).T @ pose.forward,
        )


def _smooth(share: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def _between(start: Floats, stop: Floats, share: float) -> Floats:
    """A unit vector on the way from one direction to another; between opposite ones by the camera's side."""
    start, stop = start / np.linalg.norm(start), stop / np.linalg.norm(stop)
    mixed = start + (stop - start) * _smooth(share)
    if np.linalg.norm(mixed) < 0.2:
        mixed = mixed + np.array([0.0, 0.0, -0.3])
    return np.asarray(mixed / np.linalg.norm(mixed))
