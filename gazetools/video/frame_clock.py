"""The times of a folder's pictures: by a rate and their numbers, or by a CSV; stated by options or in the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.picture_names import STATEMENTS, PictureList, files_in, is_picture, numbered_pictures
from gazetools.io.tables import read_header, read_table
from gazetools.schemas.errors import DataFileError, UsageError, VideoError
from gazetools.schemas.picture_times import EPIC_RULE, RATE_FILE, TIMES_FILE, PictureTimes, epic_rate, parse_rate
from gazetools.schemas.provenance import SourceVideo

Floats = npt.NDArray[np.float64]
_MOST_STATEMENT_BYTES = 1000


@dataclass(frozen=True, kw_only=True)
class FrameClock:
    """What says when the pictures of a folder were taken: a rate or a CSV."""

    stated_by: str
    """Option or file, for messages and provenance."""
    rate: Fraction | None = None
    table: Path | None = None
    count: int | None = None
    """Number of pictures, where a CSV of rates states it (`num_frames`)."""


def clock_of(folder: Path, times: PictureTimes) -> FrameClock:
    """The statement of an option or, without one, of a file in the folder.

    Raises UsageError where nothing states it, where option and file contradict, or where a table lacks the folder.
    """
    given, own = _given(folder, times), _own(folder)
    if given is None and own is None:
        raise UsageError(
            f"{folder} is a folder of pictures, and nothing says when they were taken.",
            hint="Give --frame-rate RATE, the pictures per second such as 30 or 30000/1001 (EPIC-KITCHENS: "
            f"--frame-rate {EPIC_RULE}, which is 60 for P01_01 and 50 for P01_101), or --frame-times CSV; or write the "
            f"rate into {folder / RATE_FILE}.",
            path=str(folder),
        )
    if given is not None and own is not None and (given.rate, given.table) != (own.rate, own.table):
        raise UsageError(
            f"{folder}: {given.stated_by} and {own.stated_by} say different times.",
            hint="Leave the option out, or remove that file.",
            path=str(folder),
        )
    found = given or own
    assert found is not None
    return found


def timed_pictures(folder: Path, clock: FrameClock) -> tuple[PictureList, Floats]:
    """The pictures in their order and the time of each, float64 [N] ascending.

    Raises VideoError or DataFileError where names, numbers or the CSV do not give one picture for one time.
    """
    if clock.table is not None:
        return _by_table(folder, clock.table)
    assert clock.rate is not None
    pictures = numbered_pictures(folder)
    refuse_unclear_numbers(pictures)
    return pictures, times_of_numbers(pictures.numbers, clock.rate)


def times_of_numbers(numbers: tuple[int, ...] | range, rate: Fraction) -> Floats:
    """Seconds of pictures by their numbers: (number - first number) / rate, rounded once; the first is at 0."""
    first, (above, below) = numbers[0], rate.as_integer_ratio()
    if (numbers[-1] - first) * below < 2**53:
        seconds: Floats = (np.array(numbers, np.int64) - first) * below / above
        return seconds
    return np.array([(number - first) * below / above for number in numbers], np.float64)


def refuse_unclear_numbers(pictures: PictureList) -> None:
    """VideoError for numbers of which a rate does not say the times: steps of k, and numbers that are times."""
    numbers, hint = pictures.numbers, "Give their times by --frame-times CSV (columns name,seconds)."
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if len(numbers) > 2 and step > 1 and all(b - a == step for a, b in pairwise(numbers)):
        raise VideoError(
            f"{pictures.folder}: the numbers of its {len(numbers)} pictures go in steps of {step}, so that a "
            "rate could count the pictures or the numbers.",
            hint=f"{hint} Or rename them to go in steps of 1.",
            path=str(pictures.folder),
        )
    if pictures.missing > len(numbers):
        raise VideoError(
            f"{pictures.folder}: {len(numbers)} pictures have numbers from {numbers[0]} to {numbers[-1]}; most are "
            "missing, so that a rate does not tell their times.",
            hint=hint,
            path=str(pictures.folder),
        )


def times_or_recorded(folder: Path, given: PictureTimes, recorded: SourceVideo | None) -> PictureTimes:
    """The options, else what a file in the folder states, else what the heatmaps' provenance recorded."""
    if given.for_reader() or recorded is None or not folder.is_dir():
        return given
    return given if any((folder / name).is_file() for name in STATEMENTS) else recorded.own_times()


def _given(folder: Path, times: PictureTimes) -> FrameClock | None:
    """The statement of an option for `folder`."""
    if times.frame_times is not None:
        return FrameClock(stated_by=f"--frame-times {times.frame_times}", table=_table_for(folder, times.frame_times))
    if (text := times.frame_rate) is None:
        return None
    if text == EPIC_RULE:
        if (rate := epic_rate(folder.absolute().name)) is None:
            raise UsageError(
                f"--frame-rate {EPIC_RULE} knows folders named like P01_01 and P01_101, not {folder.absolute().name}.",
                hint="Give the rate itself, or a CSV with video_id and fps.",
            )
        return FrameClock(stated_by=f"--frame-rate {EPIC_RULE}", rate=rate)
    try:
        return FrameClock(stated_by=f"--frame-rate {text}", rate=parse_rate(text))
    except ValueError:
        rates = read_rates(Path(text))
    for name in _ends(folder):
        if name in rates:
            return replace(rates[name], stated_by=f"--frame-rate {text}")
    raise UsageError(
        f"{text} has no fps for {folder.absolute().name!r} ({len(rates)} videos are in it).",
        hint="Give --frame-rate the CSV of these videos, or their rate itself.",
        path=str(folder),
    )


