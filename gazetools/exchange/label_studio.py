"""Label Studio's JSON of annotated videos: boxes read from it.

Keys as in labelstud.io/guide/task_format and labelstud.io/tags/videorectangle. A box is in percent of the picture and
frames count from 1. Between two keyframes a box moves on a straight line; a keyframe with `enabled: false` is shown
itself and ends the box until the next one; the last one otherwise holds until `framesCount` (`VideoRegion.js`, and
`extract_key_frames` of label_studio_sdk).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.exchange.boxes import (
    MAX_BOXES,
    MAX_BYTES,
    BoxCollector,
    ForeignBoxes,
    Wanted,
    chosen_video,
    is_coordinate,
    whole_number,
)
from gazetools.io.json_stream import stream_json
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

PERSON = "head-"
"""What ids of regions of ours begin with, before the person's number."""
FRAMES_FROM = 1
_REGION = "videorectangle"
_MAX_TASK = 256 << 20
"""Characters of one task, which is read whole: about 1.4 million keyframes."""
_SIDES = ("x", "y", "width", "height")


def read_label_studio(path: Path, wanted: Wanted) -> ForeignBoxes:
    """The boxes of one video in every frame, from 1. HeadsError or DataFileError for what is wrong."""
    tasks: dict[str, Mapping[str, Any]] = {}
    for key, task in stream_json(path, max_bytes=MAX_BYTES, max_item=_MAX_TASK):
        if key or not isinstance(task, dict) or not task.keys() & {"annotations", "predictions"}:
            raise HeadsError(
                f"{path} is JSON like Label Studio's, but no list of tasks with 'annotations' or 'predictions'.",
                hint="Export the project as 'JSON', or write a CSV with the header frame,track_id,xmin,ymin,xmax,ymax.",
            )
        name = _video_of(task)
        if name in tasks:
            raise HeadsError(
                f"{path} has two tasks of the video {excerpt(name)}.", hint="Keep one of them in the export."
            )
        if wanted.video_id is None or not tasks or _may_be(name, wanted.video_id):
            tasks[name] = task
        else:
            tasks[name] = {}  # another video's: its name is enough
    name, notes = chosen_video(path, tasks, wanted)
    collector = BoxCollector(path, "keyframe")
    regions, more = _regions(path, tasks[name])
    for region, label in regions:
        _add_region(collector, region, label)
    boxes = collector.table(wanted, "x, y, width, height", person_word="region")
    boxes.units, boxes.counts = "percent", (FRAMES_FROM,)
    boxes.notes = [*notes, *more, *boxes.notes]
    if boxes.interpolated:
        boxes.notes.append(
            f"{boxes.interpolated} of its boxes lie between keyframes, on straight lines, as Label Studio shows them"
        )
    return boxes


def _may_be(name: str, video_id: str) -> bool:
    from gazetools.exchange.names import matching_videos

    return bool(matching_videos([name], video_id))


def _video_of(task: Mapping[str, Any]) -> str:
    """Address or file of the task's video; "" where it has none."""
    data = task.get("data")
    texts = {
        str(key): value for key, value in (data if isinstance(data, dict) else {}).items() if isinstance(value, str)
    }
    found = texts.get("video") or next((value for key, value in texts.items() if "video" in key.lower()), "")
    return found or str(task.get("file_upload", ""))


def _regions(path: Path, task: Mapping[str, Any]) -> tuple[list[tuple[Mapping[str, Any], str]], list[str]]:
    """Regions of the task with their labels: of its one annotation, or where there is none of its one prediction."""
    notes: list[str] = []
    entries = [one for one in _dicts(task.get("annotations")) if not one.get("was_cancelled")]
    if truths := [one for one in entries if one.get("ground_truth")]:
        entries = truths
    if not entries:
        entries = list(_dicts(task.get("predictions")))
        notes = ["the task has no annotation: its prediction is read"] if entries else []
    if len(entries) > 1:
        raise HeadsError(
            f"{path}: the task has {len(entries)} annotations, and one person's box must be said once.",
            hint="Mark one of them as ground truth in Label Studio, or delete the others, and export again.",
        )
    results = [one for entry in entries for one in _dicts(entry.get("result"))]
    if results and not any(str(one.get("type")).lower() == _REGION for one in results):
        kinds = sorted({str(one.get("type")) for one in results})
        raise HeadsError(
            f"{path}: the task has no region of the type {_REGION}; it has {excerpt(', '.join(kinds))}.",
            hint="Boxes of single pictures are not read; annotate the video with <VideoRectangle>.",
        )
    labels: dict[object, str] = {}
    for one in results:
        value = one.get("value")
        for name in ("labels", "rectanglelabels", "videorectanglelabels"):
            if isinstance(value, dict) and isinstance(value.get(name), list) and value[name]:
                labels.setdefault(str(one.get("id")), str(value[name][0]))
    boxes = [one for one in results if str(one.get("type")).lower() == _REGION]
    return [(one, labels.get(str(one.get("id")), "")) for one in boxes], notes


