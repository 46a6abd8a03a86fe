"""One reader of annotated actions for `train` and `validate`: EPIC-KITCHENS-style CSV, keystep JSON, Ego4D LTA JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from gazetools.annotations import ego4d, keysteps
from gazetools.annotations.segment import (
    Segment,
    csv_lines,
    missing_columns,
    named_cells,
    nearest_columns,
    refuse_problems,
)
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names
from gazetools.schemas.video_id import check_video_id

MAX_ROWS = 5_000_000
_MAX_JSON = 1 << 30
_TIME_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp")
_VERB_NOUN = ("verb_class", "noun_class")
_ACTION = "action_class"
_OPTIONAL = ("narration_id", "participant_id", "start_frame", "stop_frame")


def read_segments(path: Path, *, labelled: bool = True) -> list[Segment]:
    """Every action of an annotation file, in the file's order.

    - CSV with the columns video_id, start_timestamp, stop_timestamp and verb_class, noun_class (or action_class), in
      any order, with any others between; timestamps are `HH:MM:SS.ss` or seconds,
    - Ego-Exo4D's `keystep_{train,val}.json` and `keystep_segment_*.json`; their segments are of whole takes,
    - Ego4D's `fho_lta_*.json`; JSON kinds are recognised by their content.

    With `labelled`, as for training, a row without class ids is an error; else it has no `classes`.

    Raises DataFileError where the file is missing, empty or of another kind or rows are wrong (each is named, at most
    20 shown), UsageError for a CSV that cannot be read.
    """
    return _read_json(path, labelled) if path.suffix.lower() == ".json" else _read_csv(path, labelled)


def _read_json(path: Path, labelled: bool) -> list[Segment]:
    is_lta = path.name.startswith("fho_lta")
    if not path.exists():
        command = ego4d.ANNOTATIONS_COMMAND if is_lta else keysteps.download_command(path)
        raise DataFileError(f"{path} does not exist.", hint=f"Get it with: {command}", path=str(path))
    document = read_json(path, max_bytes=_MAX_JSON)
    problems: list[str] = []
    is_lta |= isinstance(document, dict) and isinstance(document.get("clips"), list)
    if is_lta:
        segments = ego4d.lta_segments(path, document, problems, labelled=labelled)
    else:
        segments = keysteps.keystep_segments(path, document, problems, labelled=labelled)
    refuse_problems(path, problems)
    if not segments:
        raise DataFileError(
            f"{path} has no segments.", hint=f"Pass annotations with at least one {'action' if is_lta else 'keystep'}."
        )
    return segments


def _read_csv(path: Path, labelled: bool) -> list[Segment]:
    segments: list[Segment] = []
    problems: list[str] = []
    try:
        lines = csv_lines(path)
        _, header = next(lines)
        columns = _columns(header, path, labelled)
        for line, values in lines:
            try:
                segments.append(_segment(named_cells(values, columns, len(header)), line, labelled))
            except ValueError as error:
                problems.append(f"line {line}: {error}")
            if len(segments) + len(problems) > MAX_ROWS:
                raise DataFileError(f"{path} has more than {MAX_ROWS} rows.", hint="Split the annotations.")
    except OSError as error:
        raise UsageError(
            f"Cannot read the annotations {path}: {error.strerror}.",
            hint="Set experiment.data.dataset_train and dataset_val to CSV files." if labelled else "Check the path.",
        ) from error
    refuse_problems(path, problems)
    if not segments:
        raise DataFileError(f"{path} has no rows below its header.", hint="Pass annotations with at least one action.")
    return segments


def _columns(header: list[str], path: Path, labelled: bool) -> dict[str, int]:
    """Wanted column -> its place in the header."""
    labels = list(_VERB_NOUN) if _ACTION not in header or set(_VERB_NOUN) & set(header) else [_ACTION]
    if not labelled and not set(labels) <= set(header):
        labels = []
    missing = [name for name in (*_TIME_COLUMNS, *labels) if name not in header]
    if not any(header):
        raise DataFileError(f"{path} has no header: its first line is empty.", hint="Pass a CSV with columns.")
    if missing and not labelled:
        raise UsageError(
            f"{path} lacks the columns {', '.join(sorted(missing))}; it has {excerpt_of_names(sorted(header))}"
            f"{nearest_columns(missing, header)}.",
            hint="Pass a CSV like EPIC_100_validation.csv.",
        )
    if missing:
        columns = "video_id, start_timestamp, stop_timestamp and verb_class, noun_class (or action_class)"
        other = nearest_columns([_ACTION], header) if set(_VERB_NOUN) <= set(missing) else ""
        raise missing_columns(path, missing, header, f"The columns {columns} are needed{other}.")
    there = [name for name in _OPTIONAL if name in header]
    return {name: header.index(name) for name in (*_TIME_COLUMNS, *labels, *there)}


def _segment(cells: dict[str, str], line: int, labelled: bool) -> Segment:
    start, stop = parse_timestamp(cells["start_timestamp"]), parse_timestamp(cells["stop_timestamp"])
    if stop < start:
        times = f"stop_timestamp {cells['stop_timestamp'][:30]}", f"start_timestamp {cells['start_timestamp'][:30]}"
        raise ValueError(f"{times[0]} is before {times[1]}")
    first, last = (cells.get(name, "") for name in ("start_frame", "stop_frame"))
    return Segment(
        row=line,
        video_id=check_video_id(cells["video_id"]),
        start_seconds=start,
        stop_seconds=stop,
        classes=_classes(cells, labelled),
        name=cells.get("narration_id") or None,
        participant_id=cells.get("participant_id") or None,
        # empty cells and other builds' texts are no error: times decide
        frame_range=(int(first), int(last)) if all(n.isascii() and n.isdigit() for n in (first, last)) else None,
        title=cells.get("narration_id") or f"line {line}",
    )


def _classes(cells: dict[str, str], labelled: bool) -> dict[str, Any]:
    ids = {name: cells[name] for name in (*_VERB_NOUN, _ACTION) if name in cells}
    for name, text in ids.items():
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            if not labelled:
                return {}
            raise ValueError(f"{name} = {excerpt(text, 60)} is not a whole number >= 0")
    if _ACTION in ids:
        return {"action": int(ids[_ACTION])}
    if not ids:
        return {}
    verb, noun = (int(ids[name]) for name in _VERB_NOUN)
    return {"verb": verb, "noun": noun, "action": (verb, noun)}


def parse_timestamp(text: str) -> float:
    """Seconds of `HH:MM:SS.ss`, `MM:SS.ss` or plain seconds; ValueError otherwise.

    >>> parse_timestamp("00:01:02.50")
    62.5
    """
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    # the sign is looked for itself: -00:00:02.5 has no number below 0
    wrong = not 1 <= len(numbers) <= 3 or any(not math.isfinite(n) or math.copysign(1, n) < 0 for n in numbers)
    if wrong or any(n >= 60 for n in numbers[1:]):
        raise ValueError(f"{excerpt(text, 60)} is no timestamp such as 00:01:02.50 or 62.5")
    return float(sum(n * 60**power for power, n in enumerate(reversed(numbers))))
