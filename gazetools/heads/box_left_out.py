"""Rows of a box table that are left out and counted: without a box, or of another class; several videos are refused."""

from __future__ import annotations

from gazetools.heads.box_columns import Places
from gazetools.heads.box_file import BoxFile, is_number
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names
from gazetools.schemas.video import VIDEO_SUFFIXES

_NO_VALUE = {"", "nan", "na", "n/a", "null", "none", "-"}
_MARKS = (0.0, -1.0)
"""Numbers that stand in all four places of a box where there is none."""
_HEADS = {"head", "heads", "face", "faces"}
_MOST_CLASSES = 20


def has_no_box(cells: list[str]) -> str | None:
    """Why the four cells of a box say that there is none: all empty or NaN, all 0, or all -1; None: they do not.

    >>> has_no_box(["", "nan", "", ""]), has_no_box(["0", "0", "0", "0.0"]), has_no_box(["0", "0", "9", "9"])
    ('whose box is empty', 'whose box is 0,0,0,0', None)
    """
    if all(cell.lower() in _NO_VALUE for cell in cells):
        return "whose box is empty"
    if not all(map(is_number, cells)):
        return None
    values = {float(cell) for cell in cells}
    return next((f"whose box is {','.join([f'{mark:g}'] * 4)}" for mark in _MARKS if values == {mark}), None)


def reason_left_out(places: Places, classes: set[str], cells: list[str]) -> str | None:
    """Why a row is none of the boxes of heads; None: it is one of them. `classes` are those of `heads_among`."""
    if places.label is not None and classes and cells[places.label].lower() not in classes:
        return f"of other classes than {' and '.join(sorted(classes))}"
    return has_no_box([cells[place] for place in places.box])


def heads_among(file: BoxFile, places: Places) -> set[str]:
    """The classes of heads in a column that has other classes too; empty where there is nothing to choose."""
    classes = set() if places.label is None else _values(file, places.label)
    if (asked := file.options.heads_label) is not None:
        if asked.lower() not in classes:
            has = excerpt_of_names(sorted(classes)) if classes else "no column of classes"
            raise HeadsError(f"{file.path} has no class {excerpt(asked)}; it has {has}.", hint="Correct --heads-label.")
        return {asked.lower()}
    return classes & _HEADS if len(classes) > 1 else set()


def note_on_classes(file: BoxFile, places: Places) -> None:
    """Say that rows of several classes are read, where none of them is called a head."""
    if places.label is None or heads_among(file, places):
        return
    classes = sorted(_values(file, places.label))
    if 1 < len(classes) <= _MOST_CLASSES:
        column = file.lines[0][1][places.label]
        file.found.notes.append(
            f"the column {column[:24]!r} has {len(classes)} kinds of rows ({excerpt_of_names(classes)}); all are read "
            "as heads: remove those that are not"
        )


def refuse_several_videos(file: BoxFile, places: Places) -> None:
    """HeadsError where rows are of several videos, which frame numbers alone would mix up."""
    for place in (places.video, places.name):
        if place is None:
            continue
        videos = sorted({cells[place] for _, cells in file.rows if len(cells) > place})
        if place == places.name:  # mostly names of pictures, one for each frame
            videos = [name for name in videos if name.lower().endswith(VIDEO_SUFFIXES)]
        if len(videos) > 1:
            raise HeadsError(
                f"{file.path} has rows of {len(videos)} videos ({excerpt_of_names(videos)}); a file is read for one.",
                hint="Write one file for each video into a folder, named by the video's id, and pass the folder.",
            )


def _values(file: BoxFile, place: int) -> set[str]:
    return {cells[place].lower() for _, cells in file.rows if len(cells) > place}
