"""Ego-Exo4D's keysteps: the annotations (`keystep_{train,val}.json`) and the recognition benchmark made from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gazetools.annotations.segment import Segment
from gazetools.schemas.base import nearest_name
from gazetools.schemas.downloads import egoexo_command
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.excerpt import excerpt
from gazetools.schemas.video_id import check_video_id

_KNOWN = (
    "Pass Ego-Exo4D's annotations/keystep_train.json or keystep_val.json, or keystep_benchmark/keystep_segment_*.json."
)


def keystep_segments(path: Path, document: Any, problems: list[str], *, labelled: bool) -> list[Segment]:
    """Every segment of a keystep file, in the file's order, in seconds of its take; unknown fields are ignored.

    There are two forms (docs.ego-exo4d-data.org, annotations/keystep and benchmarks/keystep):
    `{"annotations": {take_uid: {"take_name", "segments": [{"start_time", "end_time", "step_unique_id", ...}]}}}` and
    `{"segments": [{"take_name", "take_uid", "start_time", "end_time", "step_unique_id", ...}]}`.

    `problems` receives a text for every wrong segment; with `labelled`, one without `step_unique_id` is wrong.
    Raises DataFileError where `document` has neither form.
    """
    segments: list[Segment] = []
    for row, (where, take_name, number, entry) in enumerate(_entries(path, document, problems), start=1):
        try:
            segments.append(_segment(row, take_name, number, entry, labelled=labelled))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{where}: {f'no {error}' if isinstance(error, KeyError) else error}")
    return segments


def _entries(path: Path, document: Any, problems: list[str]) -> Iterator[tuple[str, Any, int, Any]]:
    """(where, take name, number, segment) of either form; `number` counts within the take, or within the flat form."""
    takes, flat = (document.get(k) if isinstance(document, dict) else None for k in ("annotations", "segments"))
    if isinstance(flat, list) and takes is None:
        for number, entry in enumerate(flat):
            yield f"segment {number}", entry.get("take_name") if isinstance(entry, dict) else None, number, entry
        return
    if not isinstance(takes, dict):
        near = nearest_name("annotations", list(document)) if isinstance(document, dict) else None
        nearest = f" (nearest key: {near})" if near else ""
        raise DataFileError(f"{path} has no object 'annotations'{nearest}; it is no keystep file.", hint=_KNOWN)
    for uid, take in takes.items():
        try:
            name, entries = check_video_id(take["take_name"]), take["segments"]
            if not isinstance(entries, list):
                raise TypeError("'segments' is no list")
        except (KeyError, TypeError, UsageError) as error:
            problems.append(f"take uid {excerpt(uid)}: {f'no {error}' if isinstance(error, KeyError) else error}")
            continue
        for number, entry in enumerate(entries):
            yield f"take {excerpt(name)}, segment {number}", name, number, entry


def _segment(row: int, take_name: Any, number: int, entry: Any, *, labelled: bool) -> Segment:
    if not isinstance(entry, dict):
        raise TypeError("it is no object")
    if not isinstance(take_name, str):
        raise KeyError("take_name")
    start, stop = _seconds(entry["start_time"]), _seconds(entry["end_time"])
    if stop < start:
        raise ValueError(f"end_time {stop} is before start_time {start}")
    step = entry["step_unique_id"] if labelled else entry.get("step_unique_id")
    if (labelled or step is not None) and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
        raise ValueError(f"step_unique_id = {excerpt(step)} is not a whole number >= 0")
    return Segment(
        row=row,
        video_id=check_video_id(take_name),
        start_seconds=start,
        stop_seconds=stop,
        classes={} if step is None else {"action": step},
        name=f"{take_name}@{start:.3f}",
        whole_take=True,
        title=f"{take_name} segment {number}",
    )


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{excerpt(value)} is no time in seconds")
    return float(value)


def download_command(path: Path) -> str:
    """The official downloader's command for a keystep file that should lie at `path`."""
    root = next((folder.parent for folder in path.absolute().parents if folder.name == "annotations"), None)
    return egoexo_command(root or "ROOT", "annotations", options="--benchmarks keystep")
