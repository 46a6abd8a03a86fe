"""Text tables as spreadsheets write them: encoding and separator are recognised, decimal commas become points."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gazetools.schemas.errors import DataFileError

_SAMPLE_BYTES = 64 << 10
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SEPARATORS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[\d:]*\d,\d+\s*")
"""`12,5` and `00:01:02,5`; never `1,234,567`, which stays as it is and is no number for any reader."""


@dataclass(frozen=True, kw_only=True)
class TextForm:
    """How the text of a table is written."""

    encoding: str
    separator: str = ","
    """One character; a space stands for any run of white space."""
    names_separator: bool = False
    """Whether the first line is Excel's `sep=;`, which is no row."""


def form_of(path: Path, *, numbers: bool = False, comments: bool = False) -> TextForm:
    """Recognise encoding and separator from the first 64 KiB; OSError as for opening it.

    A byte order mark, or zeros at every second byte, says UTF-16. `sep=;` in the first line says the separator. Else
    the first line does: a comma, or where there is none `;`, a tab or `|`. With `numbers` the cells are known to have
    no text with `;` or tabs in them, so that these win over commas, which are then decimal; white space is the last.
    With `comments` the separator is not looked for in lines that begin with `#`.
    """
    sample = sample_of(path)
    encoding = encoding_of(sample)
    text = sample.decode(encoding, errors="ignore")
    lines = [line for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not (comments and line.startswith("#"))), next(iter(lines), ""))
    if match := _SEP_LINE.fullmatch(first.strip("\r\n ")):
        return TextForm(encoding=encoding, separator=match[1], names_separator=True)
    return TextForm(encoding=encoding, separator=_separator_in(first, numbers))


def sample_of(path: Path, size: int = _SAMPLE_BYTES) -> bytes:
    """The first bytes of a file, unpacked where its name ends in `.gz`."""
    with open_unpacked(path) as file:
        return file.read(size)


def open_unpacked(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its name ends in `.gz`."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def encoding_of(sample: bytes) -> str:
    """Encoding of a text that begins with the bytes `sample`: UTF-8 unless marks or zeros say UTF-16 or UTF-32."""
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name
    even, odd = sample[::2], sample[1::2]
    if len(sample) >= 4 and b"\0" in sample:
        if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
            return "utf-16-le"
        if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
            return "utf-16-be"
    return "utf-8-sig"


def _separator_in(line: str, numbers: bool) -> str:
    counts = {separator: line.count(separator) for separator in _SEPARATORS}
    if numbers:
        strong = max(("\t", ";", "|"), key=lambda separator: counts[separator])
        if counts[strong]:
            return strong
        return "," if counts[","] or not re.search(r"\S\s+\S", line) else " "
    return "," if counts[","] else max(_SEPARATORS, key=lambda separator: counts[separator])


def table_lines(path: Path, form: TextForm, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line, the empty ones too, as they are written but for decimal commas.

    Raises OSError, UnicodeError and csv.Error; with `strict` the last one also for stray quotation marks.
    """
    with _open_text(path, form.encoding) as file:
        if form.separator == " ":
            rows: Iterator[tuple[int, list[str]]] = ((n, line.split()) for n, line in enumerate(file, 1))
        else:
            reader = csv.reader(file, delimiter=form.separator, strict=strict)
            rows = ((reader.line_num, cells) for cells in reader)
        begun = not form.names_separator
        for line, cells in rows:
            if not begun:  # blank lines may come before `sep=`
                begun = any(cell.strip() for cell in cells)
                continue
            yield line, cells if form.separator == "," else [_with_point(cell) for cell in cells]


def _open_text(path: Path, encoding: str) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return path.open(encoding=encoding, newline="")


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if "," in cell and _DECIMAL_COMMA.fullmatch(cell) else cell


def comma_hint(cell: str) -> str:
    """What to say of a cell that is no number for its decimal comma, in a table that is separated by commas."""
    return (
        "; it has a decimal comma: write a point, or separate the cells by ';'"
        if _DECIMAL_COMMA.fullmatch(cell)
        else ""
    )


def not_a_table(path: Path, error: Exception) -> DataFileError:
    """The error for a file whose text can't be read as a table."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start : error.start + 1].hex()
        return DataFileError(
            f"{path} is not a CSV file in UTF-8: {error.encoding} cannot read the byte 0x{byte} at {error.start}.",
            hint="Save it as CSV in UTF-8 (spreadsheets: 'CSV UTF-8'); UTF-16 with a byte order mark is read too.",
            path=str(path),
        )
    return DataFileError(f"{path} is not a CSV file in UTF-8: {error}.", path=str(path))
