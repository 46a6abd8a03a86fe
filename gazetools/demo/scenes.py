"""Draw short third-person kitchen clips in which heads turn to what a hand will reach for a second later."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.atomic import atomic_path

WIDTH, HEIGHT, FPS = 320, 240, 30
NOUNS = ("cup", "bowl", "bottle", "apple")
VERBS = ("take", "put")
_COLOURS = {"cup": (205, 70, 60), "bowl": (70, 120, 205), "bottle": (60, 160, 80), "apple": (225, 185, 60)}
_LOOK_SECONDS, _REACH_SECONDS, _ACT_SECONDS = 1.0, 0.4, 0.8
_EPIC_COLUMNS = [
    "narration_id",
    "participant_id",
    "video_id",
    "narration_timestamp",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "narration",
    "verb",
    "verb_class",
    "noun",
    "noun_class",
    "all_nouns",
    "all_noun_classes",
]


@dataclass(frozen=True, kw_only=True)
class Action:
    """A hand's contact with an object, [start, stop) in seconds."""

    start_seconds: float
    stop_seconds: float
    verb: int
    noun: int


@dataclass(frozen=True, kw_only=True)
class _Person:
    track_id: int
    head_xy: npt.NDArray[np.float64]
    radius: float
    shirt: tuple[int, int, int]
    first_look_seconds: float
    actions: list[Action]

    def target_at(self, seconds: float, objects: dict[int, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        """Where the person looks: the object of the next or running action."""
        for action in self.actions:
            if seconds < action.stop_seconds:
                return objects[action.noun]
        return objects[self.actions[-1].noun]


def render_scenes(folder: Path, *, clips: int, seconds: float, seed: int) -> list[str]:
    """Write `clips` clips below `folder` and return their ids.

    Files: `videos/<id>.mp4` (H.264, 30 fps), `heads/<id>.csv` (pixels), `gaze/<id>.csv` (frame, track_id, x, y in
    0..1: the true target), `actions.csv` (EPIC-KITCHENS-100 columns; actions of person 1).
    """
    rows = []
    ids = []
    for number in range(clips):
        video_id = f"P{number % 4 + 1:02d}_{number + 1:02d}"
        rng = np.random.default_rng([seed, number])
        people, objects = _cast(rng, seconds)
        _write_clip(folder, video_id, people, objects, seconds, rng)
        rows += [_epic_row(video_id, k, action) for k, action in enumerate(people[0].actions)]
        ids.append(video_id)
    _write_csv(folder / "actions.csv", _EPIC_COLUMNS, rows)
    return ids


def _cast(rng: np.random.Generator, seconds: float) -> tuple[list[_Person], dict[int, npt.NDArray[np.float64]]]:
    places = np.linspace(60, WIDTH - 60, len(NOUNS)) + rng.uniform(-12, 12, len(NOUNS))
    order = rng.permutation(len(NOUNS))
    objects = {int(noun): np.array([places[slot], rng.uniform(168, 200)]) for slot, noun in enumerate(order)}
    people = []
    for k in range(2):
        first = 0.2 + 0.5 * k
        actions, clock = [], first + _LOOK_SECONDS + _REACH_SECONDS
        while clock + _ACT_SECONDS < seconds:
            noun = int(rng.integers(len(NOUNS)))
            verb = int(rng.integers(len(VERBS)))
            actions.append(Action(start_seconds=clock, stop_seconds=clock + _ACT_SECONDS, verb=verb, noun=noun))
            clock += _ACT_SECONDS + _LOOK_SECONDS + _REACH_SECONDS
        people.append(
            _Person(
                track_id=k + 1,
                head_xy=np.array([WIDTH * (0.3 + 0.4 * k) + rng.uniform(-15, 15), rng.uniform(52, 66)]),
                radius=float(rng.uniform(19, 23)),
                shirt=(int(rng.integers(60, 200)), int(rng.integers(60, 200)), int(rng.integers(60, 200))),
                first_look_seconds=first,
                actions=actions,
            )
        )
    return people, objects


def _write_clip(
    folder: Path,
    video_id: str,
    people: list[_Person],
    objects: dict[int, npt.NDArray[np.float64]],
    seconds: float,
    rng: np.random.Generator,
) -> None:
    import av

    background = _background(rng)
    heads, gazes = [], []
    path = folder / "videos" / f"{video_id}.mp4"
    with atomic_path(path) as temp, av.open(str(temp), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(int(seconds * FPS)):
            picture = background.copy()
            for noun, place in objects.items():
                _draw_object(picture, noun, place)
            for person in people:
                target = person.target_at(index / FPS, objects)
                sway = np.array([np.sin(index / 17 + person.track_id) * 1.5, 0.0])
                heads.append([index, person.track_id, *_draw_person(picture, person, target, sway, index / FPS)])
                gazes.append([index, person.track_id, *(target / (WIDTH, HEIGHT)).round(5)])
            noise = rng.integers(-4, 5, picture.shape, dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(picture + noise, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _write_csv(folder / "heads" / f"{video_id}.csv", ["frame", "track_id", "xmin", "ymin", "xmax", "ymax"], heads)
    _write_csv(folder / "gaze" / f"{video_id}.csv", ["frame", "track_id", "x", "y"], gazes)


def _background(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    import cv2

    wall = rng.integers(150, 215, 3)
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = wall
    picture[140:] = (wall * 0.55 + (40, 25, 5)).clip(0, 255)  # the table
    for x in range(0, WIDTH, 40):  # tiles
        cv2.line(picture, (x, 0), (x, 138), tuple(int(c * 0.93) for c in wall), 1)
    return picture


def _draw_object(picture: npt.NDArray[np.uint8], noun: int, place: npt.NDArray[np.float64]) -> None:
    import cv2

    x, y = (int(v) for v in place)
    colour = _COLOURS[NOUNS[noun]]
    if NOUNS[noun] == "cup":
        cv2.rectangle(picture, (x - 8, y - 10), (x + 8, y + 8), colour, -1, cv2.LINE_AA)
        cv2.circle(picture, (x + 10, y - 1), 5, colour, 2, cv2.LINE_AA)
    elif NOUNS[noun] == "bowl":
        cv2.ellipse(picture, (x, y), (16, 11), 0, 0, 180, colour, -1, cv2.LINE_AA)
    elif NOUNS[noun] == "bottle":
        cv2.rectangle(picture, (x - 6, y - 16), (x + 6, y + 9), colour, -1, cv2.LINE_AA)
        cv2.rectangle(picture, (x - 3, y - 24), (x + 3, y - 16), colour, -1, cv2.LINE_AA)
    else:
        cv2.circle(picture, (x, y), 10, colour, -1, cv2.LINE_AA)


def _draw_person(
    picture: npt.NDArray[np.uint8],
    person: _Person,
    target: npt.NDArray[np.float64],
    sway: npt.NDArray[np.float64],
    seconds: float,
) -> list[float]:
    """Draw body, head turned to `target` and the reaching arm; return the head box in pixels."""
    import cv2

    centre = person.head_xy + sway
    x, y, r = centre[0], centre[1], person.radius
    skin = (224, 180, 150)
    cv2.ellipse(picture, (int(x), int(y + 2.9 * r)), (int(1.7 * r), int(1.9 * r)), 0, 180, 360, person.shirt, -1)
    hand = _hand(person, target, seconds)
    shoulder = centre + np.array([0, 1.7 * r])
    cv2.line(picture, _pixel(shoulder), _pixel(hand), person.shirt, 7, cv2.LINE_AA)
    cv2.circle(picture, _pixel(hand), 5, skin, -1, cv2.LINE_AA)
    cv2.circle(picture, _pixel(centre), int(r), skin, -1, cv2.LINE_AA)
    look = (target - centre) / max(float(np.linalg.norm(target - centre)), 1e-6)
    cv2.ellipse(picture, _pixel(centre - look * r * 0.45), (int(r * 0.85), int(r * 0.8)), 0, 0, 360, (70, 45, 30), -1)
    cv2.circle(picture, _pixel(centre + look * r * 0.25), int(r * 0.75), skin, -1, cv2.LINE_AA)
    side = np.array([-look[1], look[0]])
    for sign in (-1, 1):
        eye = centre + look * r * 0.5 + side * sign * r * 0.32
        cv2.circle(picture, _pixel(eye), 4, (250, 250, 250), -1, cv2.LINE_AA)
        cv2.circle(picture, _pixel(eye + look * 1.8), 2, (20, 20, 20), -1, cv2.LINE_AA)
    cv2.circle(picture, _pixel(centre + look * r * 1.02), 3, (205, 150, 120), -1, cv2.LINE_AA)  # nose
    return [round(float(v), 2) for v in (x - r - 2, y - r - 2, x + r + 2, y + r + 2)]


def _hand(person: _Person, target: npt.NDArray[np.float64], seconds: float) -> npt.NDArray[np.float64]:
    """The hand rests, then travels to the target before the action and stays on it until the action stops."""
    rest = person.head_xy + np.array([person.radius * 1.6, person.radius * 4.0])
    for action in person.actions:
        if action.start_seconds - _REACH_SECONDS <= seconds < action.stop_seconds:
            share = min((seconds - action.start_seconds + _REACH_SECONDS) / _REACH_SECONDS, 1.0)
            return rest + (target - rest) * share
    return rest


def _pixel(point: npt.NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _epic_row(video_id: str, number: int, action: Action) -> list[object]:
    def stamp(seconds: float) -> str:
        return f"00:{int(seconds // 60):02d}:{seconds % 60:05.2f}"

    verb, noun = VERBS[action.verb], NOUNS[action.noun]
    start, stop = action.start_seconds, action.stop_seconds
    # EPIC-KITCHENS-100 counts frames at 60 fps for PXX_YY videos, whatever the file's rate (FORMATS, frame rule)
    frames = [round(start * 60), round(stop * 60)]
    return [
        f"{video_id}_{number}", video_id[:3], video_id, stamp(start), stamp(start), stamp(stop), *frames,
        f"{verb} {noun}", verb, action.verb, noun, action.noun, f"['{noun}']", f"[{action.noun}]",
    ]  # fmt: skip


def _write_csv(path: Path, header: list[str], rows: Sequence[Sequence[object]]) -> None:
    with atomic_path(path) as temp, temp.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
