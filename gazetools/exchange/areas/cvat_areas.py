"""Areas from CVAT's XML 1.1, for video (tracks) and for images, read as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from gazetools.exchange.areas.area_boxes import FIXED, AreaDraft, number_in
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_SHAPES = ("polygon", "polyline", "points", "mask", "cuboid", "ellipse", "skeleton")
_MAX_BYTES = 1 << 30
_MAX_GAP = 100_000
"""Frames between two boxes of a track that are filled."""
Shown = tuple[int, tuple[float, ...]]
"""Frame and corners of a box."""


def add_cvat(draft: AreaDraft, *, first: int) -> None:
    """Add the boxes, named by their label.

    A track's frames count from 0; between two of its boxes, the first of which is not `outside`, the corners move
    linearly, as CVAT moves them between key frames. A picture's frame is the last number in its name less `first`; a
    file with one picture holds for all frames. Raises DataFileError for damaged files, and those with a DTD or
    entities, whatever they contain.
    """
    size = [np.nan, np.nan]
    pictures: list[tuple[str, dict[str, str], list[tuple[str, tuple[float, ...]]]]] = []
    for element, parent_is_root in _elements(draft):
        if element.tag == "original_size":
            size = [float(element.findtext(name, "nan")) for name in ("width", "height")]
        elif element.tag == "track" and parent_is_root:
            _add_track(draft, element, (size[0], size[1]))
        elif element.tag == "image" and parent_is_root:
            label = excerpt(element.get("name", ""), 60)
            boxes = [
                (one.get("label", ""), _corners(draft, one, f"image {label}"))
                for one in element.iter("box")
                if _upright(draft, one)
            ]
            pictures.append((element.get("name", ""), dict(element.attrib), boxes))
    for name, facts, boxes in pictures:
        where = f"image {excerpt(name, 60)}"
        number = number_in(name)
        frame = FIXED if len(pictures) == 1 else None if number is None else number - first
        if frame is None or frame < FIXED or (frame == FIXED and len(pictures) > 1):
            raise draft.error(f"{where}: no number in its name says which frame it is, counted from {first}")
        try:
            size_wh = float(facts["width"]), float(facts["height"])
        except (KeyError, ValueError):
            raise draft.error(f"{where}: it has no width and height in numbers") from None
        for label, box in boxes:
            draft.add(label, (box[0], box[1], box[2], box[3]), where=where, frame=frame, size_wh=size_wh)


def _elements(draft: AreaDraft) -> Iterator[tuple[Any, bool]]:
    """Finished elements that matter, and whether they lie right below the root; their content is freed afterwards."""
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
            if element.tag in ("track", "image", "original_size"):
                yield element, depth == 1
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


def _add_track(draft: AreaDraft, track: Any, size_wh: tuple[float, float]) -> None:
    label = track.get("label", "")
    where = f"track {excerpt(track.get('id', ''), 40)}"
    shown: list[Shown | tuple[int, None]] = []
    for one in track.iter("box"):
        text = one.get("frame", "")
        if not text.isdecimal():
            raise draft.error(f"{where}: a box has the frame {excerpt(text, 40)!r}, no number from 0")
        visible = one.get("outside", "0") != "1" and _upright(draft, one)
        shown.append((int(text), _corners(draft, one, where) if visible else None))  # type: ignore[arg-type]
    for shape in _SHAPES:
        draft.left_out[shape] += len(track.findall(shape))
        draft.left_out += type(draft.left_out)()  # drops zeros
    for frame, box in _every_frame(draft, sorted(shown, key=lambda one: one[0]), where):
        draft.add(label, (box[0], box[1], box[2], box[3]), where=where, frame=frame, size_wh=size_wh)


def _every_frame(draft: AreaDraft, shown: list[Any], where: str) -> Iterator[Shown]:
    """The boxes with the frames between them filled, where the earlier one is visible."""
    for place, (frame, box) in enumerate(shown):
        if box is None:
            continue
        yield frame, box
        if place + 1 == len(shown):
            return
        after, other = shown[place + 1]
        if after - frame > _MAX_GAP:
            raise draft.error(f"{where}: {after - frame} frames lie between two boxes")
        for between in range(frame + 1, after):
            share = (between - frame) / (after - frame)
            end = box if other is None else other  # an outside box ends the track where it last was
            yield between, tuple(a + share * (b - a) for a, b in zip(box, end, strict=True))


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
