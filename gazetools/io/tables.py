"""CSV tables by column name: tolerant of order, extra columns, spaces and empty cells; mistakes with file and row."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import DataFileError

_MAX_BYTES = 512 << 20
_CHUNK_BYTES = 16 << 20
_MAX_CELL = 40


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
        return np.array([self._number(name, row, cell) for row, cell in enumerate(self.columns[name])], np.float64)

    def integers(self, name: str, *, empty: int | None = None) -> npt.NDArray[np.int64]:
        """The column as exact int64 [N] (nanoseconds don't fit a float); `empty` stands for empty cells, else error."""
        return np.array(
            [self._integer(name, row, cell, empty) for row, cell in enumerate(self.columns[name])], np.int64
        )

    def _number(self, name: str, row: int, cell: str) -> float:
        try:
            return float(cell) if cell else float("nan")
        except ValueError:
            raise self.error(row, name, f"{cell!r} is not a number") from None

    def _integer(self, name: str, row: int, cell: str, empty: int | None) -> int:
        if not cell and empty is not None:
            return empty
        try:
            value = int(cell)
        except ValueError:
            try:
                value = int(float(cell))
            except (ValueError, OverflowError):
                raise self.error(row, name, f"{cell!r} is not a whole number") from None
        if abs(value) >= 2**63:
            raise self.error(row, name, f"{cell!r} is too large")
        return value

    def error(self, row: int, name: str, what: str) -> DataFileError:
        """An error about one cell."""
        return DataFileError(
            f"{self.path}, line {self.lines[row]}, column {name}: {what}.",
            hint="Correct the cell, or download the file again.",
            path=str(self.path),
            line=self.lines[row],
        )


def read_table(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = (), rows: tuple[int, int] | None = None
) -> Table:
    """The columns `required` and `optional` of a CSV with a header.

    Args:
        path: UTF-8 CSV, also gzipped where it ends in `.gz`.
        required: columns without which DataFileError is raised; the nearest name of the header is given.
        optional: columns taken where present.
        rows: only data rows [first, end), counted from 0 below the header; shorter where the file ends.

    Raises:
        DataFileError: missing, empty, too large, not CSV, a duplicated column, or a row of another width.
    """
    first, end = rows if rows is not None else (0, None)
    try:
        with _open_text(path) as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            places = column_places(path, header, required, optional)
            cells: dict[str, list[str]] = {name: [] for name in places}
            lines: list[int] = []
            wanted = list(zip(cells.values(), places.values(), strict=True))
            number = -1
            for row in reader:
                if not row or (len(row) == 1 and not row[0].strip()):
                    continue
                number += 1
                if number < first:
                    continue
                if end is not None and number >= end:
                    break
                if len(row) != len(header):
                    raise DataFileError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, but the header has {len(header)}.",
                        hint="The file seems to be cut off or edited; download it again.",
                        path=str(path),
                    )
                for column, place in wanted:
                    column.append(row[place].strip())
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise DataFileError(f"{path} is not a CSV file in UTF-8: {error}.", path=str(path)) from error
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror or error}.", path=str(path)) from error
    return Table(path=path, columns=cells, lines=lines)


