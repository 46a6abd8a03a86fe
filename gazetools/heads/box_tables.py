"""Formats of head boxes that are tables of text: our own, other headers, MOTChallenge, names of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazetools.heads.box_columns import CENTRE, CORNERS, SIZE, Places, header_places, is_own_header, number_places
from gazetools.heads.box_file import BoxFile, BoxFormat, BoxRow, is_number
from gazetools.heads.box_left_out import has_no_box
from gazetools.heads.box_reading import MAX_WRONG
from gazetools.heads.box_rows import box_rows, names_out_of_order, numbered_rows

_SUFFIXES = (".csv", ".txt", ".tsv")
_PEDESTRIAN = 1


def _places(file: BoxFile) -> Places | None:
    """The columns of a text table; None where they are not known."""
    return (header_places(file) if file.has_header else number_places(file)) if file.is_text else None


def _is_csv(file: BoxFile) -> bool:
    """Whether the header is ours, or the file is none that is known, so that the error says what ours is."""
    return file.is_text and (is_own_header(file) or _places(file) is None)


def _has_header_of(file: BoxFile, *kinds: str) -> bool:
    places = _places(file)
    return places is not None and places.kind in kinds and not is_own_header(file)


def _is_numbered(file: BoxFile) -> bool:
    """Whether the file has no header and a frame number in each row."""
    places = _places(file)
    return places is not None and places.kind == "numbers" and places.frame is not None


def _is_xyxy(file: BoxFile) -> bool:
    """Whether the header says so, or numbers alone may be corners, which they mostly are not in MOTChallenge's rows."""
    if _has_header_of(file, "corners"):
        return True
    return _is_numbered(file) and not _is_mot_gt(file) and (len(file.columns) < 7 or _may_be_corners(file))


def _may_be_corners(file: BoxFile) -> bool:
    """Whether the 5th number is above the 3rd, and the 6th above the 4th, in nine of ten rows."""
    rows = [cells[2:6] for _, cells in file.rows if len(cells) >= 6 and has_no_box(cells[2:6]) is None]
    try:
        left, top, right, bottom = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    except ValueError:
        return True
    return not rows or bool(np.mean((right <= left) | (bottom <= top)) <= MAX_WRONG)


def _is_xywh(file: BoxFile) -> bool:
    """Whether the header says so, or there are only numbers and MOTChallenge's rules are not kept."""
    if _has_header_of(file, "size", "open"):
        return True
    columns = file.columns if _is_numbered(file) else []
    return len(columns) == 6 or (len(columns) > 6 and any(cell.strip("+-0.") == "" for cell in columns[0]))


def _is_mot(file: BoxFile) -> bool:
    return _is_numbered(file) and len(file.lines[0][1]) >= 7 and not _is_mot_gt(file)


def _is_mot_gt(file: BoxFile) -> bool:
    """MOT16's nine columns: the 7th says 0 or 1, the 8th is a class from 1 on, the 9th a visibility in 0..1."""
    columns = file.columns if _is_numbered(file) else []
    if len(columns) != 9 or not all(is_number(cell) for column in columns[6:] for cell in column):
        return False
    flag, kind, visible = ([float(cell) for cell in column] for column in columns[6:])
    return (
        set(flag) <= {0.0, 1.0}
        and all(value.is_integer() and 1 <= value <= 13 for value in kind)
        and all(0 <= value <= 1 for value in visible)
    )


def _has_mot_ending(file: BoxFile) -> bool:
    """Whether all columns behind the 7th are -1, as MOTChallenge's results and detections have them."""
    behind = file.columns[7:]
    return bool(behind) and all(is_number(cell) and float(cell) == -1 for column in behind for cell in column)


def _mot_rows(file: BoxFile) -> Iterator[BoxRow]:
    """MOTChallenge's rows; a 7th number that is only 0 and 1 is a mark, and 0 says that the row does not count."""
    if (short := next(((line, cells) for line, cells in file.rows if len(cells) < 7), None)) is not None:
        raise file.error(short[0], f"{len(short[1])} cells; MOTChallenge rows have 7 to 10")
    marks = set(file.columns[6]) if file.columns else set()
    flagged = len(marks) > 1 and all(is_number(mark) and float(mark) in {0, 1} for mark in marks)
    dropped = {line for line, cells in file.rows if flagged and float(cells[6]) == 0}
    if dropped:
        file.found.left_out["marked 0 in the 7th column"] = len(dropped)
    return (row for row in box_rows(file, SIZE) if row[6] not in dropped)


