"""Areas from datasets' object boxes: EPIC-KITCHENS-55's object labels and Ego4D's short-term anticipation."""

from __future__ import annotations

import ast
from typing import Any

from gazetools.exchange.areas.area_boxes import AreaDraft
from gazetools.exchange.boxes import is_key, whole_number
from gazetools.io.tables import read_table
from gazetools.schemas.excerpt import excerpt

EPIC_SIZE = (1920.0, 1080.0)
"""Width and height to which EPIC-KITCHENS' boxes refer."""
EPIC_RATE = 60.0
"""Frames per second of EPIC-KITCHENS-55's extracted pictures, which count from 1."""
_MAX_CELL = 100_000


def add_epic(draft: AreaDraft) -> None:
    """Add `EPIC_train_object_labels.csv`: `noun, video_id, frame, bounding_boxes` = [(top, left, height, width), ...].

    The boxes refer to 1920x1080 pictures that were extracted at 60 per second, the first with the number 1, so that a
    picture's time is (frame - 1) / 60 s. Raises DataFileError for cells that do not fit.
    """
    table = read_table(draft.source, required=("noun", "video_id", "frame", "bounding_boxes"))
    frames = table.integers("frame")
    rows = zip(table.columns["noun"], table.columns["video_id"], table.columns["bounding_boxes"], strict=True)
    for row, (noun, video, cell) in enumerate(rows):
        for top, left, height, width in _boxes_in(draft, cell, table.lines[row]):
            draft.add(
                noun,
                (left, top, left + width, top + height),
                where=f"line {table.lines[row]}",
                video=video or None,
                seconds=(int(frames[row]) - 1) / EPIC_RATE,
                size_wh=EPIC_SIZE,
            )


def _boxes_in(draft: AreaDraft, cell: str, line: int) -> list[tuple[float, ...]]:
    try:
        value: Any = ast.literal_eval(cell) if len(cell) <= _MAX_CELL else None
        boxes = [tuple(float(number) for number in box) for box in value]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        boxes = [()]
    if any(len(box) != 4 for box in boxes):
        raise draft.error(f"line {line}: bounding_boxes is {excerpt(cell, 60)}, no list of (top, left, height, width)")
    if not boxes:
        draft.left_out["rows without a box"] += 1
    return boxes


def add_ego4d(draft: AreaDraft, document: Any) -> None:
    """Add the objects of `fho_sta_*.json`: `box` [xmin, ymin, xmax, ymax] at the `frame` of a whole video, from 0.

    `info.video_metadata` has each video's size, `noun_categories` the names. Raises DataFileError for other documents.
    """
    document = document if isinstance(document, dict) else {}
    info, annotations, nouns = (document.get(key) for key in ("info", "annotations", "noun_categories"))
    metadata = info.get("video_metadata") if isinstance(info, dict) else None
    if not isinstance(metadata, dict) or not isinstance(annotations, list):
        raise draft.error("no fho_sta document: info.video_metadata and annotations are missing")
    if not isinstance(nouns or [], list):
        raise draft.error(f"noun_categories is {excerpt(nouns)}, no list")
    names = {
        one["id"]: str(one.get("name", "")) for one in nouns or [] if isinstance(one, dict) and is_key(one.get("id"))
    }
    for number, one in enumerate(annotations):
        where = f"annotation {number}"
        try:
            video = str(one.get("video_uid") or one["video_id"])
            size = float(metadata[video]["frame_width"]), float(metadata[video]["frame_height"])
            frame = whole_number(one["frame"])
            if frame is None or frame < 0:
                raise ValueError(f"the frame {one['frame']} is no whole number from 0")
            objects = list(one.get("objects") or [])
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise draft.error(
                f"{where}: {type(error).__name__} {excerpt(error, 60)} in its video, size or frame"
            ) from None
        if not objects:
            draft.left_out["annotations without objects"] += 1
        for thing in objects:
            try:
                x0, y0, x1, y1 = (float(value) for value in thing["box"])
                noun = thing["noun_category_id"]
                if not is_key(noun):
                    raise TypeError("no id")
            except (KeyError, TypeError, ValueError, OverflowError):
                raise draft.error(f"{where}: an object has no box of four numbers, or no noun") from None
            name = names.get(noun, str(noun))
            draft.add(name, (x0, y0, x1, y1), where=where, video=video, frame=frame, size_wh=size)