def _open_text(path: Path) -> IO[str]:
    if path.stat().st_size > _MAX_BYTES:
        raise DataFileError(f"{path} has {path.stat().st_size} bytes; at most {_MAX_BYTES} are read.", path=str(path))
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def column_places(path: Path, header: list[str], required: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    """Column name -> place; DataFileError for a header that lacks a required one or has a wanted one twice."""
    if not any(header):
        raise DataFileError(f"{path} is empty: it has no header.", hint="Download it again.", path=str(path))
    missing = [name for name in required if name not in header]
    if missing:
        near = {name: nearest_name(name, header) for name in missing}
        listed = ", ".join(f"{name}" + (f" (nearest: {close})" if close else "") for name, close in near.items())
        raise DataFileError(
            f"{path} lacks the column(s) {listed}; it has {', '.join(header[:30])}.",
            hint="Is this the file that it is taken for?",
            path=str(path),
        )
    present = [*required, *(name for name in optional if name in header)]
    if twice := [name for name in present if header.count(name) > 1]:
        raise DataFileError(f"{path} has the column(s) {', '.join(twice)} twice.", hint="Remove one.", path=str(path))
    return {name: header.index(name) for name in present}


class ByteChunk:
    """Whole lines of a large CSV, with the place of every cell; cells are cut out and parsed column by column.

    Made for files of 1 kHz recordings: 600,000 rows are indexed at memory speed, and only wanted cells become numbers.
    """

    def __init__(self, path: Path, data: bytes, cells: int, first_line: int) -> None:
        if b'"' in data:
            raise DataFileError(f"{path} has quoted cells, which such recordings never have.", path=str(path))
        self._bytes = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(self._bytes == ord("\n"))
        self.line_count = len(ends)
        """Empty lines too."""
        starts = np.concatenate([[0], ends[:-1] + 1])
        length = ends - starts
        keep = (length > 1) | ((length == 1) & (self._bytes[starts] != ord("\r")))  # not empty, nor a lone \r
        self.lines = first_line + np.flatnonzero(keep)
        if not keep.all():
            starts, ends = starts[keep], ends[keep]
        commas = np.flatnonzero(self._bytes == ord(","))
        self._path, self._starts, self._ends, self._cells = path, starts, ends, cells
        # Ascending commas, cells - 1 for each line: right if the first and the last of each line lie within it.
        whole = len(commas) == len(ends) * (cells - 1)
        if whole and cells > 1:
            self._inner = commas.reshape(-1, cells - 1)
            whole = bool((self._inner[:, 0] >= starts).all() and (self._inner[:, -1] < ends).all())
        if not whole:
            counts = np.searchsorted(commas, ends) - np.searchsorted(commas, starts)
            wrong = int(np.flatnonzero(counts != cells - 1)[0])
            raise DataFileError(
                f"{path}, line {self.lines[wrong]}: {counts[wrong] + 1} cells, but the header has {cells}.",
                hint="The file seems to be cut off or edited; download it again.",
                path=str(path),
            )

    def __len__(self) -> int:
        return len(self.lines)

    def _span(
        self, place: int, rows: npt.NDArray[np.int64] | slice
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First byte of each cell of a column, and the byte after its last."""
        start = self._inner[rows, place - 1] + 1 if place else self._starts[rows]
        return start, self._inner[rows, place] if place < self._cells - 1 else self._ends[rows]

    def text(self, place: int, rows: npt.NDArray[np.int64] | slice = slice(None)) -> npt.NDArray[np.bytes_]:
        """The cells of one column as bytes, stripped."""
        start, end = self._span(place, rows)
        length = end - start
        width = int(length.max(initial=0))
        if width > _MAX_CELL:
            row = int(np.argmax(length))
            raise DataFileError(
                f"{self._path}, near line {self.lines[rows][row]}: a cell of {width} characters.", path=str(self._path)
            )
        width = max(width, 1)
        late = np.flatnonzero(start + width > len(self._bytes))  # windows that would reach over the chunk's end
        first = np.minimum(start, max(len(self._bytes) - width, 0))
        windows = np.lib.stride_tricks.sliding_window_view(self._bytes, min(width, len(self._bytes)))
        grid = windows[first]  # [N, width], each row copied as one piece
        for row in late.tolist():
            cell = self._bytes[start[row] : end[row]]
            grid[row, : len(cell)] = cell
        if length.min(initial=width) < width:
            grid[np.arange(grid.shape[1]) >= length[:, None]] = 0
        cells: npt.NDArray[np.bytes_] = np.ascontiguousarray(grid).view(f"S{grid.shape[1]}")[:, 0]
        blank = (grid <= 32) & (grid != 0)
        return np.char.strip(cells) if blank.any() else cells

    def floats(
        self, place: int, name: str, rows: npt.NDArray[np.int64] | slice = slice(None)
    ) -> npt.NDArray[np.float64]:
        """The cells of one column as float64; empty ones are NaN."""
        cells = self.text(place, rows)
        cells = np.where(cells == b"", b"nan", cells)
        try:
            return cells.astype(np.float64)
        except ValueError:
            raise self._not_a_number(cells, name, rows) from None

    def integers(self, place: int, name: str) -> npt.NDArray[np.int64]:
        """The cells of one column as int64 (decimal digits with an optional sign; `1.5e3` is refused)."""
        cells = self.text(place)
        digits = cells.view(np.uint8).reshape(len(cells), -1) if len(cells) else np.zeros((0, 1), np.uint8)
        plain = ((digits >= ord("0")) & (digits <= ord("9"))) | (digits == 0)
        if digits.shape[1] <= 18 and len(cells) and (digits[:, -1] != 0).all() and plain.all():  # all of one length
            return (digits - np.uint8(ord("0"))) @ 10 ** np.arange(digits.shape[1])[::-1]
        if plain.all() and digits.shape[1] <= 18 and (digits[:, 0] != 0).all():
            value = np.zeros(len(cells), np.int64)
            for column in digits.T:  # at most 18 steps over whole columns
                value = np.where(column == 0, value, value * 10 + (column.astype(np.int64) - ord("0")))
            return value
        try:
            return np.array([int(cell) for cell in cells.tolist()], np.int64)
        except (ValueError, OverflowError):
            raise self._not_a_number(cells, name, slice(None), whole=True) from None

    def _not_a_number(
        self, cells: npt.NDArray[np.bytes_], name: str, rows: npt.NDArray[np.int64] | slice, *, whole: bool = False
    ) -> DataFileError:
        for line, cell in zip(self.lines[rows].tolist(), cells.tolist(), strict=True):
            try:
                int(cell) if whole else float(cell)
            except ValueError:
                text = cell.decode("utf-8", "replace")
                return DataFileError(
                    f"{self._path}, line {line}, column {name}: {text!r} is not a {'whole ' * whole}number.",
                    hint="Correct the cell, or download the file again.",
                    path=str(self._path),
                    line=line,
                )
        return DataFileError(f"{self._path}, column {name}: a number is too large.", path=str(self._path))


def read_byte_chunks(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, int], Iterator[ByteChunk]]:
    """Header places and the rows of a large CSV (also `.gz`) in chunks of about 16 MiB; errors as `read_table`."""
    try:
        with _open_binary(path) as file:
            head = file.readline(1 << 20)
    except (OSError, EOFError) as error:
        raise DataFileError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    header = [cell.strip() for cell in head.decode("utf-8-sig", "replace").split(",")]
    places = column_places(path, header, required, optional)
    return places, _byte_chunks(path, len(header))


def _byte_chunks(path: Path, cells: int) -> Iterator[ByteChunk]:
    try:
        with _open_binary(path) as file:
            file.readline(1 << 20)
            line = 2
            rest = b""
            while block := file.read(_CHUNK_BYTES):
                cut = block.rfind(b"\n") + 1
                if not cut:
                    rest += block
                    if len(rest) > 2 * _CHUNK_BYTES:
                        raise DataFileError(f"{path}, line {line}: a line of over {len(rest)} bytes.", path=str(path))
                    continue
                data, rest = rest + block[:cut], block[cut:]
                chunk = ByteChunk(path, data, cells, line)
                line += chunk.line_count
                yield chunk
            if rest.strip():
                yield ByteChunk(path, rest + b"\n", cells, line)
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataFileError(f"{path} is not a whole gzip file: {error}.", path=str(path)) from error
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror or error}.", path=str(path)) from error


def _open_binary(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
