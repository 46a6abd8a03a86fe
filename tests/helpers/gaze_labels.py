"""The same made-up people in all released forms of the gaze benchmarks: GazeFollow, VAT, ChildPlay, GOO-Real, JSON."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 160, 96
CHILDPLAY_HEADER = "clip,frame,person_id,bbox_x,bbox_y,bbox_width,bbox_height,gaze_class,gaze_x,gaze_y,is_child"


@dataclass(frozen=True)
class Person:
    """One person in one frame, in pixels."""

    video: str
    clip: str
    start: int
    """Number of the clip's first frame in its video."""
    frame: int
    """Number in the clip, from 0."""
    name: int
    box: tuple[float, float, float, float]
    gaze: tuple[float, float]
    inside: bool
    key: int
    """Place in the list of all people: the number of its heatmap."""

    @property
    def picture(self) -> str:
        """ChildPlay's name of the picture."""
        return f"images/{self.clip}/{self.video}_{self.start + self.frame}.jpg"


def made_up_people(seed: int = 0, *, frames: int = 6) -> list[Person]:
    """People of four clips of two videos: two per frame, a third from the third on; a fifth of them looks outside."""
    random = np.random.default_rng(seed)
    people = []
    for clip_number in range(4):
        start = 1 + 100 * clip_number
        video = f"video_{clip_number // 2}"
        for frame in range(frames):
            for name in range(2 if frame < 2 else 3):
                x0, y0 = random.uniform(2, 70), random.uniform(2, 30)
                box = (x0, y0, x0 + random.uniform(20, 60), y0 + random.uniform(20, 55))
                gaze = (float(random.uniform(3, WIDTH - 3)), float(random.uniform(3, HEIGHT - 3)))
                people.append(
                    Person(
                        video, f"{video}_{start}-{start + frames}", start, frame, name, box, gaze,
                        bool(random.random() > 0.2), len(people),
                    )
                )  # fmt: skip
    return people


def write_pictures(root: Path, names: set[str]) -> None:
    """One grey picture of WIDTH x HEIGHT under each name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))


def _gazefollow_name(person: Person) -> str:
    return f"test/{person.clip}_{person.frame:03d}.jpg"


def annotators(person: Person) -> list[tuple[float, float]]:
    """Three annotators of a head in fractions of the picture: the truth, and two next to it."""
    x, y = person.gaze[0] / WIDTH, person.gaze[1] / HEIGHT
    return [(x, y), (min(x + 0.05, 0.99), y), (x, max(y - 0.04, 0.01))]


def write_gazefollow(root: Path, people: list[Person]) -> tuple[Path, list[int]]:
    """test_annotations_release.txt, rows in the order of `people`; keys in the protocol's order (path, then eye_x)."""
    rows = []
    for person in people:
        eye = (person.box[0] + person.key / 1000) / WIDTH
        for x, y in annotators(person):
            cells = (_gazefollow_name(person), person.key, 0, 0, 1, 1, eye, 0.3, x, y, *person.box, "made", "up")
            rows.append(",".join(map(str, cells)))
    path = root / "test_annotations_release.txt"
    path.write_text("\n".join(rows) + "\n")
    write_pictures(root, {_gazefollow_name(person) for person in people})
    order = sorted(people, key=lambda p: (_gazefollow_name(p), p.box[0] + p.key / 1000))
    return path, [person.key for person in order]


def write_vat(root: Path, people: list[Person]) -> tuple[Path, list[int]]:
    """annotations/test/<show>/<clip>/<person>.txt; keys in the order of clips, frames, people."""
    files: dict[Path, list[str]] = {}
    for person in people:
        x, y = person.gaze if person.inside else (-1, -1)
        name = f"{person.frame:05d}.jpg"
        file = root / "annotations" / "test" / person.video / person.clip / f"s{person.name:02d}.txt"
        files.setdefault(file, []).append(",".join(map(str, (name, *person.box, x, y))))
    for file, lines in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    write_pictures(root, {f"images/{p.video}/{p.clip}/{p.frame:05d}.jpg" for p in people})
    order = sorted(people, key=lambda p: (p.video, p.clip, p.frame, p.name))
    return root / "annotations" / "test", [person.key for person in order]


