"""Parse head-box files: our CSV, attention-target-detection's headerless CSV, MOTChallenge text."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gazetools.heads.table import HeadTable
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import HeadsError

COLUMNS = ("frame", "track_id", "xmin", "ymin", "xmax", "ymax")
SUFFIXES = (".csv", ".txt")
_MAX_BYTES = 512 << 20
_ROLES = {"wearer", "other"}

_Row = tuple[int, int, float, float, float, float, int]  # frame, track_id, xmin, ymin, xmax, ymax, line


def read_heads(path: Path, *, first_frame: int | None = None) -> HeadTable:
    """Read one file of head boxes in pixels of the video.

    Three formats, told apart by their first line:

    - CSV with the header `frame,track_id,xmin,ymin,xmax,ymax[,score][,role]`, any order, extra columns ignored,
      frames from 0;
    - attention-target-detection's headerless `IMAGE_NAME,left,top,right,bottom`: row order is frame order from
      `first_frame` (0); one person, track 0;
    - MOTChallenge: `frame,id,left,top,width,height,...` (7 to 10 numbers), frames from 1.

    Raises HeadsError naming file and line for anything that is none of these.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise HeadsError(f"{path} has {path.stat().st_size} bytes; a head-box file has at most {_MAX_BYTES}.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(_non_empty(csv.reader(file)))
    except OSError as error:
        raise HeadsError(
            f"Cannot read the head-box file {path}: {error.strerror}.", hint="Check the path after --heads file:."
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HeadsError(f"{path} is not a CSV text file: {error}.") from None
    if not lines:
        raise HeadsError(f"{path} is empty.", hint=f"The first line must be {','.join(COLUMNS)}.")
    first = [cell.lower() for cell in lines[0][1]]
    roles: dict[int, str] = {}
    if _is_number(first[0]) and len(first) >= 7:
        rows = _mot_rows(path, lines)
    elif len(first) == 5 and not set(first) & set(COLUMNS) and all(map(_is_number, first[1:])):
        rows = _attention_target_rows(path, lines, first_frame or 0)
    else:
        rows = _headed_rows(path, lines, roles)
    table = np.array(list(rows), dtype=np.float64).reshape(-1, 7)
    return HeadTable.from_columns(
        str(path),
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int32),
        table[:, 2:6],
        table[:, 6].astype(np.int64),
        roles,
    )


def _non_empty(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for line, cells in enumerate(reader, start=1):
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield line, stripped


def _headed_rows(path: Path, lines: list[tuple[int, list[str]]], roles: dict[int, str]) -> Iterator[_Row]:
    header = [cell.lower() for cell in lines[0][1]]
    for name in COLUMNS:
        if name not in header:
            near = nearest_name(name, [c for c in header if c not in COLUMNS])
            raise HeadsError(
                f"{path}: the column '{name}' is missing; its header is {','.join(header)!r}."
                + (f" Is '{near}' meant?" if near else ""),
                hint=f"The first line must be {','.join(COLUMNS)}[,score][,role].",
                column=name,
            )
    places = [header.index(name) for name in COLUMNS]
    role_place = header.index("role") if "role" in header else None
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise HeadsError(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}.", line=line)
        frame, track_id = (_integer(path, line, name, cells[places[i]]) for i, name in enumerate(COLUMNS[:2]))
        box = [_number(path, line, name, cells[place]) for name, place in zip(COLUMNS[2:], places[2:], strict=True)]
        if role_place is not None and cells[role_place]:
            if cells[role_place] not in _ROLES:
                raise HeadsError(f"{path}, line {line}: role {cells[role_place]!r} is not one of wearer, other.")
            roles[track_id] = cells[role_place]
        yield frame, track_id, box[0], box[1], box[2], box[3], line


def _attention_target_rows(path: Path, lines: list[tuple[int, list[str]]], first_frame: int) -> Iterator[_Row]:
    for order, (line, cells) in enumerate(lines):
        if len(cells) != 5:
            raise HeadsError(f"{path}, line {line}: {len(cells)} cells; IMAGE_NAME,left,top,right,bottom has 5.")
        left, top, right, bottom = (_number(path, line, "box", cell) for cell in cells[1:])
        yield first_frame + order, 0, left, top, right, bottom, line


def _mot_rows(path: Path, lines: list[tuple[int, list[str]]]) -> Iterator[_Row]:
    for line, cells in lines:
        if len(cells) < 7:
            raise HeadsError(f"{path}, line {line}: {len(cells)} cells; MOTChallenge rows have 7 to 10.", line=line)
        frame, track_id = _integer(path, line, "frame", cells[0]), _integer(path, line, "id", cells[1])
        if frame < 1:
            raise HeadsError(f"{path}, line {line}: frame {frame}; MOTChallenge counts frames from 1.", line=line)
        left, top, width, height = (_number(path, line, "box", cell) for cell in cells[2:6])
        yield frame - 1, track_id, left, top, left + width, top + height, line


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _number(path: Path, line: int, name: str, cell: str) -> float:
    if not _is_number(cell):
        raise HeadsError(f"{path}, line {line}: {name} is {cell!r}, not a number.", line=line)
    return float(cell)


def _integer(path: Path, line: int, name: str, cell: str) -> int:
    value = _number(path, line, name, cell)
    if value != int(value) or abs(value) >= 2**31:
        raise HeadsError(f"{path}, line {line}: {name} is {cell!r}, not a whole number.", line=line)
    return int(value)
