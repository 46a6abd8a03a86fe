"""Ego-Exo4D's keysteps: the annotations (`keystep_{train,val}.json`) and the recognition benchmark made from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.io.json_files import read_json
from gazetools.io.tables import read_table
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import check_video_id

_MAX_JSON = 1 << 30
_MAX_SHOWN = 20
_KNOWN = (
    "Pass Ego-Exo4D's annotations/keystep_train.json or keystep_val.json, or keystep_benchmark/keystep_segment_*.json."
)


@dataclass(frozen=True, kw_only=True)
class Keystep:
    """One annotated step of a take."""

    take_name: str
    take_uid: str
    number: int
    """Place among the segments of the take (annotations) or of the file (benchmark), from 0."""
    start_seconds: float
    """In seconds of the take, [start, stop)."""
    stop_seconds: float
    step_unique_id: int | None
    """None in files without labels (the benchmark's test split)."""
    step_name: str


@dataclass(frozen=True, kw_only=True)
class KeystepLabel:
    """One row of the benchmark's label_mapping.csv."""

    label_id: int
    step_unique_id: int
    step_name: str


def read_keysteps(path: Path, *, labelled: bool = True) -> list[Keystep]:
    """Every segment of a keystep file, in the file's order; unknown fields are ignored.

    Two forms are told apart (docs.ego-exo4d-data.org, annotations/keystep and benchmarks/keystep):
    `{"annotations": {take_uid: {"take_name", "segments": [{"start_time", "end_time", "step_unique_id", ...}]}}}` and
    `{"segments": [{"take_name", "take_uid", "start_time", "end_time", "step_unique_id", ...}]}`.

    Args:
        path: the JSON file.
        labelled: a segment without `step_unique_id` is an error, as for training.

    Raises DataFileError with every wrong segment (at most 20 shown), or with the command that downloads the file.
    """
    if not path.exists():
        raise DataFileError(f"{path} does not exist.", hint=f"Get it with: {download_command(path)}", path=str(path))
    document = read_json(path, max_bytes=_MAX_JSON)
    problems: list[str] = []
    rows = _rows(path, document, problems)
    steps: list[Keystep] = []
    for where, take_uid, take_name, number, segment in rows:
        try:
            steps.append(_step(take_uid, take_name, number, segment, labelled=labelled))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{where}: {f'no {error}' if isinstance(error, KeyError) else error}")
    if problems:
        more = f" and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
        raise DataFileError(f"{path}: " + "; ".join(problems[:_MAX_SHOWN]) + f"{more}.", rows=problems[:1000])
    if not steps:
        raise DataFileError(f"{path} has no segments.", hint="Pass annotations with at least one keystep.")
    return steps


_Row = tuple[str, str, Any, int, Any]


def _rows(path: Path, document: Any, problems: list[str]) -> list[_Row]:
    """(where, take uid, take name, number, segment) of either form."""
    takes = document.get("annotations") if isinstance(document, dict) else None
    flat = document.get("segments") if isinstance(document, dict) else None
    if isinstance(flat, list) and takes is None:
        return [_flat_row(number, segment) for number, segment in enumerate(flat)]
    if not isinstance(takes, dict):
        near = nearest_name("annotations", list(document)) if isinstance(document, dict) else None
        raise DataFileError(
            f"{path} has no object 'annotations'"
            + (f" (nearest key: {near})" if near else "")
            + "; it is no keystep file.",
            hint=_KNOWN,
        )
    rows: list[_Row] = []
    for uid, take in takes.items():
        try:
            name, segments = check_video_id(take["take_name"]), take["segments"]
            if not isinstance(segments, list):
                raise TypeError("'segments' is no list")
        except (KeyError, TypeError, UsageError) as error:
            problems.append(f"take uid {uid!r}: {f'no {error}' if isinstance(error, KeyError) else error}")
            continue
        rows += [
            (f"take {name!r}, segment {number}", uid, name, number, segment) for number, segment in enumerate(segments)
        ]
    return rows


def _flat_row(number: int, segment: Any) -> _Row:
    facts = segment if isinstance(segment, dict) else {}
    return f"segment {number}", str(facts.get("take_uid", "")), facts.get("take_name"), number, segment


def _step(take_uid: str, take_name: Any, number: int, segment: Any, *, labelled: bool) -> Keystep:
    if not isinstance(segment, dict):
        raise TypeError("it is no object")
    if not isinstance(take_name, str):
        raise KeyError("take_name")
    start, stop = _seconds(segment["start_time"]), _seconds(segment["end_time"])
    if stop <= start:
        raise ValueError(f"end_time {stop} is not after start_time {start}")
    step = segment["step_unique_id"] if labelled else segment.get("step_unique_id")
    if (labelled or step is not None) and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
        raise ValueError(f"step_unique_id = {step!r} is not a whole number >= 0")
    return Keystep(
        take_name=check_video_id(take_name),
        take_uid=take_uid,
        number=number,
        start_seconds=start,
        stop_seconds=stop,
        step_unique_id=step,
        step_name=str(segment.get("step_name") or ""),
    )


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no time in seconds")
    return float(value)


def read_label_mapping(path: Path) -> dict[int, KeystepLabel]:
    """The benchmark's label_mapping.csv by step_unique_id; DataFileError names the row of a wrong or repeated cell."""
    if not path.exists():
        raise DataFileError(f"{path} does not exist.", hint=f"Get it with: {download_command(path)}", path=str(path))
    table = read_table(path, required=("label_id", "step_unique_id", "step_name"))
    labels, steps = table.integers("label_id"), table.integers("step_unique_id")
    found: dict[int, KeystepLabel] = {}
    for row, (label, step) in enumerate(zip(labels.tolist(), steps.tolist(), strict=True)):
        if step in found:
            raise table.error(row, "step_unique_id", f"{step} has two rows")
        found[step] = KeystepLabel(label_id=label, step_unique_id=step, step_name=table.columns["step_name"][row])
    return found


def download_command(path: Path) -> str:
    """The official downloader's command for a keystep file that should lie at `path`."""
    root = next((folder.parent for folder in path.absolute().parents if folder.name == "annotations"), None)
    return f"egoexo -o {root or 'ROOT'} --parts annotations --benchmarks keystep"
