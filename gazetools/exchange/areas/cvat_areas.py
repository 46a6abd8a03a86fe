"""Areas from CVAT's XML 1.1, for video (tracks) and for images, read as a stream.

Elements as in docs.cvat.ai/docs/dataset_management/formats/format-cvat; an export lists every frame of a track.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gazetools.exchange.areas.area_boxes import FIXED, AreaDraft
from gazetools.exchange.boxes import whole_number
from gazetools.exchange.names import folder_of, last_number
from gazetools.io.guarded_xml import read_xml
from gazetools.schemas.excerpt import excerpt

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_SHAPES = {"polygon", "polyline", "points", "mask", "cuboid", "ellipse", "skeleton"}
_MAX_BYTES = 1 << 30
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class _DrawnPicture:
    name: str
    size_wh: tuple[float, float]
    boxes: list[tuple[str, Box]]
    """Label and corners of each."""

    @property
    def where(self) -> str:
        return f"image {excerpt(self.name, 60)}"


def add_cvat(draft: AreaDraft, *, first: int) -> None:
    """Add the boxes, named by their label.

    CVAT lists every frame of a track, from 0; a frame that is not listed has no box, and the gaps are counted. A
    picture's frame is the last number in its name less `first`, its video the folder in the name where there are
    several; a file with one picture holds for all frames. Raises DataFileError for damaged files, those with a DTD or
    entities, whatever they contain, and those of several tasks.
    """
    events = _AreaEvents(draft)
    read_xml(draft.source, events, max_bytes=_MAX_BYTES)
    if len(events.tasks) > 1:
        raise draft.error(
            f"it has {len(events.tasks)} tasks, whose frames have the same numbers: export each by itself"
        )
    pictures = events.pictures
    folders = {folder_of(picture.name) for picture in pictures}
    for picture in pictures:
        number = last_number(picture.name)
        frame = FIXED if len(pictures) == 1 else -2 if number is None else number - first
        if len(pictures) > 1 and frame < 0:
            raise draft.error(f"{picture.where}: no number in its name says which frame it is, counted from {first}")
        video = folder_of(picture.name) if len(folders) > 1 else None
        for label, box in picture.boxes:
            draft.add(label, box, where=picture.where, video=video, frame=frame, size_wh=picture.size_wh)


@dataclass
class _AreaEvents:
    """Adds the boxes of tracks to the draft as they come, and keeps those of pictures until all names are known."""

    draft: AreaDraft
    tasks: set[str] = field(default_factory=set)
    pictures: list[_DrawnPicture] = field(default_factory=list)
    _size: list[float] = field(default_factory=lambda: [math.nan, math.nan])
    """Width and height of the video, which stand before the tracks."""
    _track: Mapping[str, str] | None = None
    _last: int | None = None
    """Frame of the track's previous box; None: it was not visible."""

    def start(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        """An element begins."""
        name = path[-1]
        if len(path) == 2 and name in ("track", "image"):
            self.tasks.add(attributes.get("task_id", ""))
            self._track, self._last = (attributes if name == "track" else None), None
            if name == "image":
                self.pictures.append(self._picture(attributes))
        elif len(path) == 3 and name in _SHAPES:
            self.draft.left_out[name] += 1
        elif len(path) == 3 and name == "box" and path[1] == "track":
            self._add_shown(attributes)
        elif len(path) == 3 and name == "box" and path[1] == "image" and self._upright(attributes):
            picture = self.pictures[-1]
            picture.boxes.append((attributes.get("label", ""), self._corners(attributes, picture.where)))

    def end(self, path: tuple[str, ...], text: str) -> None:
        """An element ends."""
        if path[-2:-1] == ("original_size",) and path[-1] in ("width", "height"):
            try:
                self._size[("width", "height").index(path[-1])] = float(text)
            except ValueError:
                raise self.draft.error(f"its {path[-1]} {excerpt(text, 40)!r} is no number") from None

    def _picture(self, attributes: Mapping[str, str]) -> _DrawnPicture:
        name = attributes.get("name", "")
        try:
            size_wh = float(attributes.get("width", "")), float(attributes.get("height", ""))
        except ValueError:
            where = f"image {excerpt(name, 60)}"
            raise self.draft.error(f"{where}: it has no width and height in numbers") from None
        return _DrawnPicture(name=name, size_wh=size_wh, boxes=[])

    def _add_shown(self, box: Mapping[str, str]) -> None:
        """Add a track's box unless it is outside."""
        track = self._track or {}
        where, text = f"track {excerpt(track.get('id', ''), 40)}", box.get("frame", "")
        if (frame := whole_number(text)) is None or frame < 0:
            raise self.draft.error(f"{where}: a box has the frame {excerpt(text, 40)!r}, no number from 0")
        if box.get("outside", "0") == "1" or not self._upright(box):
            self._last = None
            return
        if self._last is not None and frame > self._last + 1:
            self.draft.left_out["gaps in tracks, whose frames have no box"] += 1
        self._last, size = frame, (self._size[0], self._size[1])
        corners = self._corners(box, where)
        self.draft.add(track.get("label", ""), corners, where=where, frame=self._last, size_wh=size)

    def _upright(self, box: Mapping[str, str]) -> bool:
        """Whether a box is not rotated; rotated ones are counted."""
        if box.get("rotation", "0") in ("0", "0.0", "0.00"):
            return True
        self.draft.left_out["rotated boxes"] += 1
        return False

    def _corners(self, box: Mapping[str, str], where: str) -> Box:
        try:
            x0, y0, x1, y1 = (float(box.get(name, "")) for name in _CORNERS)
        except ValueError:
            raise self.draft.error(f"{where}: a box lacks one of {', '.join(_CORNERS)} as a number") from None
        return x0, y0, x1, y1
