"""Labelled gaze as all readers return it: pictures with their heads, and rows that were left out or mended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gazetools.schemas.gaze_labels import LabelKind, Protocol

MOST_PLACES = 1000
"""Places of one reason that are kept; all are counted."""
BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """One annotated head."""

    box_xyxy: BoxXyxy
    """x0, y0, x1, y1 as fractions of the picture; ChildPlay's may reach beyond 0..1."""
    gaze_x: tuple[float, ...]
    """One entry per annotator as a fraction of the picture. Out of the frame: negative, in ChildPlay (0, 0)."""
    gaze_y: tuple[float, ...]
    inout: int | None
    """1 inside, 0 outside, None where the file does not say. This alone decides, not the sign of the gaze."""
    person: str = ""
    """The file's name or number of the person; empty: none."""
    gaze_class: str = ""
    """Class of the gaze (ChildPlay) or of the object looked at (GOO-Real); empty: none."""
    eye_xy: tuple[float, float] | None = None
    """The eyes as fractions of the picture, where the file has them."""
    place: str = ""
    """File and row, for messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkPicture:
    """One picture with its annotated heads, in the file's order."""

    path: str
    """Path below the root of the pictures; of a labelled video, the video's."""
    width: int
    """Pixels; 0 where neither file nor picture says."""
    height: int
    heads: tuple[Head, ...]
    video: str = ""
    """Video (show, recording) of which the picture is a frame, over all its clips; empty: a single picture."""
    clip: str = ""
    """Clip of that video; frames of one clip are nearly copies of each other. Empty: a single picture."""
    frame: int | None = None
    """Number of the frame as the file counts; None: a single picture."""
    is_video: bool = False
    """Whether `path` is a video, whose frame of index `frame` is meant."""
    split: str = ""
    """train, val, test, or a word of the file's own; empty: the file does not say."""
    other_boxes: tuple[BoxXyxy, ...] = ()
    """Head boxes of people in the picture whose gaze is not labelled."""


@dataclass(slots=True)
class Noted:
    """Number of rows with one peculiarity, and where the first ones are."""

    count: int = 0
    places: list[str] = field(default_factory=list)
    """`FILE, line 12: gaze (nan, 0.2)`; at most MOST_PLACES."""


class Notes(dict[str, Noted]):
    """Reason -> rows; `add` counts one."""

    def add(self, reason: str, place: str) -> None:
        """Count a row under `reason`."""
        noted = self.setdefault(reason, Noted())
        noted.count += 1
        if len(noted.places) < MOST_PLACES:
            noted.places.append(place)

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of rows."""
        return {reason: noted.count for reason, noted in self.items()}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a file or folder of labels says."""

    kind: LabelKind
    """Form that was read, never `auto`."""
    protocol: Protocol
    pictures: list[BenchmarkPicture]
    left_out: Notes
    """Rows (heads) that are in the file and not in `pictures`, by reason."""
    mended: Notes
    """Heads that are in `pictures`, but changed or doubtful, by reason."""

    @property
    def heads(self) -> Iterator[tuple[BenchmarkPicture, Head]]:
        """Every head with its picture."""
        return ((picture, head) for picture in self.pictures for head in picture.heads)

    def for_training(self) -> Labels:
        """The labels from which a model can learn: boxes cut at the picture's edges; what can't be used is left out.

        Left out: `head_outside_picture` (no area is left of the box), `point_outside` (inside by the file, but a
        coordinate of annotator 0 is not in 0..1), `inout_unknown` where the gaze says nothing either. Where only the
        class is missing (GazeFollow's test split), a point inside the picture counts as inside.
        """
        left_out = Notes({reason: Noted(noted.count, list(noted.places)) for reason, noted in self.left_out.items()})
        pictures = []
        for picture in self.pictures:
            heads = [usable for head in picture.heads if (usable := _trainable(head, left_out)) is not None]
            if heads:
                pictures.append(replace(picture, heads=tuple(heads)))
        return replace(self, pictures=pictures, left_out=left_out)


def _trainable(head: Head, left_out: Notes) -> Head | None:
    x0, y0, x1, y1 = (min(max(side, 0.0), 1.0) for side in head.box_xyxy)
    if not (x1 > x0 and y1 > y0):
        left_out.add("head_outside_picture", f"{head.place}: head box {head.box_xyxy}")
        return None
    x, y = head.gaze_x[0], head.gaze_y[0]
    inside = 0 <= x <= 1 and 0 <= y <= 1
    if head.inout == 1 and not inside:
        left_out.add("point_outside", f"{head.place}: gaze ({x:g}, {y:g}) of the picture")
        return None
    if head.inout is None and not inside and not (x < 0 and y < 0):
        left_out.add("inout_unknown", f"{head.place}: gaze ({x:g}, {y:g}) of the picture")
        return None
    inout = head.inout if head.inout is not None else int(inside)
    return replace(head, box_xyxy=(x0, y0, x1, y1), inout=inout)


def all_finite(*values: float) -> bool:
    """Whether no value is NaN or infinite."""
    return all(map(math.isfinite, values))
