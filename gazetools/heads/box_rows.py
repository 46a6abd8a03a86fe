"""Rows of a table of boxes, with the frame that each belongs to; names of pictures are compared with their order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from gazetools.exchange.names import last_number
from gazetools.heads.box_columns import CORNERS, Places, Shape, places_of
from gazetools.heads.box_file import COLUMNS, HEADER, NEEDED, BoxFile, BoxRow
from gazetools.heads.box_left_out import heads_among, note_on_classes, reason_left_out, refuse_several_videos
from gazetools.heads.box_times import microseconds_of
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names


def box_rows(file: BoxFile, shape: Shape, places: Places | None = None) -> Iterator[BoxRow]:
    """The rows of a table whose four numbers are of this shape; `places` says its columns; None: the file does."""
    places = places or places_of(file)
    refuse_several_videos(file, places)
    note_on_classes(file, places)
    numbers = None
    if places.frame is None and places.track is not None and places.name is not None:
        numbers = _frames_of_names(file, places.name)
    elif places.frame is None:
        check_names(file, places)
    file.found.in_time = places.time is not None
    file.found.in_row_order = places.frame is None and numbers is None and not file.found.in_time
    rows = box_rows_of(file, places, shape)
    return rows if numbers is None else ((numbers[row[6]], *row[1:]) for row in rows)


def _frames_of_names(file: BoxFile, place: int) -> dict[int, int]:
    """Line -> number in the picture's name, where several people of a picture have a row each."""
    frames = {}
    for line, cells in file.rows:
        name = cells[place] if len(cells) > place else ""
        if (number := last_number(name)) is None:
            raise file.error(line, f"the picture {excerpt(name)} has no number", hint=NEEDED)
        frames[line] = number
    if len({*frames.values()}) < len({cells[place] for _, cells in file.rows if len(cells) > place}):
        raise HeadsError(
            f"{file.path}: pictures of different names end in the same number, so that numbers are no frames.",
            hint=NEEDED,
        )
    return frames


def box_rows_of(file: BoxFile, places: Places, shape: Shape) -> Iterator[BoxRow]:
    """The rows of a table with these columns; rows without a frame number are counted from `file.first_frame`."""
    file.found.columns, file.found.units = _described(file, places, shape), places.units
    least = 1 + max(place for place in (*places.box, places.frame or 0, places.time or 0, places.track or 0))
    classes = heads_among(file, places)
    for number, (line, cells) in enumerate(file.rows, start=file.first_frame):
        if places.width is not None and len(cells) != places.width:
            what = "the header" if places.header else "the first line"
            raise file.error(line, f"{len(cells)} cells, but {what} has {places.width}")
        if len(cells) < least:
            raise file.error(line, f"{len(cells)} cells; {least} are needed")
        if (reason := reason_left_out(places, classes, cells)) is not None:
            file.found.left_out[reason] = file.found.left_out.get(reason, 0) + 1
            continue
        if places.header and cells == file.lines[0][1]:
            what = "the header is there a second time, as where several files were joined"
            raise file.error(line, what, hint="Keep one file for each video; remove the line if all rows are of one.")
        if places.time is not None:
            frame = microseconds_of(file, line, file.lines[0][1][places.time], cells[places.time])
        else:
            frame = number if places.frame is None else file.integer(line, "frame", cells[places.frame])
        track = 0 if places.track is None else file.integer(line, "track_id", cells[places.track])
        names = COLUMNS[2:] if places.kind == "corners" else ("box",) * 4
        box = [file.number(line, name, cells[place]) for name, place in zip(names, places.box, strict=True)]
        if places.role is not None and (role := cells[places.role]):
            if role not in {"wearer", "other"}:
                raise file.error(line, f"role {excerpt(role)} is not one of wearer, other")
            file.roles[track] = role
        yield frame, track, *shape.corners(box[0], box[1], box[2], box[3]), line


def _described(file: BoxFile, places: Places, shape: Shape) -> str:
    frame = "time" if places.time is not None else "picture name" if places.frame is None else "frame"
    person = "person, " if places.track is not None else ""
    text = f"{frame}, {person}{shape.words}"
    if places.header:
        used = [
            place for place in (places.frame, places.name, places.time, places.track, *places.box) if place is not None
        ]
        cells = file.lines[0][1]
        text += f" (columns {excerpt_of_names([cells[place] for place in dict.fromkeys(used)])})"
    return text if places.track is not None else text + ", all of one person, 0"


def check_names(file: BoxFile, places: Places) -> None:
    """Compare the numbers in pictures' names with the order of the rows; a note, or with a header HeadsError.

    HeadsError too for a name that occurs twice: two people of a picture, whom no column tells apart.
    """
    if places.name is None:
        return
    rows = file.rows
    named = [(line, cells[places.name]) for line, cells in rows if len(cells) > places.name]
    seen: dict[str, int] = {}
    for line, name in named:
        if name in seen:
            what = f"the picture {excerpt(name)} has a row in line {seen[name]} already; each row is the next frame"
            raise file.error(line, f"{what}, and no column says which person a box is of", hint=NEEDED)
        seen[name] = line
    if file.options.heads_format != "auto" or (problem := names_out_of_order(file, places)) is None:
        return
    if places.header:
        raise HeadsError(
            f"{file.path}: {problem}",
            hint="Pass --heads-format atd-names to take the numbers as frames, or atd to take the rows' order.",
        )
    file.found.notes.append(
        f"{problem} If the numbers are the frames, pass --heads-format atd-names; a CSV with a column 'frame' "
        f"({HEADER}) says it without doubt."
    )


def names_out_of_order(file: BoxFile, places: Places) -> str | None:
    """How the numbers in the names differ from the rows' order; None where they do not, or are not there."""
    if places.name is None:
        return None
    rows = file.rows
    names = [cells[places.name] for _, cells in rows if len(cells) > places.name]
    numbers = [last_number(name) for name in names]
    first = file.first_frame
    jumps = [
        (row, before, number)
        for row, (before, number) in enumerate(itertools.pairwise(numbers), start=1)
        if before is not None and number is not None and number != before + 1
    ]
    if jumps:
        row, before, number = jumps[0]
        more = f" ({len(jumps)} such places)" if len(jumps) > 1 else ""
        return (
            f"the numbers in the pictures' names jump by {number - before} after {excerpt(names[row - 1], 60)} in line "
            f"{rows[row - 1][0]}{more}, but rows are taken as frames without gaps: {excerpt(names[row], 60)} becomes "
            f"frame {first + row}."
        )
    start = numbers[0] if numbers else None
    if start is not None and start > 1 and file.options.heads_first_frame is None:
        return (
            f"the pictures' names begin with number {start} ({excerpt(names[0], 60)}), but the first row is taken as "
            f"frame 0; --heads-first-frame {start} (or {start - 1}, where names count from 1) begins elsewhere."
        )
    return None


def numbered_rows(file: BoxFile) -> Iterator[BoxRow]:
    """The rows of a table with names of pictures, whose last numbers are the frames."""
    places = places_of(file)
    if places.name is None:
        raise HeadsError(f"{file.path} has no names of pictures.", hint="Leave --heads-format out.")
    names = {line: cells[places.name] for line, cells in file.rows if len(cells) > places.name}
    for _, track, *box, line in box_rows_of(file, places, CORNERS):
        number = last_number(names[int(line)])
        if number is None:
            raise file.error(int(line), f"the picture {excerpt(names[int(line)])} has no number")
        yield number, track, box[0], box[1], box[2], box[3], int(line)