def _dicts(value: object) -> Iterator[Mapping[str, Any]]:
    return (one for one in (value if isinstance(value, list) else []) if isinstance(one, dict))


def _add_region(collector: BoxCollector, region: Mapping[str, Any], label: str) -> None:
    """Add the boxes of one region in every frame."""
    value = region.get("value")
    person = region.get("id")
    if isinstance(person, str) and person.startswith(PERSON) and whole_number(person.removeprefix(PERSON)) is not None:
        person = person.removeprefix(PERSON)
    if not isinstance(value, dict) or not isinstance(value.get("sequence"), list):
        raise HeadsError(f"{collector.path}: the region {excerpt(person)} has no 'sequence' of keyframes.")
    keys = _keyframes(collector, value["sequence"], person)
    if not len(keys):
        return
    last = whole_number(value.get("framesCount")) or int(keys[-1, 0])
    frames, boxes = _in_every_frame(keys, last)
    if len(collector) + len(frames) > MAX_BOXES:
        raise HeadsError(f"{collector.path} has more than {MAX_BOXES:,} boxes (framesCount is {last:,}).")
    place, own = len(collector), np.isin(frames, keys[:, 0])
    key = None if person is None else str(person)
    for number, (frame, (x, y, width, height), is_key) in enumerate(
        zip(frames.tolist(), boxes.tolist(), own.tolist(), strict=True), place + 1
    ):
        collector.add(frame, key, label, (x, y, x + width, y + height), number, interpolated=not is_key)


def _keyframes(collector: BoxCollector, sequence: list[Any], person: object) -> npt.NDArray[np.float64]:
    """[K, 6] frame, x, y, width, height, enabled; ascending, each frame once."""
    rows: dict[int, tuple[float, ...]] = {}
    for entry in sequence:
        frame = whole_number(entry.get("frame")) if isinstance(entry, dict) else None
        if frame is None:
            raise HeadsError(f"{collector.path}, region {excerpt(person)}: the keyframe {excerpt(entry)} has no frame.")
        sides = [entry.get(side) for side in _SIDES]
        if not all(map(is_coordinate, sides)):
            raise HeadsError(
                f"{collector.path}, region {excerpt(person)}, frame {frame}: x, y, width, height are {excerpt(sides)}, "
                "not four numbers."
            )
        if entry.get("rotation") not in (None, 0, 360):
            raise HeadsError(
                f"{collector.path}, region {excerpt(person)}, frame {frame}: the box is turned by "
                f"{excerpt(entry['rotation'])} degrees; a head's box is upright.",
                hint="Set its rotation to 0 in Label Studio and export again.",
            )
        if not any(sides):
            collector.leave_out("whose box is 0,0,0,0")
            continue
        if frame in rows:
            collector.leave_out("of a frame that has a later keyframe")
        rows[frame] = (frame, *map(float, sides), float(entry.get("enabled", True) is not False))
    return np.array([rows[frame] for frame in sorted(rows)], np.float64).reshape(-1, 6)


def _in_every_frame(keys: npt.NDArray[np.float64], last: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Frames [N] and boxes [N, 4] of a region that ends with frame `last`.

    >>> keys = np.array([[1, 0, 0, 10, 10, 1], [3, 20, 0, 10, 10, 0], [7, 50, 0, 10, 10, 1]], np.float64)
    >>> _in_every_frame(keys, 8)[0].tolist(), _in_every_frame(keys, 8)[1][:, 0].tolist()
    ([1, 2, 3, 7, 8], [0.0, 10.0, 20.0, 50.0, 50.0])
    """
    frame = keys[:, 0].astype(np.int64)
    following = np.append(frame[1:], max(last + 1, int(frame[-1]) + 1))
    length = np.where(keys[:, 5] > 0, following - frame, 1)
    if int(length.sum()) > MAX_BOXES:
        return np.zeros(MAX_BOXES + 1, np.int64), np.zeros((MAX_BOXES + 1, 4))
    place = np.repeat(np.arange(len(frame)), length)
    step = np.arange(len(place)) - np.repeat(np.cumsum(length) - length, length)
    after = np.minimum(place + 1, len(frame) - 1)
    span = np.maximum(frame[after] - frame[place], 1)
    share = np.where(after > place, step / span, 0.0)[:, None]
    boxes = keys[place, 1:5]
    return frame[place] + step, np.where(share > 0, boxes + share * (keys[after, 1:5] - boxes), boxes)


def label_studio_videos(path: Path) -> list[str]:
    """Names of the videos of a file. DataFileError where it can't be read."""
    tasks = (task for key, task in stream_json(path, max_bytes=MAX_BYTES, max_item=_MAX_TASK) if not key)
    return list(dict.fromkeys(_video_of(task) for task in tasks if isinstance(task, dict)))