def _own(folder: Path) -> FrameClock | None:
    """The statement of a file in `folder`."""
    rate, table = folder / RATE_FILE, folder / TIMES_FILE
    if rate.is_file() and table.is_file():
        raise UsageError(f"{rate} and {table.name} both say when the pictures were taken.", hint="Remove one of them.")
    if table.is_file():
        return FrameClock(stated_by=str(table), table=table)
    if not rate.is_file():
        return None
    with rate.open("rb") as file:
        text = file.read(_MOST_STATEMENT_BYTES).decode("utf-8-sig", "replace")
    try:
        return FrameClock(stated_by=str(rate), rate=parse_rate(text))
    except ValueError as error:
        raise UsageError(f"{rate}: {error}.", hint="Write one number into it, such as 30000/1001.") from None


def _ends(folder: Path) -> Iterator[str]:
    """The names that a table may have for `folder`: its path, and every end of it, the longest first."""
    parts = folder.absolute().parts[1:]
    return ("/".join(parts[first:]) for first in range(len(parts)))


def _table_for(folder: Path, place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise UsageError(f"--frame-times {place} does not exist.", hint="Check the path.")
    if (found := next((one for name in _ends(folder) if (one := place / f"{name}.csv").is_file()), None)) is None:
        raise UsageError(f"--frame-times {place} has no {folder.absolute().name}.csv.", hint="Name it as the folder.")
    return found


def read_rates(path: Path) -> dict[str, FrameClock]:
    """Video id -> rate and, where the column num_frames has it, number of pictures, of a CSV with video_id and fps.

    Raises UsageError where the file is not there, DataFileError for a row without a rate above 0.
    """
    if not path.is_file():
        raise UsageError(f"The CSV of frame rates {path} does not exist.", hint="Check the path.")
    status = path.stat()
    return _rates(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _rates(path: Path, mtime_ns: int, size: int) -> dict[str, FrameClock]:
    table = read_table(path, required=["video_id", "fps"], optional=["num_frames"])
    counts = table.integers("num_frames", empty=0).tolist() if "num_frames" in table else [0] * len(table)
    rates = {}
    for row, (video_id, text, count) in enumerate(
        zip(table.columns["video_id"], table.columns["fps"], counts, strict=True)
    ):
        try:
            rate = parse_rate(text)
        except ValueError:
            rate = None
        if rate is None or count < 0:
            raise DataFileError(
                f"{path}, line {table.lines[row]}: fps {text!r} and num_frames {count} of {video_id!r} must be above 0."
            )
        rates[video_id] = FrameClock(stated_by=str(path), rate=rate, count=count or None)
    return rates


def _by_table(folder: Path, path: Path) -> tuple[PictureList, Floats]:
    """The pictures and times of a CSV with `name` or `frame`, and `seconds`."""
    header = read_header(path)
    key = "name" if "name" in header else "frame"
    table = read_table(path, required=[key, "seconds"])
    seconds = table.floats("seconds")
    wrong = np.flatnonzero(~np.isfinite(seconds) | (np.diff(seconds, prepend=-np.inf) <= 0))
    if len(wrong) or not len(seconds):
        where = f", line {table.lines[int(wrong[0])]}" if len(wrong) else ""
        raise DataFileError(f"{path}{where}: seconds must ascend, one finite number for each picture.", path=str(path))
    pictures = _named(folder, table.columns["name"], path) if key == "name" else numbered_pictures(folder)
    if key == "frame":
        frames = table.integers("frame").tolist()
        if frames != list(range(len(pictures.names))):
            raise DataFileError(
                f"{path}: frame runs from {frames[0]} to {frames[-1]} in {len(frames)} rows; the "
                f"{len(pictures.names)} pictures of {folder} are the frames 0 to {len(pictures.names) - 1}.",
                hint="Count frames from 0, one row for each picture; or give the column name instead of frame.",
                path=str(path),
            )
    return pictures, seconds


def _named(folder: Path, names: list[str], path: Path) -> PictureList:
    """The pictures that a CSV names, in its order."""
    files = files_in(folder)
    there, listed = set(files), set(names)
    if absent := [name for name in names if name not in there or not is_picture(name)]:
        raise VideoError(
            f"{path} names {len(absent)} pictures that {folder} does not have, such as {absent[0]!r}.",
            hint="The column name has file names without a folder.",
            path=str(folder),
        )
    if len(listed) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataFileError(f"{path} names {twice!r} twice.", path=str(path))
    others = tuple(name for name in files if name not in listed and name not in (RATE_FILE, TIMES_FILE, path.name))
    return PictureList(folder=folder, names=tuple(names), numbers=(), pattern="", others=others)


def clock_digest(folder: Path, times: PictureTimes) -> str:
    """What shapes the times of the folder's pictures, for keys of results: its rate, or the sha256 of its CSV."""
    clock = clock_of(folder, times)
    return f"{clock.rate} per second" if clock.table is None else hashlib.sha256(clock.table.read_bytes()).hexdigest()
