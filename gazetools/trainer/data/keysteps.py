"""Ego-Exo4D's keystep annotations (`keystep_train.json`, `keystep_val.json`): one action id per segment of a take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazetools.io.json_files import read_json
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import check_video_id
from gazetools.trainer.data.annotations import ActionSegment, refuse_problems

MAX_JSON_BYTES = 1 << 30


def read_keysteps(path: Path) -> list[ActionSegment]:
    """Every segment of `{"annotations": {take_uid: {"take_name", "segments": [{"start_time", "end_time",
    "step_unique_id", ...}]}}}`; other fields are ignored.

    `video_id` of each segment is the take's name, times are seconds of the take. The test file has no labels and is
    refused. Raises DataFileError with every wrong segment (at most 20 shown).
    """
    document = read_json(path, max_bytes=MAX_JSON_BYTES)
    takes = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(takes, dict):
        near = nearest_name("annotations", list(document)) if isinstance(document, dict) else None
        raise DataFileError(
            f"{path} has no object 'annotations'"
            + (f" (nearest key: {near})" if near else "")
            + "; it is no keystep file.",
            hint="Pass Ego-Exo4D's annotations/keystep_train.json or keystep_val.json, or a CSV.",
        )
    segments: list[ActionSegment] = []
    problems: list[str] = []
    for uid, take in takes.items():
        for number, segment in enumerate(_segments_of(uid, take, problems)):
            try:
                segments.append(_segment(take["take_name"], segment, row=len(segments) + 1))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                problems.append(f"take {take['take_name']!r}, segment {number}: {reason}")
    refuse_problems(path, problems)
    if not segments:
        raise DataFileError(f"{path} has no segments.", hint="Pass annotations with at least one keystep.")
    return segments


def _segments_of(uid: str, take: Any, problems: list[str]) -> list[Any]:
    try:
        check_video_id(take["take_name"])
        if not isinstance(take["segments"], list):
            raise TypeError("'segments' is no list")
    except (KeyError, TypeError, UsageError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        problems.append(f"take uid {uid!r}: {reason}")
        return []
    return list(take["segments"])


def _segment(take_name: str, segment: Mapping[str, Any], *, row: int) -> ActionSegment:
    start, stop = _seconds(segment["start_time"]), _seconds(segment["end_time"])
    if stop <= start:
        raise ValueError(f"end_time {stop} is not after start_time {start}")
    action = segment["step_unique_id"]
    if isinstance(action, bool) or not isinstance(action, int) or action < 0:
        raise ValueError(f"step_unique_id = {action!r} is not a whole number >= 0")
    return ActionSegment(
        row=row,
        video_id=check_video_id(take_name),
        start_seconds=start,
        stop_seconds=stop,
        classes={"action": action},
        name=f"{take_name}@{start:.3f}",
    )


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no time in seconds")
    return float(value)
