"""Annotations: action segments of EPIC-KITCHENS-style CSVs by column name, and the label space of a training set."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.annotations import keysteps
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.video_id import check_video_id

MAX_ROWS = 5_000_000
_TIME_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp")
_VERB_NOUN = ("verb_class", "noun_class")
_ACTION = "action_class"
_OPTIONAL = ("narration_id", "participant_id", "start_frame", "stop_frame")
_MAX_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One annotated action: the time range [start_seconds, stop_seconds) of a video and its class ids."""

    row: int
    """Line of the CSV, the header being line 1; running number of a JSON's segment, from 1."""
    video_id: str
    """Of keysteps the take, until gazetools.trainer.data.cameras names the cameras: then `take/camera`."""
    start_seconds: float
    stop_seconds: float
    classes: dict[str, Any]
    """Task -> id: `verb` and `noun` ints with `action` = (verb, noun), or `action` alone as an int."""
    name: str | None = None
    """The annotation's own id (EPIC's narration_id), under which predictions are handed in."""
    participant_id: str | None = None
    frame_range: tuple[int, int] | None = None
    """EPIC's start_frame and stop_frame: of 60 or 50 per second, not the video's (PITFALLS 2); for compat only."""

    @property
    def group(self) -> str:
        """The take of `take/camera`, else the video: what must never straddle a split and what intervals resample."""
        return group_of(self.video_id)


def group_of(video_id: str) -> str:
    """The take of `take/camera`, else the video itself."""
    return video_id.split("/", 1)[0]


def read_annotations(path: Path) -> list[Segment]:
    """The segments of a CSV, or of Ego-Exo4D's keystep JSON where the name ends in `.json`.

    Raises DataFileError with every wrong row (at most 20 shown).
    """
    if path.suffix.lower() == ".json":
        return read_keystep_segments(path)
    return read_annotation_csv(path)


def read_annotation_csv(path: Path) -> list[Segment]:
    """All rows of a CSV with the columns video_id, start_timestamp, stop_timestamp and verb_class, noun_class
    (or action_class), in any order, with any others between.

    Timestamps are `HH:MM:SS.ss` or seconds. Raises DataFileError with every wrong row (at most 20 shown).
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            columns = _columns(header, path)
            segments, problems = [], []
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                try:
                    segments.append(_segment(values, columns, len(header), reader.line_num))
                except ValueError as error:
                    problems.append(f"line {reader.line_num}: {error}")
                if len(segments) + len(problems) > MAX_ROWS:
                    raise DataFileError(f"{path} has more than {MAX_ROWS} rows.", hint="Split the annotations.")
    except OSError as error:
        raise UsageError(
            f"Cannot read the annotations {path}: {error.strerror}.",
            hint="Set experiment.data.dataset_train and dataset_val to CSV files.",
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataFileError(f"{path} is not a CSV file in UTF-8: {error}.") from error
    refuse_problems(path, problems)
    if not segments:
        raise DataFileError(f"{path} has no rows below its header.", hint="Pass annotations with at least one action.")
    return segments


def read_keystep_segments(path: Path) -> list[Segment]:
    """Every segment of `keystep_{train,val}.json` or of the benchmark's `keystep_segment_{train,val}.json`.

    `video_id` of each segment is the take's name, times are seconds of the take. Files without labels are refused.
    Raises DataFileError with every wrong segment (at most 20 shown).
    """
    return [
        Segment(
            row=row,
            video_id=step.take_name,
            start_seconds=step.start_seconds,
            stop_seconds=step.stop_seconds,
            classes={"action": step.step_unique_id},
            name=f"{step.take_name}@{step.start_seconds:.3f}",
        )
        for row, step in enumerate(keysteps.read_keysteps(path), start=1)
    ]


def refuse_problems(path: Path, problems: Sequence[str]) -> None:
    """DataFileError with the first 20 of `problems`, if there are any."""
    if problems:
        more = f" and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
        raise DataFileError(f"{path}: " + "; ".join(problems[:_MAX_SHOWN]) + f"{more}.", rows=list(problems[:1000]))


def _columns(header: list[str], path: Path) -> dict[str, int]:
    labels = _VERB_NOUN if any(name in header for name in _VERB_NOUN) or _ACTION not in header else (_ACTION,)
    missing = [name for name in (*_TIME_COLUMNS, *labels) if name not in header]
    if missing:
        near = {name: nearest_name(name, header) for name in missing}
        raise DataFileError(
            f"{path} lacks the column(s) "
            + ", ".join(f"{name}" + (f" (nearest: {close})" if close else "") for name, close in near.items())
            + f"; it has {', '.join(header[:30]) or 'no header'}.",
            hint="The columns video_id, start_timestamp, stop_timestamp and verb_class, noun_class (or action_class) "
            "are needed.",
        )
    there = [name for name in _OPTIONAL if name in header]
    return {name: header.index(name) for name in (*_TIME_COLUMNS, *labels, *there)}


def _segment(values: Sequence[str], columns: dict[str, int], width: int, row: int) -> Segment:
    if len(values) != width:
        raise ValueError(f"{len(values)} fields where the header has {width}")
    cells = {name: values[index].strip() for name, index in columns.items()}
    start, stop = parse_timestamp(cells["start_timestamp"]), parse_timestamp(cells["stop_timestamp"])
    if stop <= start:
        raise ValueError(f"stop_timestamp {cells['stop_timestamp']} is not after start_timestamp")
    ids = {name: _class_id(name, cells[name]) for name in (*_VERB_NOUN, _ACTION) if name in cells}
    if _ACTION in ids:
        classes: dict[str, Any] = {"action": ids[_ACTION]}
    else:
        verb, noun = ids["verb_class"], ids["noun_class"]
        classes = {"verb": verb, "noun": noun, "action": (verb, noun)}
    return Segment(
        row=row,
        video_id=check_video_id(cells["video_id"]),
        start_seconds=start,
        stop_seconds=stop,
        classes=classes,
        name=cells.get("narration_id") or None,
        participant_id=cells.get("participant_id") or None,
        frame_range=_frame_range(cells.get("start_frame", ""), cells.get("stop_frame", "")),
    )


def _frame_range(start: str, stop: str) -> tuple[int, int] | None:
    """Frame numbers where both cells hold one; empty cells and other builds' texts are no error, times decide."""
    return (int(start), int(stop)) if start.isascii() and start.isdigit() and stop.isdigit() else None


