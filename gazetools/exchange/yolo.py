"""YOLO's label files, one for each frame, or one text with frame numbers: boxes read from them.

A line is `class x y width height [confidence] [track]`, the box by its centre in 0..1 of the picture, as Ultralytics
writes with save_txt and save_conf (docs.ultralytics.com/datasets/detect); files are named by the frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gazetools.exchange.boxes import BoxCollector, ForeignBoxes, Wanted
from gazetools.exchange.names import last_number
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

_WIDTHS = (5, 6, 7)
_MAX_LINE_FILE = 8 << 20
_FILES_LOOKED_AT = 5
_Line = tuple[int, list[float], str]
"""Frame, numbers of the line from the class on, where it stands."""


def is_label_line(cells: Sequence[float]) -> bool:
    """Whether numbers are those of a label file."""
    return len(cells) in _WIDTHS and float(cells[0]).is_integer() and all(0 <= cell <= 1 for cell in cells[1:5])


def label_files(place: Path) -> list[Path]:
    """Label files of one video: the numbered texts in the folder `place`, or of the pattern `FOLDER/STEM_*.txt`."""
    folder, ending = (place.parent, re.compile(re.escape(place.name.removesuffix("*.txt")) + r"\d+\.txt"))
    if "*" not in place.name:
        folder, ending = place, re.compile(r".*\d\.txt")
    return sorted(path for path in folder.iterdir() if ending.fullmatch(path.name) and path.is_file())


def label_place(folder: Path, video_id: str, *, alone: bool) -> Path | None:
    """Where `folder` has label files of the video, as `label_files` takes it; None: nowhere.

    `<id>/`, `<id>/labels/`, or numbered texts that begin with the video's name; with `alone` (no other video is
    wanted) also all numbered texts of the folder, or of `labels/` in it.
    """
    last = video_id.rpartition("/")[2]
    for place in (folder / video_id, folder / video_id / "labels"):
        if place.is_dir() and label_files(place):
            return place
    for inner in (folder, folder / "labels"):
        pattern = inner / f"{last}_*.txt"
        if inner.is_dir() and label_files(pattern):
            return pattern
        if alone and inner.is_dir() and _are_labels(label_files(inner)):
            return inner
    return None


def _are_labels(files: Sequence[Path]) -> bool:
    """Whether the first lines of numbered texts are those of label files: their names do not say so."""
    for path in files[:_FILES_LOOKED_AT]:
        with path.open("rb") as file:
            cells = file.readline(1000).decode("utf-8", errors="replace").split()
        try:
            if cells and not is_label_line([float(cell) for cell in cells]):
                return False
        except ValueError:
            return False
    return bool(files)


def read_label_files(place: Path, wanted: Wanted) -> ForeignBoxes:
    """The boxes of one video, whose frames are the last numbers in the names of its label files."""
    frames: dict[int, Path] = {}
    for path in label_files(place):
        number = last_number(path.name) or 0
        if number in frames:
            raise HeadsError(
                f"{frames[number]} and {path.name} end in the same number, so that numbers are no frames.",
                hint="Keep the label files of one video in a folder of its name.",
            )
        frames[number] = path
    lines = [line for frame, path in sorted(frames.items()) for line in _lines(path, frame)]
    return _boxes(place, lines, wanted, "frame: last number of the label file's name")


def read_framed_labels(path: Path, wanted: Wanted) -> ForeignBoxes:
    """The boxes of one text whose lines have the frame in front of what a label file has."""
    lines = []
    for _, (frame, *cells), where in _lines(path, 0, least=6):
        if not frame.is_integer() or not 0 <= frame < 2**31:
            raise HeadsError(f"{where}: the frame is {frame:g}, no whole number from 0.")
        lines.append((int(frame), cells, where))
    return _boxes(path, lines, wanted, "frame first")


def _lines(path: Path, frame: int, *, least: int = 5) -> Iterator[_Line]:
    try:
        if least == 5 and path.stat().st_size > _MAX_LINE_FILE:
            raise HeadsError(f"{path} has {path.stat().st_size} bytes, too many for the label file of one picture.")
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not (cells := line.split()):
                    continue
                where = f"{path}, line {number}"
                try:
                    numbers = [float(cell) for cell in cells]
                except ValueError:
                    raise HeadsError(f"{where} is {excerpt(line.strip())}, not numbers alone.") from None
                if not all(map(math.isfinite, numbers)):
                    raise HeadsError(f"{where} is {excerpt(line.strip())}: a number is not finite.")
                if not least <= len(numbers) <= least + 2:
                    raise HeadsError(
                        f"{where} has {len(numbers)} cells; label files have {least} to {least + 2}: "
                        "class x y width height [confidence] [track]."
                        + (" More are outlines or keypoints, which are not read." if len(numbers) > least + 2 else "")
                    )
                yield frame, numbers, where
    except (OSError, UnicodeError) as error:
        raise HeadsError(f"Cannot read the label file {path}: {getattr(error, 'strerror', None) or error}.") from None


def _boxes(place: Path, lines: Sequence[_Line], wanted: Wanted, words: str) -> ForeignBoxes:
    collector = BoxCollector(place, "row")
    sixth_is_track = _sixth_is_track(lines)
    for number, (frame, cells, where) in enumerate(lines, 1):
        label, x, y, width, height, *more = cells
        if not label.is_integer() or not all(0 <= side <= 1 for side in (x, y, width, height)):
            raise HeadsError(
                f"{where} is {excerpt(' '.join(f'{cell:g}' for cell in cells))}, no class with a box in 0..1.",
                hint="YOLO's boxes are x and y of the centre, width and height, in 0..1 of the picture.",
            )
        track = more[1] if len(more) == 2 else more[0] if more and sixth_is_track else None
        if not (width or height):
            collector.leave_out("whose width and height are 0")
            continue
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        collector.add(frame, track, f"{label:.0f}", box, number)
    columns = f"{words}; class, x and y of the centre, width, height"
    boxes = collector.table(wanted, columns, person_word="track")
    boxes.units = "fraction"
    return boxes


def _sixth_is_track(lines: Sequence[_Line]) -> bool:
    """Whether the only cell behind the box names a person: whole numbers, of which no frame has one twice."""
    found = np.array([(frame, cells[5]) for frame, cells, _ in lines if len(cells) == 6]).reshape(-1, 2)
    whole = bool((found[:, 1] == np.floor(found[:, 1])).all())
    return whole and len(np.unique(found, axis=0)) == len(found)
