"""`Segment`, an annotated action, and what its readers share: CSV lines, one error for all wrong rows."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.io.delimited import form_of, not_a_table, table_lines
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt_of_names

_MAX_SHOWN, _MAX_CHARACTERS = 20, 1500


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One annotated action: the time range [start_seconds, stop_seconds) of a video, and its class ids.

    Released files have single actions that last no time; they are read, and left out by name where frames are needed.
    """

    row: int
    """Line of a CSV, the header being line 1; running number of a JSON's segment, from 1."""
    video_id: str
    """The video's id; the take's name where `whole_take` is set."""
    start_seconds: float
    stop_seconds: float
    classes: dict[str, Any]
    """Task -> id: `verb` and `noun` ints with `action` = (verb, noun), or `action` alone as an int; {}: no labels."""
    name: str | None = None
    """The annotation's own id (EPIC's narration_id), which benchmarks expect with predictions."""
    participant_id: str | None = None
    frame_range: tuple[int, int] | None = None
    """EPIC's start_frame and stop_frame, for `compat: vjepa2` only. They count 60 or 50 per second whatever the rate
    of the video, so that they are no index of its frames."""
    whole_take: bool = False
    """Whether the segment is one of every camera of the take `video_id`, as Ego-Exo4D's keysteps are."""
    title: str = ""
    """Name of the segment in messages to users."""

    @property
    def is_empty(self) -> bool:
        """Whether the action ends when it starts, so that no frame shows it."""
        return self.stop_seconds <= self.start_seconds

    @property
    def group(self) -> str:
        """The take of `take/camera`, else the video: what must never straddle a split and what intervals resample."""
        return group_of(self.video_id)


def group_of(video_id: str) -> str:
    """The take of `take/camera`, else the video itself."""
    return video_id.split("/", 1)[0]


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a CSV: first the header, stripped, then every line that is not empty.

    UTF-8 or UTF-16; separated by commas, `;`, tabs or `|`, where decimal commas are read as points.
    """
    try:
        table = table_lines(path, form_of(path), strict=True)
        line, header = next(table, (1, []))
        yield line, [name.strip() for name in header]
        for line, values in table:
            if any(value.strip() for value in values):
                yield line, values
    except (csv.Error, UnicodeError) as error:
        raise not_a_table(path, error) from error


def named_cells(values: Sequence[str], columns: Mapping[str, int], width: int) -> dict[str, str]:
    """Column name -> stripped cell; ValueError for a row that does not have `width` cells."""
    if len(values) != width:
        raise ValueError(f"{len(values)} fields where the header has {width}")
    return {name: values[place].strip() for name, place in columns.items()}


def missing_columns(path: Path, missing: Sequence[str], header: list[str], hint: str) -> DataFileError:
    """The error for a header that lacks the columns `missing`, with the nearest name of the header for each."""
    near = {name: nearest_name(name.split(" ")[0], header) for name in missing}
    listed = ", ".join(name + (f" (nearest: {close})" if close else "") for name, close in near.items())
    there = excerpt_of_names(header) or "no header"
    return DataFileError(f"{path} lacks the column(s) {listed}; it has {there}.", hint=hint)


def refuse_problems(path: Path, problems: Sequence[str]) -> None:
    """DataFileError with the first of `problems`, if there are any: 20 at most, and fewer where they are long."""
    if problems:
        lengths = itertools.accumulate(len(problem) for problem in problems[:_MAX_SHOWN])
        shown = max(1, sum(length <= _MAX_CHARACTERS for length in lengths))
        more = f" and {len(problems) - shown} more" if len(problems) > shown else ""
        raise DataFileError(f"{path}: " + "; ".join(problems[:shown]) + f"{more}.", rows=list(problems[:1000]))
