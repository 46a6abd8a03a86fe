"""Boxes and gaze points as a task of Label Studio with a prediction: regions `head` and `gaze` for each person.

Keys as in labelstud.io/guide/predictions and labelstud.io/tags/videorectangle: percent of the picture, frames from 1.
Every row is a keyframe; the last one before a processed frame without the person is not `enabled`, which ends the box.
A video has no points there, so a gaze point is a box of one cell of the map.
"""

from __future__ import annotations

import json
from typing import Any, TextIO
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from gazetools.exchange.exporting import BoxLayout
from gazetools.exchange.label_studio import FRAMES_FROM, PERSON
from gazetools.exchange.people import StoredPeople, nine_digits

_GAZE = "gaze-"


def _write(file: TextIO, people: StoredPeople) -> None:
    folder = people.video_id.rpartition("/")[0]
    place = f"{folder}/{people.file_name}" if folder else people.file_name
    encoded = quote(place.encode("utf-8", "surrogateescape"))
    data = {"video": f"/data/local-files/?d={encoded}", "fps": float(people.rate), "video_id": people.video_id}
    file.write('[{"data": ' + json.dumps(data) + ',\n"predictions": [{"model_version": "gazetools", "result": [')
    count = 0
    for track in np.unique(people.track_id).tolist():
        rows = people.rows_of(track)
        inside = rows[people.gaze_inside[rows]]
        half = np.array(people.cell) / 2
        spots = np.column_stack([people.gaze_xy[inside] - half, people.gaze_xy[inside] + half])
        for name, chosen, boxes in ((PERSON, rows, people.box_xyxy[rows]), (_GAZE, inside, spots)):
            if len(chosen):
                file.write(",\n" if count else "\n")
                _write_region(file, people, f"{name}{track}", chosen, boxes)
                count += 1
    file.write("\n]}]}]\n")


def _write_region(
    file: TextIO,
    people: StoredPeople,
    name: str,
    rows: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float64],
) -> None:
    """One region: `rows` [n] of a track and their boxes [n, 4] in 0..1."""
    frames = people.frame[rows]
    pts = people.pts_seconds[np.searchsorted(people.index, frames)]
    times = np.nan_to_num(pts - people.pts_seconds[0]) if len(people.pts_seconds) else pts
    enabled = ~people.ends(frames)
    region: dict[str, Any] = {
        "id": name,
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": {
            "framesCount": people.frame_count,
            "duration": float(people.frame_count / people.rate) if people.rate else 0.0,
            "labels": [name.rpartition("-")[0] if name.startswith(_GAZE) else PERSON.rstrip("-")],
        },
    }
    text = json.dumps(region)
    file.write(text.removesuffix("}}") + ', "sequence": [')
    sides = np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]) * 100
    for number, (frame, time, on, numbers) in enumerate(
        zip(frames.tolist(), times.tolist(), enabled.tolist(), sides.tolist(), strict=True)
    ):
        x, y, width, height = nine_digits(numbers)
        box = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
        keyframe = {"frame": frame + FRAMES_FROM, "enabled": on, "time": round(time, 6), **box}
        file.write(("," if number else "") + "\n" + json.dumps(keyframe))
    file.write("]}}")


LABEL_STUDIO = BoxLayout(
    name="label-studio",
    suffix=".json",
    write=_write,
    notes=(
        "Boxes come back bit for bit (--heads file:FOLDER), with further ones in frames between processed ones. Label "
        "Studio counts frames by a constant rate: in a video whose rate varies its frames are not the decoded ones.",
        "The region 'gaze' is a box of one cell around the map's highest value, as a video has no points there. Lost: "
        "the maps but for that point, its value, in/out scores, points of targets outside of the frame, roles.",
    ),
)
