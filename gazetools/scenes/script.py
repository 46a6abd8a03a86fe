"""Timetable of looks and actions of one person, drawn with the statistics of the settings."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gazetools.scenes.settings import NOUNS, VERBS, SceneSettings

LookKind = Literal["object", "head", "hand", "point", "outside"]
AlongKind = Literal["precedes", "misleads", "elsewhere"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look, from `start_seconds` until the next look."""

    start_seconds: float
    kind: LookKind
    number: int = 0
    """Noun for `object`, index of the person for `head`."""
    spot: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Three numbers in 0..1 that choose the place of `point` and `outside`."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """A hand's contact with an object, [start, stop) in seconds."""

    start_seconds: float
    stop_seconds: float
    verb: int
    noun: int
    gaze: AlongKind = "precedes"
    """Gaze between the lead before the start and the start."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """One person's looks and actions, sorted by time."""

    looks: list[Look]
    actions: list[Action]
    reach_seconds: float

    def looks_at(self, seconds: float) -> tuple[Look, Look]:
        """(the look at this time, the previous look)."""
        place = bisect.bisect_right(self.looks, seconds, key=lambda look: look.start_seconds) - 1
        return self.looks[max(place, 0)], self.looks[max(place - 1, 0)]

    def reach_at(self, seconds: float) -> tuple[Action | None, float]:
        """(the action for which the hand reaches, holds or returns; share of the way to the object, 0..1)."""
        for action in self.actions:
            if action.start_seconds - self.reach_seconds <= seconds < action.stop_seconds + self.reach_seconds:
                there = (seconds - action.start_seconds) / self.reach_seconds + 1
                back = (action.stop_seconds - seconds) / self.reach_seconds + 1
                return action, float(min(there, back, 1.0))
        return None, 0.0


def make_script(
    rng: np.random.Generator, settings: SceneSettings, *, seconds: float, person: int, people: int
) -> Script:
    """A script of actions; each has free looks, the look before the action, the reach, and the action itself."""
    looks: list[Look] = []
    actions: list[Action] = []
    clock = 0.0
    while True:
        idle, lead = rng.uniform(*settings.idle_seconds), rng.uniform(*settings.lead_seconds)
        start = clock + idle + lead
        if start + settings.act_seconds > seconds - 0.1:
            break
        noun, verb = int(rng.integers(len(NOUNS))), int(rng.integers(len(VERBS)))
        looks += _free_looks(rng, settings, clock, clock + idle, person=person, people=people)
        look, gaze = _look_before(rng, settings, start - lead, noun, person=person, people=people)
        looks += [look, Look(start_seconds=start - settings.reach_seconds, kind="object", number=noun)]
        stop = start + settings.act_seconds
        actions.append(Action(start_seconds=start, stop_seconds=stop, verb=verb, noun=noun, gaze=gaze))
        clock = stop
    looks += _free_looks(rng, settings, clock, max(seconds, clock + 0.1), person=person, people=people)
    return Script(looks=looks, actions=actions, reach_seconds=settings.reach_seconds)


def _look_before(
    rng: np.random.Generator, settings: SceneSettings, start: float, noun: int, *, person: int, people: int
) -> tuple[Look, AlongKind]:
    draw = rng.random()
    if draw < settings.p_gaze_precedes:
        return Look(start_seconds=start, kind="object", number=noun), "precedes"
    if draw < settings.p_gaze_precedes + settings.p_misleading:
        other = (noun + 1 + int(rng.integers(len(NOUNS) - 1))) % len(NOUNS)
        return Look(start_seconds=start, kind="object", number=other), "misleads"
    return _free_look(rng, settings, start, person=person, people=people, objects=False), "elsewhere"


def _free_looks(
    rng: np.random.Generator, settings: SceneSettings, start: float, stop: float, *, person: int, people: int
) -> list[Look]:
    looks = []
    while start < stop:
        looks.append(_free_look(rng, settings, start, person=person, people=people, objects=True))
        start += rng.uniform(0.7, 1.7)
    return looks


def _free_look(
    rng: np.random.Generator, settings: SceneSettings, start: float, *, person: int, people: int, objects: bool
) -> Look:
    spot = tuple(float(v) for v in rng.random(3))
    draw = rng.random()
    if draw < settings.p_outside:
        return Look(start_seconds=start, kind="outside", spot=spot)
    if objects and draw < settings.p_outside + (1 - settings.p_outside) * 0.68:
        return Look(start_seconds=start, kind="object", number=int(rng.integers(len(NOUNS))))
    kind: LookKind = "head" if people > 1 and rng.random() < 0.55 else ("hand" if rng.random() < 0.4 else "point")
    other = (person + 1 + int(rng.integers(max(people - 1, 1)))) % people
    return Look(start_seconds=start, kind=kind, number=other, spot=spot)
