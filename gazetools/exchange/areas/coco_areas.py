"""Areas from COCO JSON: `images`, `categories`, `annotations` with `bbox` [x, y, width, height] in pixels."""

from __future__ import annotations

import math
import re
from typing import Any

from gazetools.exchange.areas.area_boxes import FIXED, AreaDraft
from gazetools.exchange.boxes import is_key, whole_number
from gazetools.exchange.names import folder_of, last_number
from gazetools.schemas.excerpt import excerpt

_FRAME = ("frame_id", "frame_index", "frame_number", "frame")
"""Keys of an image that say its frame, as CVAT, TAO and CocoVID write them."""


def add_coco(draft: AreaDraft, document: Any, *, first: int) -> None:
    """Add the annotations, named by their category, at the size of their image.

    A file with one image holds for all frames. Else an image's frame is its `frame_id` (or another of `_FRAME`), or the
    last number in its `file_name`, less `first`; its video is the name of its `video_id` in `videos`, or the folder in
    its `file_name` where there are several. Raises DataFileError for documents of another form and images without a
    frame.
    """
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key, []), list) for key in ("images", "annotations", "categories", "videos")
    ):
        raise draft.error("no COCO document: images, annotations and categories are lists")
    names = {key: str(entry.get("name", "")) for key, entry in _by_id(draft, document, "categories").items()}
    videos = {key: str(entry.get("name", "")) for key, entry in _by_id(draft, document, "videos").items()}
    images = _by_id(draft, document, "images")
    folders = {folder_of(str(image.get("file_name", ""))) for image in images.values()}
    places = {key: _place(draft, image, first, alone=len(images) == 1) for key, image in images.items()}
    for number, one in enumerate(_objects(document, "annotations")):
        where = f"annotation {excerpt(one.get('id', number), 40)}"
        box = one.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            draft.left_out["annotations without a bbox"] += 1
            continue
        if not is_key(one.get("image_id")) or one["image_id"] not in places:
            raise draft.error(f"{where}: its image {excerpt(one.get('image_id'), 40)} is not listed")
        if not is_key(one.get("category_id")) or one["category_id"] not in names:
            raise draft.error(f"{where}: its category {excerpt(one.get('category_id'), 40)} is not listed")
        try:
            x, y, width, height = (float(value) for value in box)
        except (TypeError, ValueError, OverflowError):
            raise draft.error(f"{where}: the bbox {excerpt(box)} has something that is no number") from None
        frame, size = places[one["image_id"]]
        image = images[one["image_id"]]
        folder = folder_of(str(image.get("file_name", ""))) if len(folders) > 1 else ""
        named = videos.get(image["video_id"]) if is_key(image.get("video_id")) else None
        video = named or folder or None
        draft.add(
            names[one["category_id"]],
            (x, y, x + width, y + height),
            where=where,
            video=None if video is None else re.sub(r"\.\w{2,4}$", "", video),
            frame=frame,
            size_wh=size,
        )


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [entry for entry in document.get(key, []) if isinstance(entry, dict)]


def _by_id(draft: AreaDraft, document: dict[str, Any], key: str) -> dict[object, dict[str, Any]]:
    found: dict[object, dict[str, Any]] = {}
    for entry in _objects(document, key):
        if not is_key(entry.get("id")):
            raise draft.error(f"an entry of '{key}' is {excerpt(entry)}, which has no id")
        found[entry["id"]] = entry
    return found


def _place(draft: AreaDraft, image: dict[str, Any], first: int, *, alone: bool) -> tuple[int, tuple[float, float]]:
    """(frame, size) of an image."""
    name = str(image.get("file_name", ""))
    where = f"image {excerpt(name or image.get('id'), 60)}"
    try:
        size = float(image["width"]), float(image["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise draft.error(f"{where}: it has no width and height in numbers") from None
    if not all(0 < side < math.inf for side in size):
        raise draft.error(f"{where}: its size {size[0]:g}x{size[1]:g} is none")
    if alone:
        return FIXED, size
    given = next((frame for key in _FRAME if (frame := whole_number(image.get(key))) is not None), None)
    number = last_number(name) if given is None else given
    if number is None:
        raise draft.error(f"{where}: no number in its name says which frame it is")
    if number < first:
        raise draft.error(f"{where}: frame {number} comes before the first frame, {first}")
    return number - first, size
