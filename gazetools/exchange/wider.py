"""Lists of faces in the form of WIDER FACE: a picture's name, the number of its faces, a line for each of them.

As in the readme of wider_face_split (shuoyang1213.me/WIDERFACE): x1, y1, w, h, blur, expression, illumination,
invalid, occlusion, pose; a picture without faces has one line of zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gazetools.exchange.boxes import MAX_BYTES, BoxCollector, ForeignBoxes, Wanted, chosen_video, frames_of_pictures
from gazetools.exchange.names import folder_of, last_number
from gazetools.io.delimited import encoding_of, open_unpacked, sample_of
from gazetools.io.picture_names import PICTURE_SUFFIXES
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

_SUFFIXES = tuple(sorted(PICTURE_SUFFIXES))
_INVALID = 7
"""Place of the mark of faces that are not to be used."""
_LABEL = "face"


def is_face_list(lines: Iterable[str]) -> bool:
    """Whether a text begins with a picture's name, a number alone and a line of numbers."""
    first, count, face = [line.strip() for line, _ in zip((*lines, "", "", ""), range(3), strict=False)]
    named = first.lower().endswith(_SUFFIXES) and last_number(first) is not None
    return named and _is_count(count) and len(face.split()) >= 4 and all(map(_is_number, face.split()))


def read_face_list(path: Path, wanted: Wanted) -> ForeignBoxes:
    """The boxes of one video; the folders of the pictures tell videos apart. HeadsError names the line."""
    collector, pictures = BoxCollector(path, "line"), dict[str, dict[object, str]]()
    places: dict[str, int] = {}
    lines = _lines(path)
    for number, name in lines:
        if not name.lower().endswith(_SUFFIXES):
            raise HeadsError(f"{path}, line {number} is {excerpt(name)}, not the name of a picture.")
        if name in places:
            raise HeadsError(f"{path}, line {number}: the picture {excerpt(name)} is there a second time.")
        place = places[name] = len(places)
        pictures.setdefault(folder_of(name), {})[place] = name
        line, count = next(lines, (number, ""))
        if not _is_count(count):
            raise HeadsError(
                f"{path}, line {line} is {excerpt(count)}, not the number of faces of {excerpt(name, 80)}."
            )
        for _ in range(max(int(count), 1)):
            line, face = next(lines, (line, ""))
            _add_face(collector, place, face, line, expected=int(count))
    video, notes = chosen_video(path, pictures, wanted)
    rule = frames_of_pictures(path, pictures[video], wanted)
    collector.move_frames({int(str(place)): frame for place, frame in rule.frames.items()}, "of other videos")
    columns = f"left, top, width, height; frame: {rule.words}"
    boxes = collector.table(wanted, columns, person_word="track")
    boxes.counts, boxes.notes = rule.counts, [*notes, *boxes.notes]
    return boxes


def _add_face(collector: BoxCollector, place: int, face: str, line: int, *, expected: int) -> None:
    cells = face.split()
    if len(cells) < 4 or not all(map(_is_number, cells)):
        raise HeadsError(
            f"{collector.path}, line {line} is {excerpt(face)}, not a face (x1 y1 w h ...); {expected} are announced.",
            hint="A picture without faces has the number 0 and one line of zeros.",
        )
    x, y, width, height = (float(cell) for cell in cells[:4])
    if expected == 0 or not (width or height):
        if expected:
            collector.leave_out("whose width and height are 0")
        return
    if len(cells) > _INVALID and float(cells[_INVALID]) == 1:
        collector.leave_out("marked invalid")
        return
    collector.add(place, None, _LABEL, (x, y, x + width, y + height), line)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _is_number(cell: str) -> bool:
    try:
        return abs(float(cell)) < 1e9
    except ValueError:
        return False


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not empty."""
    encoding, read = encoding_of(sample_of(path)), 0
    with open_unpacked(path) as file:
        for number, data in enumerate(file, 1):
            if (read := read + len(data)) > MAX_BYTES:
                raise HeadsError(f"{path} has more than {MAX_BYTES} bytes.")
            if text := data.decode(encoding, errors="replace").strip("\ufeff \t\r\n"):
                yield number, text