def _mot_gt_rows(file: BoxFile) -> Iterator[BoxRow]:
    """The rows that count: marked 1 and of class 1 (pedestrians; heads in Head Tracking 21)."""
    dropped = set()
    for line, cells in file.rows:
        if len(cells) < 8:
            raise file.error(line, f"{len(cells)} cells; MOTChallenge's ground truth has 9")
        mark, kind = (file.number(line, name, cell) for name, cell in zip(("mark", "class"), cells[6:8], strict=True))
        reason = "marked 0 in the 7th column" if not mark else f"class {kind:g}" if kind != _PEDESTRIAN else None
        if reason is not None:
            dropped.add(line)
            file.found.left_out[reason] = file.found.left_out.get(reason, 0) + 1
    file.found.notes.append(
        "MOTChallenge's ground truth boxes whole people (Head Tracking 21: heads), and a gaze model needs heads"
    )
    return (row for row in box_rows(file, SIZE) if row[6] not in dropped)


def _is_attention_target(file: BoxFile) -> bool:
    """Five cells, or the seven of VideoAttentionTarget's annotations, the first one the name of a picture."""
    places = _places(file)
    return places is not None and places.kind == "numbers" and places.track is None


def _in_row_order(file: BoxFile) -> Places | None:
    """The columns with the first one as a name, also where it is a number; None: there are none like this."""
    places = _places(file)
    if places is None or places.name is not None or places.kind != "numbers":
        return places
    return Places(kind="numbers", box=places.box, frame=None, name=0, width=places.width, header=False)


def _attention_target_rows(file: BoxFile) -> Iterator[BoxRow]:
    return box_rows(file, CORNERS, _in_row_order(file))


def _names_decide(file: BoxFile) -> bool:
    """Whether pictures have names, or numbers that are those of the rows."""
    places = _in_row_order(file)
    return places is None or not is_number(file.rows[0][1][0]) or names_out_of_order(file, places) is None


TABLE_FORMATS = {
    "csv": BoxFormat(
        recognise=_is_csv, rows=lambda file: box_rows(file, CORNERS), suffixes=_SUFFIXES, words="our own CSV", own=True
    ),
    "mot": BoxFormat(
        recognise=_is_mot,
        rows=_mot_rows,
        suffixes=_SUFFIXES,
        words="MOTChallenge",
        counts_from=1,
        settled=_has_mot_ending,
    ),
    "mot-gt": BoxFormat(
        recognise=_is_mot_gt, rows=_mot_gt_rows, suffixes=_SUFFIXES, words="MOTChallenge's ground truth", counts_from=1
    ),
    "atd": BoxFormat(
        recognise=_is_attention_target,
        rows=_attention_target_rows,
        suffixes=_SUFFIXES,
        words="attention-target-detection's rows in frame order",
        settled=_names_decide,
    ),
    "atd-names": BoxFormat(
        recognise=lambda _: False,  # never unasked: rows in order are the format, and a difference is said
        rows=numbered_rows,
        suffixes=_SUFFIXES,
        words="rows whose pictures' names end in frame numbers",
        counts_from=None,
    ),
    "csv-xyxy": BoxFormat(
        recognise=_is_xyxy,
        rows=lambda file: box_rows(file, CORNERS),
        suffixes=_SUFFIXES,
        words="a table of corners",
        counts_from=None,
        settled=lambda _: False,
    ),
    "csv-xywh": BoxFormat(
        recognise=_is_xywh,
        rows=lambda file: box_rows(file, SIZE),
        suffixes=_SUFFIXES,
        words="a table of corner and size",
        counts_from=None,
        settled=lambda _: False,
    ),
    "csv-cxcywh": BoxFormat(
        recognise=lambda file: _has_header_of(file, "centre", "open"),
        rows=lambda file: box_rows(file, CENTRE),
        suffixes=_SUFFIXES,
        words="a table of centre and size",
        counts_from=None,
        settled=lambda _: False,
    ),
}
"""Formats that are read; an earlier one is asked first."""
