"""COCO's JSON: boxes read from it, boxes and gaze points written.

Keys as in cocodataset.org/#format-data; `track_id`, `instance_id` and `videos` as CVAT, TAO and CocoVID add them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.exchange.boxes import (
    MAX_BYTES,
    BoxCollector,
    ForeignBoxes,
    FrameRule,
    Wanted,
    chosen_video,
    frames_of_pictures,
    is_coordinate,
    is_key,
    whole_number,
)
from gazetools.exchange.names import folder_of
from gazetools.io.json_stream import stream_json
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

_PERSON = ("track_id", "instance_id", "tracking_id", "person_id", "object_id")
_FRAME = ("frame_id", "frame_index", "frame_number", "frame")
FIRST_FRAME = "first_frame"
"""Key of `info` in files of ours: number of the video's first frame."""


@dataclass
class _Picture:
    name: str
    video: object
    size: tuple[int, int] | None
    frame: int | None


@dataclass
class _Parts:
    """What stands outside the annotations."""

    pictures: dict[object, _Picture] = field(default_factory=dict)
    labels: dict[object, str] = field(default_factory=dict)
    videos: dict[object, str] = field(default_factory=dict)
    first_frame: int | None = None


@dataclass
class _Columns:
    """Annotations as they come, before it is known which pictures and labels they have."""

    boxes: BoxCollector
    pictures: dict[object, int] = field(default_factory=dict)
    """Image id -> its place, which stands for the frame until all pictures are known."""
    count: int = 0


def read_coco(path: Path, wanted: Wanted) -> ForeignBoxes:
    """The boxes of one video; a frame is the number of its picture. HeadsError or DataFileError for what is wrong."""
    parts, columns = _Parts(), _Columns(BoxCollector(path, "annotation"))
    for key, value in stream_json(path, max_bytes=MAX_BYTES):
        if key == "annotations":
            columns.count += 1
            _add_annotation(path, columns, value)
        elif key == "":
            raise HeadsError(
                f"{path} is JSON in the form of COCO's results, a list without 'images': nothing says which frame an "
                "image_id is. Its bbox is x,y,width,height (xmax = x + width).",
                hint="Put it as 'annotations' into an object that also has 'images' (id, file_name) and 'categories'.",
            )
        else:
            _take_part(path, parts, key, value)
    if not parts.pictures:
        raise HeadsError(
            f"{path} is JSON in COCO's form without 'images': nothing says which frame an image_id is. Its bbox is "
            "x,y,width,height (xmax = x + width).",
            hint="Add 'images' with id, file_name, width and height, or write a CSV with the header "
            "frame,track_id,xmin,ymin,xmax,ymax.",
        )
    return _of_one_video(path, parts, columns, wanted)


def _take_part(path: Path, parts: _Parts, key: str, value: Any) -> None:
    if key == "info" and isinstance(value, dict) and value.get(FIRST_FRAME) in (0, 1):
        parts.first_frame = value[FIRST_FRAME]
    if key not in {"images", "categories", "videos"}:
        return
    if not isinstance(value, dict) or "id" not in value or not is_key(value["id"]):
        raise HeadsError(f"{path}: an entry of '{key}' is {excerpt(value)}, no object with an 'id'.")
    if key == "images":
        sizes = tuple(whole_number(value.get(side)) or 0 for side in ("width", "height"))
        numbers = [number for name in _FRAME if (number := whole_number(value.get(name))) is not None]
        parts.pictures[value["id"]] = _Picture(
            name=str(value.get("file_name", "")),
            video=value["video_id"] if is_key(value.get("video_id")) else None,
            size=(sizes[0], sizes[1]) if min(sizes) > 0 else None,
            frame=numbers[0] if numbers else None,
        )
    else:
        names = parts.labels if key == "categories" else parts.videos
        names[value["id"]] = str(value.get("name", value.get("file_name", value["id"])))