def _class_id(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"{name} = {text!r} is not a whole number >= 0")
    return int(text)


def parse_timestamp(text: str) -> float:
    """Seconds of `HH:MM:SS.ss`, `MM:SS.ss` or plain seconds; ValueError otherwise.

    >>> parse_timestamp("00:01:02.50")
    62.5
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    wrong = not 1 <= len(numbers) <= 3 or any(not math.isfinite(n) or n < 0 for n in numbers)
    if wrong or any(n >= 60 for n in numbers[1:]):
        raise ValueError(f"{text!r} is no timestamp such as 00:01:02.50 or 62.5")
    return float(sum(n * 60**power for power, n in enumerate(reversed(numbers))))


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes of a training set: task -> sorted original ids; a class's index is its place there.

    Sorted, so that the order never depends on Python's sets (PITFALLS 30); saved in every checkpoint.
    """

    ids: dict[str, list[Any]]
    unseen: dict[str, list[Any]] = field(default_factory=dict, compare=False)
    """Task -> sorted ids that only validation has; their indices follow those of `ids`, where no logit answers."""

    @staticmethod
    def of(segments: Iterable[Segment]) -> LabelSpace:
        """The classes that occur in `segments`."""
        found: dict[str, set[Any]] = {}
        for segment in segments:
            for task, value in segment.classes.items():
                found.setdefault(task, set()).add(value)
        return LabelSpace(ids={task: sorted(values) for task, values in found.items()})

    def with_unseen(self, segments: Iterable[Segment]) -> LabelSpace:
        """The same classes, and places behind them for those that only `segments` have."""
        other = LabelSpace.of(segments).ids
        unseen = {task: sorted(set(values) - set(self.ids[task])) for task, values in other.items() if task in self.ids}
        return LabelSpace(ids=self.ids, unseen=unseen)

    @property
    def counts(self) -> dict[str, int]:
        """Task -> number of classes."""
        return {task: len(values) for task, values in self.ids.items()}

    def covers(self, segment: Segment) -> bool:
        """Whether every class of `segment` is known; V-JEPA 2 drops validation actions that training lacks."""
        if set(segment.classes) != set(self.ids):
            return False
        known = ((self._index(task), len(self.ids[task]), value) for task, value in segment.classes.items())
        return all(index.get(value, count) < count for index, count, value in known)

    def encode(self, segment: Segment) -> dict[str, int]:
        """Task -> class index; of a class in `unseen` one that is not below the task's count."""
        return {task: self._index(task)[value] for task, value in segment.classes.items()}

    def _index(self, task: str) -> dict[Any, int]:
        cache = self.__dict__.setdefault("_indices", {})
        if task not in cache:
            everything = [*self.ids.get(task, []), *self.unseen.get(task, [])]
            cache[task] = {value: place for place, value in enumerate(everything)}
        return cache[task]

    def to_plain(self) -> dict[str, list[Any]]:
        """As plain lists for checkpoints and JSON; an action of verb and noun is [verb, noun]."""
        return {task: [list(v) if isinstance(v, tuple) else v for v in ids] for task, ids in self.ids.items()}
