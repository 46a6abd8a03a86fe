"""`BoxFile`, the text of a head-box file in cells, and `BoxFormat`, what a format must say about itself."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gazetools.io.delimited import comma_hint, encoding_of, form_of, sample_of, table_lines
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt
from gazetools.schemas.heads import BoxFileOptions

COLUMNS = ("frame", "track_id", "xmin", "ymin", "xmax", "ymax")
HEADER = ",".join(COLUMNS)
NEEDED = f"Write a CSV whose first line is {HEADER} (pixels of the video, frames from 0)."
_MAX_BYTES = 512 << 20

_COMMENT = "#"
_NO_NUMBERS = (
    (r"[-+]?[\d.]+\s*(px|%)", "Write numbers alone; --heads-units says the unit: pixels, percent or fraction."),
    (r"[\d:]+:[\d.,:]+", "Is it a time? Name its column 'time'; the frames are found by the video's times."),
)
"""Forms of cells where a number is expected, and what to do about them."""

BoxRow: TypeAlias = tuple[int, int, float, float, float, float, int]
"""frame (counted as the format says), track_id, xmin, ymin, xmax, ymax, line in the file (from 1)"""


class BoxText:
    """The text of a box file, read once for all formats that are tried; with `comments` also lines with `#`."""

    def __init__(self, path: Path, *, comments: bool = False) -> None:
        self.path = path
        self._comments = comments

    @cached_property
    def start(self) -> bytes:
        """The first 64 KiB; HeadsError where the file can't be read or is too large."""
        try:
            if (size := self.path.stat().st_size) > _MAX_BYTES:
                raise HeadsError(f"{self.path} has {size} bytes; a head-box file has at most {_MAX_BYTES}.")
            return sample_of(self.path)
        except (OSError, EOFError) as error:
            hint = "Check the path after --heads file:."
            reason = getattr(error, "strerror", None) or error
            raise HeadsError(f"Cannot read the head-box file {self.path}: {reason}.", hint=hint) from None

    @cached_property
    def opening(self) -> str:
        """The first 64 KiB as text without white space at its start; bytes that are no text are left out."""
        return self.start.decode(encoding_of(self.start), errors="ignore").lstrip("\ufeff \t\r\n")

    @cached_property
    def separator(self) -> str:
        """The character between two cells."""
        return form_of(self.path, numbers=True, comments=not self._comments).separator

    @cached_property
    def lines(self) -> list[tuple[int, list[str]]]:
        """(line number, stripped cells) of every line that is not empty, at least one; else HeadsError."""
        if not self.start:
            raise HeadsError(f"{self.path} is empty.", hint=NEEDED)
        try:
            table = table_lines(self.path, form_of(self.path, numbers=True, comments=not self._comments))
            rows = ((line, [cell.strip() for cell in cells]) for line, cells in table)
            filled = [row for row in rows if any(row[1])]
        except OSError as error:
            raise HeadsError(f"Cannot read the head-box file {self.path}: {error.strerror}.") from None
        except UnicodeError as error:
            raise HeadsError(f"{self.path} is not a CSV text file: {error}.", hint=NEEDED) from None
        except csv.Error as error:
            raise HeadsError(f"{self.path} is not a CSV text file: {error}.", hint=NEEDED) from None
        if not filled:
            raise HeadsError(f"{self.path} is empty.", hint=NEEDED)
        return _without_empty_ends(filled if self._comments else _without_comments(filled))

    @cached_property
    def has_header(self) -> bool:
        """Whether the first line names columns: none of its cells is a number, or some are names that are known."""
        first = [cell.lower() for cell in self.lines[0][1]]
        return not any(map(is_number, first)) or bool(set(first) & set(COLUMNS))

    @cached_property
    def columns(self) -> list[tuple[str, ...]]:
        """Cells below the header by column, as many columns as the shortest row has."""
        return list(zip(*(cells for _, cells in self.lines[int(self.has_header) :]), strict=False))


@dataclass(kw_only=True)
class FoundInRows:
    """What a format learns while it reads the rows."""

    roles: dict[int, str] = field(default_factory=dict)
    """track id -> `wearer` or `other`."""
    notes: list[str] = field(default_factory=list)
    """What the user should know."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> rows that the file itself marks as not to be used."""
    columns: str = ""
    """What the columns of a row are, for people."""
    in_row_order: bool = False
    """Whether rows carry no frame number, so that their order is that of the frames."""
    in_time: bool = False
    """Whether rows carry times: `rows` then gives microseconds for frames."""
    start: str = ""
    """What the times count from, where rows carry times."""
    units: str | None = None
    """Unit that the header names; None: it names none."""
    counts: tuple[int, ...] | None = None
    """Numbers that the first frame may have in this file; None: as the format says."""
    picture: tuple[int, int] | None = None
    """Width and height of the pictures that pixels are of; None: those of the video."""
    interpolated: int = 0
    """Number of rows that lie between two others, so that they depend on a later frame."""
    row_word: str = "line"
    """What a row is called in messages."""


