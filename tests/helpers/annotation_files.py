"""Head boxes as annotation tools write them, made from rows by other code than the product's.

Shapes of the files: cocodataset.org/#format-data and CVAT's COCO exporter (attributes.track_id), CocoVID (frame_id,
instance_id), cvat/apps/dataset_manager/formats/cvat.py, labelstud.io/tags/videorectangle, Ultralytics' save_txt and
the readme of wider_face_split.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Row = tuple[int, int, float, float, float, float]
"""frame from 0, person, xmin, ymin, xmax, ymax in pixels"""
SIZE = (480, 270)


def coco(
    rows: Iterable[Row],
    *,
    name: Callable[[int], str] = "frame_{:06d}.png".format,
    person: str | None = "attributes",
    frame_key: str | None = None,
    scale: float = 1.0,
    frames: int = 12,
    categories: Sequence[str] = ("head",),
    **more: Any,
) -> str:
    """COCO's JSON with one image per frame; `person`: key of the track, or `attributes`, or None."""
    annotations = []
    for number, (frame, track, x1, y1, x2, y2) in enumerate(rows, 1):
        box = [x1 * scale, y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale]
        entry: dict[str, Any] = {"id": number, "image_id": frame + 7, "category_id": 1, "bbox": box, "iscrowd": 0}
        entry |= {"segmentation": [[1, 2, 3, 4, 5, 6]], "area": box[2] * box[3]}
        if person == "attributes":
            entry["attributes"] = {"occluded": False, "track_id": track, "keyframe": True}
        elif person:
            entry[person] = track
        annotations.append(entry)
    width, height = (round(side * scale) for side in SIZE)
    images = [
        {"id": frame + 7, "file_name": name(frame), "width": width, "height": height}
        | ({frame_key: frame} if frame_key else {})
        for frame in range(frames)
    ]
    labels = [{"id": number, "name": label} for number, label in enumerate(categories, 1)]
    document = {"licenses": [{"name": ""}], "info": {}, "categories": labels, "images": images}
    return json.dumps({**document, "annotations": annotations, **more})


def cvat_video(rows: Iterable[Row], *, label: str = "head", attribute: bool = False, more: str = "") -> str:
    """CVAT for video 1.1: a track per person, whose id CVAT chose anew where `attribute` has the person."""
    people: dict[int, list[Row]] = {}
    for row in rows:
        people.setdefault(row[1], []).append(row)
    tracks = []
    for number, (person, boxes) in enumerate(people.items()):
        inner = f'<attribute name="track_id">{person}</attribute>' if attribute else ""
        shapes = [
            f'<box frame="{f}" keyframe="{int(f % 5 == 0)}" outside="0" occluded="1" xtl="{x1:.2f}" ytl="{y1:.2f}" '
            f'xbr="{x2:.2f}" ybr="{y2:.2f}" z_order="0">{inner}</box>'
            for f, _, x1, y1, x2, y2 in boxes
        ]
        end = f'<box frame="{boxes[-1][0] + 1}" keyframe="1" outside="1" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2"/>'
        track_id = number if attribute else person
        tracks.append(f'<track id="{track_id}" label="{label}" source="manual">{"".join(shapes)}{end}</track>')
    meta = "<meta><task><id>9</id><name>n</name><original_size><width>480</width><height>270</height></original_size>"
    return f"{XML}<annotations><version>1.1</version>{meta}</task></meta>{''.join(tracks)}{more}</annotations>"


XML = '<?xml version="1.0" encoding="utf-8"?>\n'


def cvat_images(rows: Iterable[Row], *, name: Callable[[int], str] = "frame_{:06d}".format, frames: int = 12) -> str:
    """CVAT for images 1.1 of a video's task: an image per frame, the person as attribute of each box."""
    boxes: dict[int, str] = dict.fromkeys(range(frames), "")
    for frame, track, x1, y1, x2, y2 in rows:
        boxes[frame] += (
            f'<box label="head" source="manual" occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0">'
            f'<attribute name="track_id">{track}</attribute></box>'
        )
    images = "".join(
        f'<image id="{frame}" name="{name(frame)}" width="480" height="270">{inner}</image>'
        for frame, inner in boxes.items()
    )
    return f"{XML}<annotations><version>1.1</version><meta><task><id>9</id></task></meta>{images}</annotations>"


def region(name: str, rows: Sequence[Row], *, last_enabled: bool = False, frames: int = 12, label: str = "head") -> Any:
    """A region of Label Studio with a keyframe per row, in percent, frames from 1."""
    sequence = [
        {
            "frame": f + 1,
            "enabled": last_enabled or row != len(rows),
            "rotation": 0,
            "x": x1 / 4.8,
            "y": y1 / 2.7,
            "width": (x2 - x1) / 4.8,
            "height": (y2 - y1) / 2.7,
            "time": f / 24,
        }
        for row, (f, _, x1, y1, x2, y2) in enumerate(rows, 1)
    ]
    value = {"framesCount": frames, "duration": frames / 24, "sequence": sequence, "labels": [label]}
    common = {"origin": "manual", "from_name": "box", "to_name": "video"}
    return {"id": name, "type": "videorectangle", "value": value, **common}


def task(video: str, regions: Sequence[Any], *, kind: str = "annotations", **more: Any) -> Any:
    """A task of Label Studio's JSON export."""
    return {
        "id": 3,
        kind: [{"id": 5, "was_cancelled": False, "result": list(regions), **more}],
        "data": {"video": video},
    }


def write_yolo(
    folder: Path, rows: Iterable[Row], template: str, *, name: str = "{:06d}.txt", count_from: int = 0
) -> None:
    """A label file per frame; `template` with cx, cy, w, h in 0..1 and t, the person."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[int, list[str]] = {}
    for frame, track, *box in rows:
        lines.setdefault(frame, []).append(yolo_line(track, box, template))
    for frame, texts in lines.items():
        (folder / name.format(frame + count_from)).write_text("\n".join(texts) + "\n")


def yolo_line(track: int, box: Sequence[float], template: str) -> str:
    """One line of a label file."""
    x1, y1, x2, y2 = box
    sides = {"cx": (x1 + x2) / 960, "cy": (y1 + y2) / 540, "w": (x2 - x1) / 480, "h": (y2 - y1) / 270}
    return template.format(t=track, **{key: repr(side) for key, side in sides.items()})


def wider(rows: Iterable[Row], *, frames: int = 12) -> str:
    """WIDER FACE's list of one face per picture, names from 1; frame 3 has none."""
    faces = {row[0]: row[2:] for row in rows}
    text = ""
    for frame in range(frames):
        text += f"clip/{frame + 1:05d}.jpg\n"
        if frame in faces:
            x1, y1, x2, y2 = faces[frame]
            text += f"1\n{x1} {y1} {x2 - x1} {y2 - y1} 0 0 0 0 0 0 \n"
        else:
            text += "0\n0 0 0 0 0 0 0 0 0 0 \n"
    return text