def write_childplay(root: Path, people: list[Person]) -> tuple[Path, list[int]]:
    """annotations/test/<clip>.csv with a row of every left-out class in addition."""
    folder = root / "annotations" / "test"
    folder.mkdir(parents=True)
    for clip in {person.clip for person in people}:
        rows = [CHILDPLAY_HEADER]
        for p in (person for person in people if person.clip == clip):
            box = (p.box[0], p.box[1], p.box[2] - p.box[0], p.box[3] - p.box[1])
            gaze = p.gaze if p.inside else (0, 0)
            said = "inside_visible" if p.inside else "outside_frame"
            rows.append(",".join(map(str, (clip, p.frame + 1, p.name, *box, said, *gaze, 1))))
        frames = 1 + max(person.frame for person in people)
        rows += [f"{clip},{frame},8,100,40,58,54,gaze_shift,-1,-1,0" for frame in range(1, frames + 1)]
        for number, said in enumerate(("inside_occluded", "inside_uncertain", "eyes_closed")):
            rows.append(f"{clip},1,{9 + number},100,40,58,54,{said},-1,-1,0")
        rows.append(f"{clip},1,20,100,40,58,54,inside_visible,-1,-1,0")
        (folder / f"{clip}.csv").write_text("\n".join(rows) + "\n")
    write_pictures(root, {person.picture for person in people})
    order = sorted(people, key=lambda p: (p.clip, p.frame, p.name))
    return folder, [person.key for person in order]


def write_gooreal(root: Path, people: list[Person], *, as_json: bool = False) -> tuple[Path, list[int]]:
    """testrealhumans.pickle (or .json) with an entry for every head that looks inside; coordinates at 640x480."""
    kept = [person for person in people if person.inside]
    entries: list[dict[str, Any]] = []
    for person in kept:
        scale = np.array([640 / WIDTH, 480 / HEIGHT] * 2)
        boxes = np.stack([np.array([1.0, 2.0, 30.0, 40.0]), np.array(person.box) * scale])
        gaze, eye = np.array(person.gaze) * scale[:2], eye_of(person) * (640, 480)
        entries.append(
            {
                "filename": f"{person.key}.png",
                "width": 640,
                "height": 480,
                "ann": {
                    "bboxes": boxes.tolist() if as_json else boxes,
                    "labels": [3, -1] if as_json else np.array([3, -1]),
                },
                "gaze_item": 3,
                "gazeIdx": 0,
                "gaze_cx": float(gaze[0]) if as_json else np.float64(gaze[0]),
                "gaze_cy": float(gaze[1]),
                "hx": float(eye[0]),
                "hy": float(eye[1]),
                "seg": [],
            }
        )
    path = root / f"testrealhumans.{'json' if as_json else 'pickle'}"
    path.write_bytes(json.dumps(entries).encode() if as_json else pickle.dumps(entries))
    return path, [person.key for person in kept]


def eye_of(person: Person) -> np.ndarray[Any, Any]:
    """The eyes as fractions: above and left of the middle of the head."""
    x0, y0, x1, y1 = person.box
    return np.array([(0.6 * x0 + 0.4 * x1) / WIDTH, (0.7 * y0 + 0.3 * y1) / HEIGHT])


def write_prepared(
    path: Path,
    people: list[Person],
    picture_of: Callable[[Person], str],
    *,
    shape: str,
    boxes: dict[int, Any] | None = None,
) -> Path:
    """A *_preprocessed.json of people in this order; `shape`: frames, sequences or lists (of frames)."""
    frames: dict[str, dict[str, Any]] = {}
    clips: dict[str, list[dict[str, Any]]] = {}
    for p in people:
        name = picture_of(p)
        if name not in frames:
            frames[name] = {"path": name, "width": WIDTH, "height": HEIGHT, "heads": []}
            clips.setdefault(p.clip, []).append(frames[name])
        outside = (-1.0, -1.0) if shape == "sequences" else (0.0, 0.0)
        points = (
            annotators(p) if shape == "frames" else [(p.gaze[0] / WIDTH, p.gaze[1] / HEIGHT) if p.inside else outside]
        )
        box = (boxes or {}).get(p.key, p.box)
        head = {
            "bbox": list(box),
            "bbox_norm": [box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT],
            "gazex_norm": [x for x, _ in points],
            "gazey_norm": [y for _, y in points],
            "head_id": len(frames[name]["heads"]),
        }
        if shape != "frames":
            head["inout"] = int(p.inside)
        frames[name]["heads"].append(head)
    documents: dict[str, Any] = {
        "frames": list(frames.values()),
        "lists": list(clips.values()),
        "sequences": [
            {"path": Path(own[0]["path"]).parent.as_posix(), "width": WIDTH, "height": HEIGHT, "frames": own}
            for own in clips.values()
        ],
    }
    path.write_text(json.dumps(documents[shape]))
    return path
