"""Box files corrected by hand, `<name>.csv`, and their history, `<name>.csv.history.jsonl`."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.base import StrictModel
from gazetools.schemas.box_edits import BoxOrigin, HistoryBegin, HistorySave
from gazetools.schemas.errors import HeadsError

ORIGINS: tuple[str, ...] = get_args(BoxOrigin)
"""Words of the column `origin`, in the order of their numbers in `CorrectedBoxes.origin`."""
_NUMBER_OF = {word: number for number, word in enumerate(ORIGINS)}
INTERPOLATED = ORIGINS.index("interpolated")
HISTORY_SUFFIX = ".history.jsonl"
_COLUMNS = ("frame", "track_id", "xmin", "ymin", "xmax", "ymax", "origin", "role")
_MOST_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True)
class CorrectedBoxes:
    """Boxes of one video, sorted by (frame, track)."""

    frame: npt.NDArray[np.int64]
    """[N] index among the decoded frames; `track` and `origin` likewise."""
    track: npt.NDArray[np.int32]
    box_xyxy: npt.NDArray[np.float64]
    """[N, 4] in pixels of the video."""
    origin: npt.NDArray[np.uint8]
    """[N] places in `ORIGINS`."""
    roles: dict[int, str]
    """track -> `wearer` or `other`."""

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """What the history says of a corrected box file."""

    begin: HistoryBegin
    save: HistorySave
    lines: tuple[str, ...]
    """The lines of the history up to that save; later ones are of a save that did not finish."""


def history_path(csv_path: Path) -> Path:
    """The history next to a box file."""
    return csv_path.with_name(csv_path.name + HISTORY_SUFFIX)


def read_corrections(csv_path: Path, csv_sha256: str | None = None) -> Corrections | None:
    """The history of `csv_path` up to the save that wrote it; None: it has none, or was changed by something else.

    Raises HeadsError for a history that can't be read.
    """
    path = history_path(csv_path)
    if not path.is_file():
        return None
    wanted = csv_sha256 or sha256_of_file(csv_path)
    begin: HistoryBegin | None = None
    found: Corrections | None = None
    lines: list[str] = []
    for line in _lines(path):
        lines.append(line)
        what = _what(path, len(lines), line)
        if what == "begin":
            begin = _parsed(HistoryBegin, path, len(lines), line)
        elif what == "save":
            save = _parsed(HistorySave, path, len(lines), line)
            if save.csv_sha256 == wanted and begin is not None:
                found = Corrections(begin=begin, save=save, lines=tuple(lines))
    return found


def as_csv(boxes: CorrectedBoxes) -> bytes:
    """The file, which `extract --heads file:PATH` reads back exactly; the column `origin` is for people and `view`."""
    with_roles = any(role == "wearer" for role in boxes.roles.values())
    columns = _COLUMNS if with_roles else _COLUMNS[:-1]
    lines = [",".join(columns)]
    rows = zip(boxes.frame.tolist(), boxes.track.tolist(), boxes.box_xyxy.tolist(), boxes.origin.tolist(), strict=True)
    for frame, track, box, origin in rows:
        role = f",{boxes.roles.get(track, 'other')}" if with_roles else ""
        lines.append(f"{frame},{track},{','.join(map(_shortest, box))},{ORIGINS[origin]}{role}")
    return ("\n".join(lines) + "\n").encode()


def read_corrected(path: Path) -> CorrectedBoxes:
    """The boxes of a file that `as_csv` made. Raises HeadsError for anything else."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise HeadsError(f"{path} has more than {_MOST_BYTES >> 20} MB.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise HeadsError(f"Cannot read the corrected boxes {path}: {error}.") from None
    header = tuple(rows[0]) if rows else ()
    if header not in (_COLUMNS, _COLUMNS[:-1]):
        raise HeadsError(f"{path} is not a file of corrected boxes: its first line is not {','.join(_COLUMNS[:-1])}.")
    try:
        return _boxes_of(rows[1:], with_roles=header == _COLUMNS)
    except (ValueError, KeyError, OverflowError) as error:
        raise HeadsError(f"{path} is not a file of corrected boxes: {error}.") from None


def sorted_boxes(rows: Sequence[tuple[int, int, Sequence[float], int]], roles: dict[int, str]) -> CorrectedBoxes:
    """Boxes of rows (frame, track, box in pixels, origin) in any order."""
    frame = np.array([row[0] for row in rows], np.int64)
    track = np.array([row[1] for row in rows], np.int32)
    order = np.lexsort((track, frame))
    return CorrectedBoxes(
        frame=frame[order],
        track=track[order],
        box_xyxy=np.array([row[2] for row in rows], np.float64).reshape(-1, 4)[order],
        origin=np.array([row[3] for row in rows], np.uint8)[order],
        roles=roles,
    )


def _boxes_of(rows: list[list[str]], *, with_roles: bool) -> CorrectedBoxes:
    if {len(cells) for cells in rows} - {len(_COLUMNS) if with_roles else len(_COLUMNS) - 1}:
        raise ValueError("a line has another number of cells than the first one")
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)  # converted a column at a time, since rows are slow
    frame, track = (np.array(column, np.int64) for column in columns[:2])
    origin = np.array([_NUMBER_OF[word] for word in columns[6]], np.uint8)
    order = np.lexsort((track, frame))
    wearers = {int(one) for one, role in zip(track, columns[7], strict=True) if role == "wearer"} if with_roles else ()
    return CorrectedBoxes(
        frame=frame[order],
        track=track[order].astype(np.int32),
        box_xyxy=np.array(columns[2:6], np.float64).T[order],
        origin=origin[order],
        roles=dict.fromkeys(wearers, "wearer"),
    )


def _shortest(value: float) -> str:
    """The shortest text that reads back as this number."""
    text = repr(value)
    return text.removesuffix(".0")


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise HeadsError(f"{path} has more than {_MOST_BYTES >> 20} MB.")
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise HeadsError(f"Cannot read the history {path}: {error}.") from None


def _what(path: Path, number: int, line: str) -> str:
    try:
        return str(json.loads(line)["what"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _broken(path, number) from None


def _parsed(model: type[StrictModel], path: Path, number: int, line: str) -> Any:
    try:
        return model.model_validate_json(line)
    except ValidationError:
        raise _broken(path, number) from None


def _broken(path: Path, number: int) -> HeadsError:
    return HeadsError(
        f"{path}, line {number}: not a line of a history of corrections.",
        hint="Move the history and its CSV away, or restore them from a copy.",
        line=number,
    )