def _add_annotation(path: Path, columns: _Columns, entry: Any) -> None:
    """One annotation; its category id stands for the label and its image's place for the frame until all is read."""
    number = columns.count
    if not isinstance(entry, dict) or not is_key(entry.get("image_id")):
        raise HeadsError(f"{path}, annotation {number} is {excerpt(entry)}, no object with an image_id.")
    box = entry.get("bbox")
    if box is None or box == []:
        columns.boxes.leave_out("without a bbox")
        return
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_coordinate, box)):
        raise HeadsError(f"{path}, annotation {number}: bbox is {excerpt(box)}, not [x, y, width, height].")
    if entry.get("iscrowd") == 1:
        columns.boxes.leave_out("of crowds (iscrowd)")
        return
    x, y, width, height = map(float, box)
    if not any(box):
        columns.boxes.leave_out("whose box is 0,0,0,0")
        return
    place = columns.pictures.setdefault(entry["image_id"], len(columns.pictures))
    label = entry.get("category_id")
    columns.boxes.add(
        place, _person_of(entry), "" if label is None else repr(label), (x, y, x + width, y + height), number
    )


def _person_of(entry: Mapping[str, Any]) -> object:
    """The person that an annotation, or its `attributes`, names; None: none."""
    attributes = entry.get("attributes")
    for source in (entry, attributes if isinstance(attributes, dict) else {}):
        for name in _PERSON:
            if name in source and is_key(value := source[name]):
                return value
    return None


def _of_one_video(path: Path, parts: _Parts, columns: _Columns, wanted: Wanted) -> ForeignBoxes:
    unknown = [key for key in columns.pictures if key not in parts.pictures]
    if unknown:
        raise HeadsError(
            f"{path}: image_id {excerpt(unknown[0])} of an annotation is not in 'images' ({len(unknown)} such ids)."
        )
    by_video = _by_video(parts)
    video, notes = chosen_video(path, by_video, wanted)
    pictures = by_video[video]
    rule = _rule(path, parts, pictures, wanted)
    names = {repr(key): name for key, name in parts.labels.items()}
    columns.boxes.rename_labels(lambda label: names.get(label, label))
    frames = {place: rule.frames[key] for key, place in columns.pictures.items() if key in pictures}
    columns.boxes.move_frames(frames, "of other videos")
    sizes = {picture.size for picture in pictures.values()} - {None}
    if len(sizes) > 1:
        raise HeadsError(
            f"{path}: its pictures have {len(sizes)} sizes, such as {' and '.join(map(_size, sorted(sizes)[:2]))}; "  # type: ignore[type-var]
            "those of a video have one.",
            hint="Export the pictures of one video.",
        )
    boxes = columns.boxes.table(wanted, f"bbox x, y, width, height; frame: {rule.words}", person_word="track_id")
    boxes.counts, boxes.picture = rule.counts, next(iter(sizes), None)
    boxes.notes = [*notes, *boxes.notes]
    return boxes


def _by_video(parts: _Parts) -> dict[str, dict[object, _Picture]]:
    """Pictures by the name of their video: of `videos`, or the folder of the picture's name."""
    found: dict[str, dict[object, _Picture]] = {}
    for key, picture in parts.pictures.items():
        name = folder_of(picture.name) if picture.video is None else parts.videos.get(picture.video)
        found.setdefault(str(picture.video) if name is None else name, {})[key] = picture
    return found


def _size(size: tuple[int, int] | None) -> str:
    return "unknown" if size is None else f"{size[0]}x{size[1]}"


def _rule(path: Path, parts: _Parts, pictures: Mapping[object, _Picture], wanted: Wanted) -> FrameRule:
    given = {key: picture.frame for key, picture in pictures.items() if picture.frame is not None}
    if len(given) == len(pictures):
        counts = (0, 1) if parts.first_frame is None else (parts.first_frame,)
        return FrameRule(given, counts, "frame number of its image")
    return frames_of_pictures(path, {key: picture.name for key, picture in pictures.items()}, wanted)


def coco_videos(path: Path) -> list[str]:
    """Names of the videos of a file, as `read_coco` finds them. DataFileError or HeadsError where it can't be read."""
    parts = _Parts()
    for key, value in stream_json(path, max_bytes=MAX_BYTES):
        _take_part(path, parts, key, value)
    return list(_by_video(parts))
