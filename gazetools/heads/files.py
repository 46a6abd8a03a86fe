"""Read head-box files; `BOX_FORMATS` has one object per format."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from gazetools.heads.table import HeadTable
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import HeadsError

COLUMNS = ("frame", "track_id", "xmin", "ymin", "xmax", "ymax")
_MAX_BYTES = 512 << 20
_ROLES = {"wearer", "other"}

BoxRow: TypeAlias = tuple[int, int, float, float, float, float, int]
"""frame (from 0), track_id, xmin, ymin, xmax, ymax (pixels), line in the file (from 1)"""


@dataclass(frozen=True)
class BoxFile:
    """A text file of head boxes, one box per line."""

    path: Path
    first_frame: int
    """Frame of the first row where rows carry no frame number."""
    roles: dict[int, str] = field(default_factory=dict)
    """track id -> `wearer` or `other`; filled while rows are read."""

    @cached_property
    def lines(self) -> list[tuple[int, list[str]]]:
        """(line number, stripped cells) of every line that is not empty, at least one; else HeadsError."""
        path = self.path
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise HeadsError(f"{path} has {path.stat().st_size} bytes; a head-box file has at most {_MAX_BYTES}.")
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = ((line, [cell.strip() for cell in cells]) for line, cells in enumerate(csv.reader(file), 1))
                filled = [row for row in rows if any(row[1])]
        except OSError as error:
            hint = "Check the path after --heads file:."
            raise HeadsError(f"Cannot read the head-box file {path}: {error.strerror}.", hint=hint) from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise HeadsError(f"{path} is not a CSV text file: {error}.") from None
        if not filled:
            raise HeadsError(f"{path} is empty.", hint=f"The first line must be {','.join(COLUMNS)}.")
        return filled

    @property
    def first_cells(self) -> list[str]:
        """Cells of the first line in lower case."""
        return [cell.lower() for cell in self.lines[0][1]]

    def error(self, line: int, what: str) -> HeadsError:
        return HeadsError(f"{self.path}, line {line}: {what}.", line=line)

    def number(self, line: int, name: str, cell: str) -> float:
        """`cell` as a finite number; HeadsError names it."""
        if not _is_number(cell):
            raise self.error(line, f"{name} is {cell!r}, not a number")
        return float(cell)

    def integer(self, line: int, name: str, cell: str) -> int:
        """`cell` as a whole number of 32 bits; HeadsError names it."""
        value = self.number(line, name, cell)
        if value != int(value) or abs(value) >= 2**31:
            raise self.error(line, f"{name} is {cell!r}, not a whole number")
        return int(value)


@dataclass(frozen=True, kw_only=True)
class BoxFormat:
    """A format of head-box files."""

    recognise: Callable[[BoxFile], bool]
    rows: Callable[[BoxFile], Iterable[BoxRow]]
    """Raises HeadsError naming file and line for anything that the format does not allow."""
    suffixes: tuple[str, ...] = (".csv", ".txt")
    """Suffixes of files that are looked for in a folder."""


def read_heads(path: Path, *, first_frame: int | None = None) -> HeadTable:
    """Head boxes in pixels of the video, read by the last format of `BOX_FORMATS` that recognises the file.

    `first_frame` is that of the first row in formats without frame numbers; None: 0. HeadsError names file and line.
    """
    file = BoxFile(path, first_frame or 0)
    chosen = next(form for form in reversed(BOX_FORMATS.values()) if form.recognise(file))
    columns = np.array(list(chosen.rows(file)), dtype=np.float64).reshape(-1, 7)
    frame, track_id, line = (columns[:, place].astype(np.int64) for place in (0, 1, 6))
    return HeadTable.from_columns(str(path), frame, track_id.astype(np.int32), columns[:, 2:6], line, file.roles)


def box_suffixes() -> list[str]:
    """Suffixes of box files in a folder, in the order in which they are tried."""
    return list(dict.fromkeys(suffix for form in BOX_FORMATS.values() for suffix in form.suffixes))


def _csv_rows(file: BoxFile) -> Iterator[BoxRow]:
    """CSV with the header `frame,track_id,xmin,ymin,xmax,ymax[,score][,role]`, any order, frames from 0."""
    header = file.first_cells
    for name in COLUMNS:
        if name not in header:
            near = nearest_name(name, [c for c in header if c not in COLUMNS])
            raise HeadsError(
                f"{file.path}: the column '{name}' is missing; its header is {','.join(header)!r}."
                + (f" Is '{near}' meant?" if near else ""),
                hint=f"The first line must be {','.join(COLUMNS)}[,score][,role].",
                column=name,
            )
    places = [header.index(name) for name in COLUMNS]
    role_place = header.index("role") if "role" in header else None
    for line, cells in file.lines[1:]:
        if len(cells) != len(header):
            raise file.error(line, f"{len(cells)} cells, but the header has {len(header)}")
        frame, track_id = (file.integer(line, name, cells[places[i]]) for i, name in enumerate(COLUMNS[:2]))
        box = [file.number(line, name, cells[place]) for name, place in zip(COLUMNS[2:], places[2:], strict=True)]
        if role_place is not None and cells[role_place]:
            if cells[role_place] not in _ROLES:
                raise file.error(line, f"role {cells[role_place]!r} is not one of wearer, other")
            file.roles[track_id] = cells[role_place]
        yield frame, track_id, box[0], box[1], box[2], box[3], line


def _is_attention_target(file: BoxFile) -> bool:
    first = file.first_cells
    return len(first) == 5 and not set(first) & set(COLUMNS) and all(map(_is_number, first[1:]))


def _attention_target_rows(file: BoxFile) -> Iterator[BoxRow]:
    """attention-target-detection's headerless `IMAGE_NAME,left,top,right,bottom`: rows in frame order, track 0."""
    for frame, (line, cells) in enumerate(file.lines, start=file.first_frame):
        if len(cells) != 5:
            raise file.error(line, f"{len(cells)} cells; IMAGE_NAME,left,top,right,bottom has 5")
        left, top, right, bottom = (file.number(line, "box", cell) for cell in cells[1:])
        yield frame, 0, left, top, right, bottom, line


def _mot_rows(file: BoxFile) -> Iterator[BoxRow]:
    """MOTChallenge's `frame,id,left,top,width,height,...` (7 to 10 numbers), frames from 1."""
    for line, cells in file.lines:
        if len(cells) < 7:
            raise file.error(line, f"{len(cells)} cells; MOTChallenge rows have 7 to 10")
        frame, track_id = file.integer(line, "frame", cells[0]), file.integer(line, "id", cells[1])
        if frame < 1:
            raise file.error(line, f"frame {frame}; MOTChallenge counts frames from 1")
        left, top, width, height = (file.number(line, "box", cell) for cell in cells[2:6])
        yield frame - 1, track_id, left, top, left + width, top + height, line


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


BOX_FORMATS = {
    "csv": BoxFormat(recognise=lambda _: True, rows=_csv_rows),
    "attention-target": BoxFormat(recognise=_is_attention_target, rows=_attention_target_rows),
    "mot": BoxFormat(
        recognise=lambda file: _is_number(file.first_cells[0]) and len(file.first_cells) >= 7, rows=_mot_rows
    ),
}
"""Format of each name. Later ones are asked first, so that an added one comes before ours; `csv` takes what is left."""


def register(name: str, form: BoxFormat) -> None:
    """Add a format of box files from outside the package. Raises ValueError where the name is taken."""
    if name in BOX_FORMATS:
        raise ValueError(f"the name {name!r} is taken by another format of box files")
    BOX_FORMATS[name] = form
