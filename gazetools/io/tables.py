"""CSV tables by column name: any order, separator, extra columns, empty cells; errors name file and row."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.delimited import comma_hint, form_of, not_a_table, table_lines
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names

_MAX_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True)
class Table:
    """The wanted columns of a CSV as text, stripped."""

    path: Path
    columns: dict[str, list[str]]
    """Name -> one cell per row; columns that the file lacks are not in it."""
    lines: list[int]
    """Line number of each row, the header being line 1."""

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def floats(self, name: str) -> npt.NDArray[np.float64]:
        """The column as float64 [N]; empty cells are NaN. DataFileError names the row of a cell that is no number."""
        values = np.full(len(self), np.nan)
        for row, cell in enumerate(self.columns[name]):
            try:
                values[row] = float(cell) if cell else np.nan
            except ValueError:
                raise self.error(row, name, f"{excerpt(cell)} is not a number{comma_hint(cell)}") from None
        return values

    def integers(self, name: str, *, empty: int | None = None) -> npt.NDArray[np.int64]:
        """The column as exact int64 [N] (nanoseconds don't fit a float); `empty` stands for empty cells, else error."""
        return np.array(
            [self._integer(name, row, cell, empty) for row, cell in enumerate(self.columns[name])], np.int64
        )

    def _integer(self, name: str, row: int, cell: str, empty: int | None) -> int:
        if not cell and empty is not None:
            return empty
        try:
            value = int(cell)
        except ValueError:
            try:
                value = int(float(cell))  # such as 3.0
                if value != float(cell):
                    raise ValueError(cell)
            except (ValueError, OverflowError):
                raise self.error(row, name, f"{excerpt(cell)} is not a whole number") from None
        if abs(value) >= 2**63:
            raise self.error(row, name, f"{excerpt(cell)} is too large")
        return value

    def error(self, row: int, name: str, what: str) -> DataFileError:
        return DataFileError(
            f"{self.path}, line {self.lines[row]}, column {name}: {what}.",
            hint="Correct the cell, or download the file again.",
            path=str(self.path),
            line=self.lines[row],
        )


def read_table(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = (), rows: tuple[int, int] | None = None
) -> Table:
    """The columns `required`, and those of `optional` that are there, of a CSV (or gzipped, `.gz`).

    UTF-8 or UTF-16; separated by commas, `;`, tabs or `|`, where decimal commas are read as points.
    `rows` = (first, end) takes only these data rows, counted from 0 below the header; fewer where the file ends.
    Raises DataFileError: missing, empty, too large, not CSV, a missing or duplicated column, a row of another width.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataFileError(
                f"{path} has {path.stat().st_size} bytes; at most {_MAX_BYTES} are read.", path=str(path)
            )
        table = table_lines(path, form_of(path))
        header = [cell.strip() for cell in next(table, (0, []))[1]]
        places = column_places(path, header, required, optional)
        cells: dict[str, list[str]] = {name: [] for name in places}
        lines: list[int] = []
        wanted = list(zip(cells.values(), places.values(), strict=True))
        filled = ((line, row) for line, row in table if len(row) > 1 or "".join(row).strip())
        for line, row in itertools.islice(filled, *(rows or (0, None))):
            if len(row) != len(header):
                raise DataFileError(
                    f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}.",
                    hint="The file seems to be cut off or edited; download it again.",
                    path=str(path),
                )
            for column, place in wanted:
                column.append(row[place].strip())
            lines.append(line)
    except (UnicodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise not_a_table(path, error) from error
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror or error}.", path=str(path)) from error
    return Table(path=path, columns=cells, lines=lines)


def read_header(path: Path) -> list[str]:
    """Stripped column names of a CSV; [] for an empty file. Raises DataFileError as `read_table`."""
    try:
        return [cell.strip() for cell in next(table_lines(path, form_of(path)), (0, []))[1]]
    except (UnicodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise not_a_table(path, error) from error
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror or error}.", path=str(path)) from error


def column_places(path: Path, header: list[str], required: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    """Column name -> place; DataFileError for a header that lacks a required one or has a wanted one twice."""
    if not any(header):
        raise DataFileError(f"{path} is empty: it has no header.", hint="Download it again.", path=str(path))
    if missing := [name for name in required if name not in header]:
        near = {name: nearest_name(name, header) for name in missing}
        listed = ", ".join(name + (f" (nearest: {close})" if close else "") for name, close in near.items())
        raise DataFileError(
            f"{path} lacks the column(s) {listed}; it has {excerpt_of_names(header)}.",
            hint="Is this the file that it is taken for?",
            path=str(path),
        )
    present = [*required, *(name for name in optional if name in header)]
    if twice := [name for name in present if header.count(name) > 1]:
        raise DataFileError(f"{path} has the column(s) {', '.join(twice)} twice.", hint="Remove one.", path=str(path))
    return {name: header.index(name) for name in present}
