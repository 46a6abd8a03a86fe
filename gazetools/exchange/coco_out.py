"""Boxes and gaze points as COCO's JSON: category `head` with the keypoint `gaze`.

Keys as in cocodataset.org/#format-data, section keypoint detection; `videos`, `video_id` and `track_id` as in TAO.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import numpy as np

from gazetools.exchange.coco import FIRST_FRAME
from gazetools.exchange.exporting import BoxLayout
from gazetools.exchange.people import StoredPeople, nine_digits

_IMAGES, _HEAD = 1, 1
"""Id of the video and of the category."""


def _write(file: TextIO, people: StoredPeople) -> None:
    info = {"description": f"Head boxes and gaze points of {people.video_id}", "version": "1.0", FIRST_FRAME: 0}
    video = {"id": _IMAGES, "name": people.video_id, "width": people.width, "height": people.height}
    category = {"id": _HEAD, "name": "head", "supercategory": "person", "keypoints": ["gaze"], "skeleton": []}
    parts: dict[str, Iterable[dict[str, Any]]] = {
        "videos": [{**video, "file_name": people.file_name, "frame_count": people.frame_count}],
        "categories": [category],
        "images": _images(people),
        "annotations": _annotations(people),
    }
    file.write('{"info": ' + json.dumps(info, ensure_ascii=False))
    for name, entries in parts.items():
        file.write(f',\n"{name}": [')
        for number, entry in enumerate(entries):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False))
        file.write("\n]")
    file.write("}\n")


def _images(people: StoredPeople) -> Iterator[dict[str, Any]]:
    size = {"width": people.width, "height": people.height, "video_id": _IMAGES}
    for frame, pts in zip(people.index.tolist(), people.pts_seconds.tolist(), strict=True):
        name = f"{people.video_id}/frame_{frame:06d}.png"
        time = {"pts_seconds": pts} if math.isfinite(pts) else {}
        yield {"id": frame + 1, "file_name": name, **size, "frame_id": frame, **time}


def _annotations(people: StoredPeople) -> Iterator[dict[str, Any]]:
    side = np.array([people.width, people.height], np.float64)
    corner = people.box_xyxy[:, :2] * side
    size = people.box_xyxy[:, 2:] * side - corner
    points = people.gaze_xy * side
    for row, inside in enumerate(people.gaze_inside.tolist()):
        (width, height), track = size[row].tolist(), int(people.track_id[row])
        inout = float(people.inout[row])
        yield {
            "id": row + 1,
            "image_id": int(people.frame[row]) + 1,
            "category_id": _HEAD,
            "bbox": nine_digits([*corner[row], width, height]),
            "area": nine_digits([width * height])[0],
            "iscrowd": 0,
            "segmentation": [],
            "keypoints": [*nine_digits(points[row]), 2] if inside else [0, 0, 0],
            "num_keypoints": int(inside),
            "score": nine_digits([people.peak[row]])[0] if np.isfinite(people.peak[row]) else 0.0,
            "track_id": track,
            "attributes": {
                "track_id": track,
                "role": people.roles.get(track, "other"),
                "inout": None if math.isnan(inout) else nine_digits([inout])[0],
            },
        }


COCO = BoxLayout(
    name="coco",
    suffix=".json",
    write=_write,
    notes=(
        "Boxes come back bit for bit (--heads file:FOLDER); keypoint 'gaze' is the centre of the map's highest cell, "
        "score its value, visibility 0 where the in/out score says that the target is outside of the frame.",
        "Lost: the maps but for that point, roles of people (an attribute that is not read again).",
    ),
)
