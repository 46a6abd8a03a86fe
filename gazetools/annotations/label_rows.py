"""Rows of comma-separated labels without a header, with their line numbers."""

from __future__ import annotations

import csv
from pathlib import Path

from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import shortened

LabelRow = tuple[int, list[str]]
_MAX_BYTES = 4 << 30


def label_rows(path: Path, columns: tuple[int, ...], *, older: str = "") -> list[LabelRow]:
    """(line number, stripped cells) of every row that is not empty.

    All rows have the same width, which is one of `columns`. Raises DataFileError, with the line, for another width
    (its hint says `older`: which release has other columns) and for what is no text.
    """
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise DataFileError(f"{path} has {size} bytes; at most {_MAX_BYTES} are read.", path=str(path))
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(f"Cannot read {path}: {error}.", path=str(path)) from None
    wanted = columns
    for line, row in rows:
        if len(row) not in wanted:
            expected = " or ".join(map(str, wanted))
            raise DataFileError(
                f"{path}, line {line}: {len(row)} cells, not {expected}.", hint=older or None, path=str(path), line=line
            )
        wanted = (len(row),)
    return rows


def numbers_of(path: Path, line: int, cells: list[str]) -> list[float]:
    """The cells as floats, NaN included; DataFileError with the line for a cell that is no number."""
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise DataFileError(f"{path}, line {line}: {shortened(error)}.", path=str(path), line=line) from None
