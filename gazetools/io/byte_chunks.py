"""Large CSVs of recordings in chunks of bytes: indexed at memory speed, only wanted columns become numbers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from gazetools.io.delimited import encoding_of
from gazetools.io.tables import column_places
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt

_CHUNK_BYTES = 16 << 20
_MAX_CELL = 40


class ByteChunk:
    """Whole lines of a large CSV (600,000 rows at 1 kHz) with every cell's place; cells are parsed by column."""

    def __init__(self, path: Path, data: bytes, cells: int, first_line: int) -> None:
        if b'"' in data:
            raise DataFileError(f"{path} has quoted cells, which such recordings never have.", path=str(path))
        self._bytes = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(self._bytes == ord("\n"))
        self.line_count = len(ends)  # empty ones included
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

    def text(self, place: int, rows: npt.NDArray[np.int64] | slice = slice(None)) -> npt.NDArray[np.bytes_]:
        """The cells of one column as bytes, stripped."""
        start = self._inner[rows, place - 1] + 1 if place else self._starts[rows]
        end = self._inner[rows, place] if place < self._cells - 1 else self._ends[rows]
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
                    f"{self._path}, line {line}, column {name}: {excerpt(text)} is not a {'whole ' * whole}number.",
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
    _refuse_other_forms(path, head)
    header = [cell.strip() for cell in head.decode("utf-8-sig", "replace").split(",")]
    places = column_places(path, header, required, optional)
    return places, _byte_chunks(path, len(header))


def _refuse_other_forms(path: Path, head: bytes) -> None:
    """DataFileError that names another encoding or separator, which are not read at memory speed."""
    separators = {b";": "';'", b"\t": "tabs"}
    found = next((name for mark, name in separators.items() if mark in head and b"," not in head), None)
    if (encoding := encoding_of(head)) != "utf-8-sig":
        found = encoding.upper()
    elif found is not None:
        found = f"separated by {found}"
    if found is not None:
        raise DataFileError(
            f"{path} is {found}; such recordings are CSV in UTF-8, separated by commas.",
            hint="Was it saved again by a spreadsheet? Download it again.",
            path=str(path),
        )


def _byte_chunks(path: Path, cells: int) -> Iterator[ByteChunk]:
    try:
        with _open_binary(path) as file:
            file.readline(1 << 20)
            line, rest = 2, b""
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
