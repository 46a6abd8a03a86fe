"""CVAT's XML 1.1 for videos and for images: boxes read from it.

Elements as in docs.cvat.ai/docs/dataset_management/formats/format-cvat and cvat/apps/dataset_manager/formats/cvat.py,
which lists every frame of a track, keyframes and those between, with coordinates rounded to 0.01 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gazetools.exchange.boxes import (
    MAX_BYTES,
    BoxCollector,
    ForeignBoxes,
    Wanted,
    chosen_video,
    frames_of_pictures,
    whole_number,
)
from gazetools.io.guarded_xml import read_xml
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

PERSON = "track_id"
"""Attribute of boxes with the person's number: CVAT itself numbers tracks anew."""
_SIDES = ("xtl", "ytl", "xbr", "ybr")
_TASK_BITS = 40
_SHAPES = {"polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton"}
_TASKS = (
    ("annotations", "meta", "task"),
    ("annotations", "meta", "job"),
    ("annotations", "meta", "project", "tasks", "task"),
)


@dataclass
class _Task:
    """A video or a set of pictures that boxes are of."""

    id: str = ""
    name: str = ""
    source: str = ""
    width: int | None = None
    height: int | None = None


@dataclass
class _Shape:
    """A box until its attributes are read."""

    frame: int
    label: str
    person: object
    box: list[float]
    task: str
    number: int
    interpolated: bool


