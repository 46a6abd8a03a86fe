"""Box files of other tools that are no tables, recognised by their first 64 KiB: read, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.exchange.boxes import ForeignBoxes, Wanted
from gazetools.exchange.coco import coco_videos, read_coco
from gazetools.exchange.cvat import cvat_videos, read_cvat
from gazetools.exchange.label_studio import label_studio_videos, read_label_studio
from gazetools.exchange.names import last_number
from gazetools.exchange.wider import is_face_list, read_face_list
from gazetools.exchange.yolo import is_label_line, read_framed_labels, read_label_files
from gazetools.heads.box_file import NEEDED, BoxFile, BoxFormat, BoxRow, is_number
from gazetools.io.find_files import files_with
from gazetools.schemas.errors import DataFileError, HeadsError

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


_is_labelstudio = _json_with(
    r'"(video)?rectangle(labels)?"', r'"from_name"', r'"sequence"\s*:', r'"was_cancelled"', r'"data"\s*:\s*\{\s*"video"'
)
_is_labelme = _json_with(r'"shapes"\s*:', r'"imagePath"\s*:')
_is_via = _json_with(r'"_via_', r'"shape_attributes"\s*:')
_is_supervisely = _json_with(r'"points"\s*:\s*\{\s*"exterior"')


def _is_coco(file: BoxFile) -> bool:
    keys = (r'"image_id"\s*:', r'"bbox"\s*:', r'"categories"\s*:', r'"images"\s*:', r'"file_name"\s*:')
    return _json_with(*keys)(file) and not _is_labelstudio(file)


def _is_xml(file: BoxFile) -> bool:
    return file.text.opening.startswith("<")


def _is_cvat(file: BoxFile) -> bool:
    return _is_xml(file) and bool(re.search(r"<annotations>|<track[ >]|\bxtl=", file.text.opening))


def is_label_place(path: Path) -> bool:
    """Whether `path` stands for YOLO's label files, one per frame: a folder, or a pattern in one."""
    return "*" in path.name or path.is_dir()


def _is_yolo(file: BoxFile) -> bool:
    """Lines `class cx cy w h [confidence] [track]`, separated by spaces, relative to the picture."""
    if is_label_place(file.path):
        return True
    if not file.is_text or file.text.separator != " ":
        return False
    rows = [cells for _, cells in file.lines[:1000]]
    return all(all(map(is_number, cells)) and is_label_line([float(cell) for cell in cells]) for cells in rows)


def _is_face_list(file: BoxFile) -> bool:
    return file.is_text and is_face_list(file.text.opening.splitlines()[:20])


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


def _read(reader: Callable[[Path, Wanted], ForeignBoxes]) -> Callable[[BoxFile], npt.NDArray[np.float64]]:
    """Rows of a format that `reader` reads: [N, 7]."""

    def rows(file: BoxFile) -> npt.NDArray[np.float64]:
        first = file.options.heads_first_frame or 0
        try:
            boxes = reader(file.path, Wanted(video_id=file.video_id, label=file.options.heads_label, first_frame=first))
        except DataFileError as error:
            raise HeadsError(error.message, hint=error.hint or NEEDED) from None
        found = file.found
        found.columns, found.row_word, found.units = boxes.columns, boxes.row_word, boxes.units
        found.counts, found.in_row_order = boxes.counts, not boxes.counts
        found.picture, found.left_out, found.interpolated = boxes.picture, boxes.left_out, boxes.interpolated
        found.notes += boxes.notes
        return boxes.rows

    return rows


def _read_yolo(path: Path, wanted: Wanted) -> ForeignBoxes:
    if is_label_place(path):
        return read_label_files(path, wanted)
    raise HeadsError(
        f"{path} is a label file of YOLO, one picture's: class, x and y of the centre, width, height, all 0..1. A "
        "video has one for each frame.",
        hint="Pass the folder with all of them, named by their frames (clip_000001.txt); for one text with the frame "
        f"in front of each line pass --heads-format yolo-frames. {NEEDED}",
    )


FOREIGN_FORMATS = {
    "coco": BoxFormat(
        recognise=_is_coco,
        rows=_read(read_coco),
        suffixes=(".json",),
        words="COCO's JSON",
        counts_from=None,
        settled=lambda _: False,
        videos=coco_videos,
    ),
    "labelstudio": BoxFormat(
        recognise=_is_labelstudio,
        rows=_read(read_label_studio),
        suffixes=(".json",),
        words="Label Studio's JSON",
        counts_from=1,
        videos=label_studio_videos,
    ),
    "cvat": BoxFormat(
        recognise=_is_cvat,
        rows=_read(read_cvat),
        suffixes=(".xml",),
        words="CVAT's XML",
        counts_from=None,
        settled=lambda _: False,
        videos=cvat_videos,
    ),
    "wider": BoxFormat(
        recognise=_is_face_list,
        rows=_read(read_face_list),
        suffixes=(".txt",),
        words="a list of faces like WIDER FACE's",
        counts_from=None,
        settled=lambda _: False,
    ),
    "yolo": BoxFormat(
        recognise=_is_yolo,
        rows=_read(_read_yolo),
        suffixes=(".txt",),
        words="YOLO's label files",
        counts_from=None,
        settled=lambda _: False,
    ),
    "yolo-frames": BoxFormat(
        recognise=lambda file: file.options.heads_format == "yolo-frames",  # numbers alone: it may be something else
        rows=_read(read_framed_labels),
        suffixes=(".txt",),
        words="YOLO's lines behind the frame",
        counts_from=None,
        settled=lambda _: False,
    ),
    "other": BoxFormat(recognise=_is_other, rows=_refused(_other), suffixes=(".json", ".xml")),
}
"""Formats that are recognised by their content; an earlier one is asked first. `other`, which is refused by name: any
other JSON, XML or binary file."""


def hint_of_folder(folder: Path) -> str:
    """What a folder without a box file for any video holds instead, as the end of an error; "" where that is not known.

    YOLO writes one text per frame, whose names end in the frame's number.
    """
    texts = [path.stem for path, _ in zip(files_with(folder, ".txt"), range(1000), strict=False)]
    numbered = [name for name in texts if last_number(name) is not None]
    if len(numbered) < 10 or len(numbered) < 0.9 * len(texts):
        return ""
    return (
        " Its files end in numbers, as YOLO writes one per frame: their names must begin with that of the video, or "
        "lie in a folder of its name."
    )