@dataclass(frozen=True)
class BoxFile:
    """A file of head boxes, one box per line, as one format reads it."""

    text: BoxText
    options: BoxFileOptions
    found: FoundInRows = field(default_factory=FoundInRows)
    video_id: str | None = None
    """The video whose boxes are wanted, for files of several; None: not known."""

    @property
    def roles(self) -> dict[int, str]:
        """track id -> `wearer` or `other`; filled while rows are read."""
        return self.found.roles

    @property
    def path(self) -> Path:
        """The file."""
        return self.text.path

    @property
    def first_frame(self) -> int:
        """Frame of the first row where rows carry no frame number."""
        return self.options.heads_first_frame or 0

    @property
    def lines(self) -> list[tuple[int, list[str]]]:
        """(line number, stripped cells) of every line that is not empty, at least one; else HeadsError."""
        return self.text.lines

    @property
    def first_cells(self) -> list[str]:
        """Cells of the first line in lower case."""
        return [cell.lower() for cell in self.lines[0][1]]

    @property
    def rows(self) -> list[tuple[int, list[str]]]:
        """The `lines` below the header, all of them where there is none."""
        return self.lines[int(self.has_header) :]

    @property
    def columns(self) -> list[tuple[str, ...]]:
        """Cells of the rows by column, as many columns as the shortest row has."""
        return self.text.columns

    @property
    def is_text(self) -> bool:
        """Whether the file is a text of lines, no binary file and no JSON or XML."""
        return not self.text.opening.startswith(("{", "[", "<")) and "\0" not in self.text.opening

    @property
    def has_header(self) -> bool:
        """Whether the first line names columns: none of its cells is a number, or some are names that are known."""
        return self.text.has_header

    def error(self, line: int, what: str, *, hint: str | None = None) -> HeadsError:
        """The error that says `what` is wrong in a line."""
        hint = hint or (None if self.has_header else NEEDED)  # a header says what the columns are
        return HeadsError(f"{self.path}, line {line}: {what}.", hint=hint, line=line)

    def number(self, line: int, name: str, cell: str) -> float:
        """`cell` as a finite number; HeadsError names it."""
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            hint = next((words for form, words in _NO_NUMBERS if re.fullmatch(form, cell[:200])), None)
            raise self.error(line, f"{name} is {excerpt(cell)}, not a number{comma_hint(cell)}", hint=hint)
        return value

    def integer(self, line: int, name: str, cell: str) -> int:
        """`cell` as a whole number of 32 bits; HeadsError names it."""
        if name != "frame" and not is_number(cell):
            what = f"{name} is {excerpt(cell)}, not a number; people have whole numbers, which --people names"
            raise self.error(line, what, hint="Number the people, such as 1 for the first name.")
        value = self.number(line, name, cell)
        if value != int(value) or abs(value) >= 2**31:
            seconds = " Is it a time in seconds? Frames are counted." if name == "frame" else ""
            raise self.error(line, f"{name} is {excerpt(cell)}, not a whole number", hint=seconds.strip() or None)
        return int(value)


@dataclass(frozen=True, kw_only=True)
class BoxFormat:
    """A format of head-box files."""

    recognise: Callable[[BoxFile], bool]
    """Whether the file may be of this format; several may say so of one file, see `read_heads`."""
    rows: Callable[[BoxFile], Iterable[BoxRow] | npt.NDArray[np.float64]]
    """Rows one by one or as an array [N, 7]. HeadsError names file and line of what the format does not allow."""
    suffixes: tuple[str, ...] = (".csv", ".txt")
    """Suffixes of files that are looked for in a folder."""
    words: str = ""
    """How the columns are read, for people."""
    counts_from: int | None = 0
    """Number that `rows` give the video's first frame; None: the numbers of the file must tell whether it is 0 or 1."""
    settled: Callable[[BoxFile], bool] = lambda _: True
    """Whether the file is read so even where its numbers allow other readings too."""
    own: bool = False
    """Whether this is our own format, of which nothing needs to be said."""
    videos: Callable[[Path], list[str]] | None = None
    """Names of the videos in a file; None: a file of this format has one."""


def is_number(cell: str) -> bool:
    """Whether the text is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _without_comments(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Rows without those that begin with `#`, but for a header such as `# frame,track_id,...` above the first row."""
    is_comment = [cells[0].startswith(_COMMENT) for _, cells in rows]
    if all(is_comment):
        return rows
    first = is_comment.index(False)
    above = rows[first - 1] if first else None
    cells = rows[first][1]
    is_header = above is not None and len(above[1]) == len(cells) and any(map(is_number, cells))
    kept = [row for row, comment in zip(rows, is_comment, strict=True) if not comment]
    return [above, *kept] if above is not None and is_header else kept


def _without_empty_ends(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Rows without the columns at the end in which no row has anything, as separators there make them."""
    width = max(place for _, cells in rows for place, cell in enumerate(cells, 1) if cell)
    return [(line, cells[:width]) for line, cells in rows]