@dataclass
class CvatEvents:
    """Boxes of the document, as `read_xml` brings them."""

    path: Path
    wanted: Wanted
    boxes: BoxCollector = field(init=False)
    pictures: dict[str, dict[object, str]] = field(default_factory=dict)
    """Task -> id of each image -> its name, in files of pictures."""
    sizes: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    """Task -> sizes of its images."""
    tasks: list[_Task] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Task id that tracks and images name, "" in files of one task -> what stands for it in the frames of `boxes`."""
    gaps: int = 0
    """Places where a track goes on after frames that are not listed."""
    _track: Mapping[str, str] | None = None
    _image: Mapping[str, str] | None = None
    _shape: _Shape | None = None
    _attribute: str = ""
    _number: int = 0
    _last: int | None = None

    def __post_init__(self) -> None:
        self.boxes = BoxCollector(self.path, "box")

    def start(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        """An element begins."""
        name = path[-1]
        if path[0] != "annotations":
            raise HeadsError(
                f"{self.path} is XML, but its first element is <{path[0][:40]}>, not CVAT's <annotations>."
            )
        if path in _TASKS:
            self.tasks.append(_Task())
        elif name == "track":
            self._track, self._last = attributes, None
        elif name == "image":
            self._begin_image(attributes)
        elif name == "box":
            self._number += 1
            self._begin_box(attributes)
        elif name in _SHAPES and len(path) == 3:
            self.boxes.leave_out(f"of another shape, <{name}>")
        elif name == "attribute":
            self._attribute = attributes.get("name", "")

    def end(self, path: tuple[str, ...], text: str) -> None:
        """An element ends."""
        name, parent = path[-1], path[:-1]
        if name == "attribute" and self._shape is not None and self._attribute == PERSON and text:
            self._shape.person = text
        elif name == "box" and self._shape is not None:
            shape, self._shape = self._shape, None
            place = self.places.setdefault(shape.task, len(self.places)) << _TASK_BITS | shape.frame
            self.boxes.add(place, shape.person, shape.label, shape.box, shape.number, interpolated=shape.interpolated)
        elif name == "track":
            self._track = None
        elif name == "image":
            self._image = None
        elif self.tasks and (parent in _TASKS or (parent[:-1] in _TASKS and parent[-1] == "original_size")):
            task = self.tasks[-1]
            if name in {"id", "name", "source"}:
                setattr(task, name, text)
            elif name in {"width", "height"}:
                setattr(task, name, whole_number(text))

    def _begin_image(self, attributes: Mapping[str, str]) -> None:
        self._image = attributes
        if (number := whole_number(attributes.get("id"))) is None or number < 0:
            raise self._error(f"the id of an image is {excerpt(attributes.get('id'))}, no whole number from 0")
        task = attributes.get("task_id", "")
        self.pictures.setdefault(task, {})[number] = attributes.get("name", "")
        size = tuple(whole_number(attributes.get(side)) or 0 for side in ("width", "height"))
        if min(size) > 0:
            self.sizes.setdefault(task, set()).add((size[0], size[1]))

    def _begin_box(self, attributes: Mapping[str, str]) -> None:
        owner = self._track if self._track is not None else self._image
        if owner is None:
            raise self._error("stands in no track and no image")
        if attributes.get("outside") == "1":
            self.boxes.leave_out("marked outside")
            self._last = None
            return
        if "rotation" in attributes and _number(attributes["rotation"]) not in {0.0, 360.0}:
            raise self._error(f"is turned by {excerpt(attributes['rotation'])} degrees; a head's box is upright")
        sides = [_number(attributes.get(side)) for side in _SIDES]
        box = [side for side in sides if side is not None]
        if len(box) < 4:
            at_fault = next(name for name, side in zip(_SIDES, sides, strict=True) if side is None)
            raise self._error(f"{at_fault} is {excerpt(attributes.get(at_fault))}, not a number")
        frame = whole_number(owner.get("id") if self._track is None else attributes.get("frame"))
        if frame is None or frame < 0:
            raise self._error(f"its frame is {excerpt(attributes.get('frame'))}, no whole number from 0")
        self.gaps += self._track is not None and self._last is not None and frame > self._last + 1
        self._last = frame
        self._shape = _Shape(
            frame=frame,
            label=(owner if self._track is not None else attributes).get("label", ""),
            person=None if self._track is None else owner.get("id"),
            box=box,
            task=owner.get("task_id", ""),
            number=self._number,
            interpolated=self._track is not None and attributes.get("keyframe") == "0",
        )

    def _error(self, what: str) -> HeadsError:
        return HeadsError(f"{self.path}, box {self._number}: {what}.", hint="Correct it in CVAT and export again.")


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_cvat(path: Path, wanted: Wanted) -> ForeignBoxes:
    """The boxes of one video; frames from 0. HeadsError or DataFileError for what is wrong."""
    events = CvatEvents(path, wanted)
    read_xml(path, events, max_bytes=MAX_BYTES)
    task, notes = _chosen_task(events)
    frames, words, counts = _frames(events, task)
    events.boxes.move_frames(frames, "of other videos")
    boxes = events.boxes.table(wanted, f"{words}; corners", person_word=PERSON)
    boxes.counts, boxes.notes = counts, [*notes, *boxes.notes]
    sizes = events.sizes.get(task.id, events.sizes.get("", set()))
    if task.width and task.height:
        sizes = sizes | {(task.width, task.height)}
    if len(sizes) > 1:
        raise HeadsError(
            f"{path}: its pictures have {len(sizes)} sizes; those of a video have one.",
            hint="Export the pictures of one video.",
        )
    boxes.picture = next(iter(sizes), None)
    if boxes.interpolated:
        boxes.notes.append(f"{boxes.interpolated} of its boxes lie between keyframes, as CVAT filled them in")
    if events.gaps:
        boxes.notes.append(
            f"tracks go on in {events.gaps} places after frames that are not listed, which have no box: --fill-gaps "
            "puts boxes there"
        )
    return boxes


def _chosen_task(events: CvatEvents) -> tuple[_Task, list[str]]:
    """The task that is read, one of several in the export of a project, and what is to be said of it."""
    if len(events.tasks) < 2:
        return (events.tasks or [_Task()])[0], []
    names = {task.source or task.name: task for task in events.tasks}
    if len(names) < len(events.tasks):
        raise HeadsError(
            f"{events.path} has {len(events.tasks)} tasks, some of one name.", hint="Export each task by itself."
        )
    name, notes = chosen_video(events.path, names, events.wanted)
    return names[name], notes


def _frames(events: CvatEvents, task: _Task) -> tuple[dict[int, int], str, tuple[int, ...]]:
    """Frame of each box by what stands for it in `boxes`, how it was found, what number the first frame may have."""
    several = len(events.tasks) > 1
    wanted = [place for name, place in events.places.items() if not several or name in {task.id, ""}]
    found = np.unique(np.array(events.boxes.frames, np.int64))
    mine = [int(place) for place in found if place >> _TASK_BITS in wanted]
    own = {place: place & ((1 << _TASK_BITS) - 1) for place in mine}
    if not events.pictures:
        return own, "for video; frames from 0", (0,)
    pictures = events.pictures.get(task.id, events.pictures.get("", {})) if several else _joined(events.pictures)
    rule = frames_of_pictures(events.path, pictures, events.wanted)
    if not rule.counts:  # ids are places in the task, also where images without boxes are not listed
        return own, "for images; frame: id of the image", (0,)
    return (
        {place: rule.frames[number] for place, number in own.items()},
        f"for images; frame: {rule.words}",
        rule.counts,
    )


def _joined(pictures: Mapping[str, Mapping[object, str]]) -> dict[object, str]:
    return {key: name for part in pictures.values() for key, name in part.items()}


def cvat_videos(path: Path) -> list[str]:
    """Names of the videos of a file. DataFileError or HeadsError where it can't be read."""
    events = CvatEvents(path, Wanted())
    read_xml(path, events, max_bytes=MAX_BYTES)
    return list(dict.fromkeys(task.source or task.name for task in events.tasks)) or [""]
