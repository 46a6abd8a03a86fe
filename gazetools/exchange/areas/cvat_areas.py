"""Areas from CVAT's XML 1.1, for video (tracks) and for images, read as a stream.

Elements as in docs.cvat.ai/docs/dataset_management/formats/format-cvat; an export lists every frame of a track.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from gazetools.exchange.areas.area_boxes import FIXED, AreaDraft, folder_of, number_in
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_SHAPES = ("polygon", "polyline", "points", "mask", "cuboid", "ellipse", "skeleton")
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class _Picture:
    name: str
    size_wh: tuple[float, float]
    boxes: list[tuple[str, tuple[float, ...]]]
    """Label and corners of each."""


def add_cvat(draft: AreaDraft, *, first: int) -> None:
    """Add the boxes, named by their label.

    CVAT lists every frame of a track, from 0; a frame that is not listed has no box, and the gaps are counted. A
    picture's frame is the last number in its name less `first`, its video the folder in the name where there are
    several; a file with one picture holds for all frames. Raises DataFileError for damaged files, those with a DTD or
    entities, whatever they contain, and those of several tasks.
    """
    size, tasks = [np.nan, np.nan], set()
    pictures: list[_Picture] = []
    for element in _elements(draft):
        if element.tag == "original_size":
            size = [float(element.findtext(name, "nan")) for name in ("width", "height")]
            continue
        tasks.add(element.get("task_id", ""))
        if element.tag == "track":
            _add_track(draft, element, (size[0], size[1]))
        else:
            pictures.append(_picture(draft, element))
    if len(tasks) > 1:
        raise draft.error(f"it has {len(tasks)} tasks, whose frames have the same numbers: export each by itself")
    folders = {folder_of(picture.name) for picture in pictures}
    for picture in pictures:
        number = number_in(picture.name)
        frame = FIXED if len(pictures) == 1 else -2 if number is None else number - first
        where = f"image {excerpt(picture.name, 60)}"
        if len(pictures) > 1 and frame < 0:
            raise draft.error(f"{where}: no number in its name says which frame it is, counted from {first}")
        video = folder_of(picture.name) if len(folders) > 1 else None
        for label, box in picture.boxes:
            draft.add(
                label,
                (box[0], box[1], box[2], box[3]),
                where=where,
                video=video,
                frame=frame,
                size_wh=picture.size_wh,
            )


def _elements(draft: AreaDraft) -> Iterator[Any]:
    """Finished tracks and images right below the root, and the video's size; their content is freed afterwards."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    if draft.source.stat().st_size > _MAX_BYTES:
        raise draft.error(f"it has more than {_MAX_BYTES >> 20} MiB")
    depth = 0
    root: Any = None
    try:
        for event, element in iterparse(draft.source, events=("start", "end"), forbid_dtd=True):
            if event == "start":
                root = element if root is None else root
                depth += 1
                continue
            depth -= 1
            if element.tag == "original_size" or (depth == 1 and element.tag in ("track", "image")):
                yield element
            if depth == 1:
                element.clear()
                root.clear()
    except DefusedXmlException as error:
        raise DataFileError(
            f"{draft.source} declares a DTD or entities, which are refused ({type(error).__name__}).",
            hint="Export it again from CVAT, which writes none.",
            path=str(draft.source),
        ) from None
    except (ParseError, ValueError) as error:
        raise DataFileError(f"{draft.source} is no XML of CVAT: {error}.", path=str(draft.source)) from None


def _picture(draft: AreaDraft, element: Any) -> _Picture:
    name = element.get("name", "")
    where = f"image {excerpt(name, 60)}"
    try:
        size_wh = float(element.get("width", "")), float(element.get("height", ""))
    except ValueError:
        raise draft.error(f"{where}: it has no width and height in numbers") from None
    boxes = [(one.get("label", ""), _corners(draft, one, where)) for one in element.iter("box") if _upright(draft, one)]
    _count_shapes(draft, element)
    return _Picture(name=name, size_wh=size_wh, boxes=boxes)


def _add_track(draft: AreaDraft, track: Any, size_wh: tuple[float, float]) -> None:
    where = f"track {excerpt(track.get('id', ''), 40)}"
    last: int | None = None
    for one in track.iter("box"):
        text = one.get("frame", "")
        if not text.isdecimal():
            raise draft.error(f"{where}: a box has the frame {excerpt(text, 40)!r}, no number from 0")
        if one.get("outside", "0") == "1" or not _upright(draft, one):
            last = None
            continue
        if last is not None and int(text) > last + 1:
            draft.left_out["gaps in tracks, whose frames have no box"] += 1
        last = int(text)
        box = _corners(draft, one, where)
        draft.add(track.get("label", ""), (box[0], box[1], box[2], box[3]), where=where, frame=last, size_wh=size_wh)
    _count_shapes(draft, track)


def _count_shapes(draft: AreaDraft, element: Any) -> None:
    for shape in _SHAPES:
        if found := len(element.findall(shape)):
            draft.left_out[shape] += found


def _upright(draft: AreaDraft, box: Any) -> bool:
    """Whether a box is not rotated; rotated ones are counted."""
    if box.get("rotation", "0") in ("0", "0.0", "0.00"):
        return True
    draft.left_out["rotated boxes"] += 1
    return False


def _corners(draft: AreaDraft, box: Any, where: str) -> tuple[float, ...]:
    try:
        return tuple(float(box.get(name, "")) for name in _CORNERS)
    except ValueError:
        raise draft.error(f"{where}: a box lacks one of {', '.join(_CORNERS)} as a number") from None
