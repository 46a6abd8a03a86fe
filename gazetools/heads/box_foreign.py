"""Files of other tools that are no table of boxes: recognised by their first bytes, with what to export instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gazetools.heads.box_file import NEEDED, BoxFile, BoxFormat, BoxRow, is_number, last_number
from gazetools.io.find_files import files_with
from gazetools.schemas.errors import HeadsError

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, as Excel and LibreOffice save their sheets"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or other Office file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"MATLAB", "a MATLAB file"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
)


def _json_with(*patterns: str) -> Callable[[BoxFile], bool]:
    """Whether a JSON text has, in its first 64 KiB, one of these regular expressions."""
    return lambda file: _is_json(file) and any(re.search(pattern, file.text.opening) for pattern in patterns)


def _is_json(file: BoxFile) -> bool:
    return file.text.opening.startswith("{") or bool(re.match(r'\[\s*[\[{"\d\]-]', file.text.opening))


_is_labelstudio = _json_with(r'"(video)?rectangle(labels)?"', r'"from_name"', r'"sequence"\s*:')
_is_labelme = _json_with(r'"shapes"\s*:', r'"imagePath"\s*:')
_is_via = _json_with(r'"_via_', r'"shape_attributes"\s*:')
_is_supervisely = _json_with(r'"points"\s*:\s*\{\s*"exterior"')


def _is_coco(file: BoxFile) -> bool:
    return _json_with(r'"image_id"\s*:', r'"bbox"\s*:', r'"categories"\s*:')(file) and not _is_labelstudio(file)


def _is_xml(file: BoxFile) -> bool:
    return file.text.opening.startswith("<")


def _is_cvat(file: BoxFile) -> bool:
    return _is_xml(file) and bool(re.search(r"<annotations>|<track[ >]|\bxtl=", file.text.opening))


def _is_yolo(file: BoxFile) -> bool:
    """Lines `class cx cy w h [confidence or track]`, separated by spaces, relative to the picture."""
    if not file.is_text or file.text.separator != " ":
        return False
    rows = [cells for _, cells in file.lines[:1000]]
    return all(
        len(cells) in {5, 6, 7}
        and all(map(is_number, cells))
        and float(cells[0]).is_integer()
        and all(0 <= float(cell) <= 1 for cell in cells[1:5])
        for cells in rows
    )


def _other_json(file: BoxFile) -> str:
    known = (
        (_is_labelme, "LabelMe's: one picture per file"),
        (_is_via, "that of VGG Image Annotator"),
        (_is_supervisely, "Supervisely's"),
    )
    kind = next((f" ({words})" for recognise, words in known if recognise(file)), "")
    return f"JSON{kind}. Boxes of other tools' JSON are often x, y, width, height: add them for xmax and ymax."


def _other(file: BoxFile) -> str:
    if _is_json(file):
        return _other_json(file)
    if re.match(r"<!doctype html|<html", file.text.opening, re.IGNORECASE):
        return "an HTML page, such as a download that needed a login."
    if _is_xml(file):
        voc = " (Pascal VOC: one picture per file)" if "<bndbox>" in file.text.opening else ""
        return f"XML{voc}, which is not read."
    start = file.text.start
    kind = next((words for magic, words in _MAGIC if start.startswith(magic)), "")
    kind = kind or ("an MP4 or MOV video" if start[4:8] == b"ftyp" else "a binary file, no text")
    return f"{kind}. Save the table as CSV."


def _is_other(file: BoxFile) -> bool:
    start = file.text.start
    binary = any(start.startswith(magic) for magic, _ in _MAGIC) or "\0" in file.text.opening
    return _is_json(file) or _is_xml(file) or binary or start[4:8] == b"ftyp"


def _refused(what: Callable[[BoxFile], str]) -> Callable[[BoxFile], Iterator[BoxRow]]:
    """Rows of a format that is recognised but not read: HeadsError with what the file is."""

    def rows(file: BoxFile) -> Iterator[BoxRow]:
        raise HeadsError(f"{file.path} is {what(file)}", hint=NEEDED)

    return rows


def _cvat(file: BoxFile) -> str:
    kind = "images" if re.search(r"<image[ >]", file.text.opening) else "video"
    return (
        f"XML of CVAT 1.1 for {kind}, which is not read. Its boxes are xtl, ytl, xbr, ybr in pixels, frames from 0: "
        "they are xmin, ymin, xmax, ymax. CVAT's export 'MOT 1.1' (its gt.txt) is read as it is."
    )


FOREIGN_FORMATS = {
    "coco": BoxFormat(
        recognise=_is_coco,
        rows=_refused(
            lambda _: (
                "JSON in COCO's form, which is not read. Its bbox is x,y,width,height in pixels (xmax = x + width, "
                "ymax = y + height), and its image_id is no frame number: the name in its images tells the frame."
            )
        ),
        suffixes=(".json",),
    ),
    "labelstudio": BoxFormat(
        recognise=_is_labelstudio,
        rows=_refused(
            lambda _: (
                "JSON of Label Studio, which is not read. Its x, y, width, height are percent of the picture "
                "(xmax = (x + width) / 100 * picture width) and its frames count from 1."
            )
        ),
        suffixes=(".json",),
    ),
    "cvat": BoxFormat(recognise=_is_cvat, rows=_refused(_cvat), suffixes=(".xml",)),
    "yolo": BoxFormat(
        recognise=_is_yolo,
        rows=_refused(
            lambda _: (
                "a label file of YOLO, one per picture: class, x and y of the centre, width, height, all 0..1. It is "
                "not read: write one row per frame and box, xmin = (x - width / 2) * picture width."
            )
        ),
    ),
    "other": BoxFormat(recognise=_is_other, rows=_refused(_other), suffixes=(".json", ".xml")),
}
"""Formats that are recognised and refused by name; `other`: any other JSON, XML or binary file."""


def hint_of_folder(folder: Path) -> str:
    """What a folder without a box file for any video holds instead, as the end of an error; "" where that is not known.

    YOLO writes one text per frame, whose names end in the frame's number.
    """
    texts = [path.stem for path, _ in zip(files_with(folder, ".txt"), range(1000), strict=False)]
    numbered = [name for name in texts if last_number(name) is not None]
    if len(numbered) < 10 or len(numbered) < 0.9 * len(texts):
        return ""
    return (
        " Its files end in numbers, as YOLO writes one per frame (class, centre, size in 0..1); such folders are not "
        f"read. {NEEDED}"
    )
