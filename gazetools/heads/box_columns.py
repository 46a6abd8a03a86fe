"""Which column of a table of boxes is which: by the names of its header, or by their order where it has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gazetools.exchange.names import last_number
from gazetools.heads.box_file import COLUMNS, HEADER, NEEDED, BoxFile, is_number
from gazetools.schemas.base import nearest_name
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names


@dataclass(frozen=True)
class Shape:
    """What the four numbers of a box are."""

    words: str
    corners: Callable[[float, float, float, float], tuple[float, float, float, float]]
    """The four numbers -> xmin, ymin, xmax, ymax."""


CORNERS = Shape("xmin, ymin, xmax, ymax", lambda xmin, ymin, xmax, ymax: (xmin, ymin, xmax, ymax))
SIZE = Shape("left, top, width, height", lambda left, top, width, height: (left, top, left + width, top + height))
CENTRE = Shape("x and y of the centre, width, height", lambda x, y, w, h: (x - w / 2, y - h / 2, x + w / 2, y + h / 2))

_NAMES = {
    "frame": "frame frames frameid frameno framenum framenumber frameidx frameindex frameix fn fid frnum",
    "name": "image imagename imagepath imagefile imgname imgpath img filename filepath file framename picture",
    "time": "time times timesec timeseconds timeinseconds seconds secs sec second timestamp timestamps timestampsec "
    "pts ptstime ptsseconds timems timestampms ms milliseconds timeus",
    "track": "trackid track tracks id ids personid person objectid objid object targetid target identity tid pid "
    "trackingid trackerid",
    "xmin": "xmin minx x1 x0 left xleft leftx xtl tlx topleftx x1px startx",
    "ymin": "ymin miny y1 y0 top ytop topy ytl tly toplefty starty",
    "xmax": "xmax maxx x2 right xright rightx xbr brx bottomrightx endx",
    "ymax": "ymax maxy y2 bottom ybottom bottomy ybr bry bottomrighty endy",
    "width": "w width",
    "height": "h height",
    "cx": "cx xc xcenter xcentre centerx centrex xmid midx xctr",
    "cy": "cy yc ycenter ycentre centery centrey ymid midy yctr",
    "x": "x",
    "y": "y",
    "role": "role",
    "video": "video videoid videoname videofile videopath clip clipid clipname movie",
    "label": "class classname classid cls label category categoryname categoryid objectclass",
}
_PART_OF = {name: part for part, names in _NAMES.items() for name in names.split()}
_PREFIX = re.compile(r"^(?:bounding|bbox|bb|box|head|face|rect)+(?=.)")
_UNITS = {"pixels": "pixels pixel px", "percent": "percent pct", "fraction": "normalized normalised norm rel relative"}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_UNIT = re.compile(f"^(.+?)({'|'.join(sorted(_UNIT_OF, key=len, reverse=True))})$")
_KINDS = {
    "corners": ("xmin", "ymin", "xmax", "ymax"),
    "size": ("xmin", "ymin", "width", "height"),
    "centre": ("cx", "cy", "width", "height"),
    "open": ("x", "y", "width", "height"),
}
"""What the four columns of a box may be; `open`: x and y are of the corner or of the centre."""


_MAX_COLUMNS = 500
_NAMED_CELLS = (5, 7)
"""Cells of attention-target-detection's rows, and of VideoAttentionTarget's, which end in the gaze point."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Place of each column in a row."""

    kind: str
    """A key of `_KINDS`, or `numbers` where there is no header."""
    box: tuple[int, int, int, int]
    frame: int | None
    """None: rows have the name of a picture, or nothing, and their order is that of the frames."""
    name: int | None = None
    time: int | None = None
    """Place of the time of a row that has neither frame number nor name."""
    track: int | None = None
    """None: all rows are of one person, 0."""
    role: int | None = None
    video: int | None = None
    label: int | None = None
    """Place of the class of what is in the box."""
    width: int | None = None
    """Number of cells of every row; None: at least so many as are read."""
    units: str | None = None
    """Unit that the names of the header say; None: they say none."""
    header: bool = True


def part_of(name: str) -> tuple[str | None, str | None]:
    """(part of a row, unit) that the name of a column means in any spelling; None: nothing that is known.

    >>> part_of("BB Left"), part_of("x_center_norm"), part_of("score")
    (('xmin', None), ('cx', 'fraction'), (None, None))
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower().replace("%", "percent"))
    for word, unit in ((plain, None), *((m[1], _UNIT_OF[m[2]]) for m in [_UNIT.match(plain)] if m)):
        for spelled in (word, _PREFIX.sub("", word)):
            if spelled in _PART_OF:
                return _PART_OF[spelled], unit
    return None, None


def is_own_header(file: BoxFile) -> bool:
    """Whether the header has our own six names, in any order, letter case and with any marks between words."""
    plain = [re.sub(r"[^a-z0-9]", "", cell) for cell in file.first_cells]
    own = {"frame", "trackid", "xmin", "ymin", "xmax", "ymax"} <= {*plain}
    return own and not _has_names(file, plain.index("frame"))


def header_places(file: BoxFile) -> Places | None:
    """What the header says; None: there is none, or it lacks a box or anything that tells the frame."""
    cells = file.lines[0][1]
    if not file.has_header or len(cells) > _MAX_COLUMNS:
        return None
    found: dict[str, list[int]] = {}
    units = set()
    x0_is_left = any(_PREFIX.sub("", re.sub(r"[^a-z0-9]", "", cell.lower())) == "x0" for cell in cells)
    for place, cell in enumerate(cells):
        part, unit = part_of(cell)
        if x0_is_left and part in {"xmin", "ymin"} and cell.strip().endswith("1"):
            part = part.replace("min", "max")
        if part is not None:
            found.setdefault(part, []).append(place)
            units |= {unit} - {None}
    kind = next((kind for kind, parts in _KINDS.items() if found.keys() >= set(parts)), None)
    if kind is None or not found.keys() & {"frame", "name", "time"}:
        return None
    for part in (*_KINDS[kind], "frame", "track"):
        if len(places := found.get(part, [0])) > 1:
            exact = [place for place in places if cells[place].lower() in COLUMNS]
            if len(exact) != 1:
                names = excerpt_of_names([cells[place] for place in places])
                raise HeadsError(
                    f"{file.path}: {len(places)} columns may be the {part} of a box: {names}.",
                    hint="Remove all but one, or name the one " + HEADER.replace(",", ", ") + ".",
                )
            found[part] = exact
    first = {part: places[0] for part, places in found.items()}
    if "frame" in first and _has_names(file, first["frame"]):
        first["name"] = first.pop("frame")
    return Places(
        kind=kind,
        box=tuple(first[part] for part in _KINDS[kind]),  # type: ignore[arg-type]
        frame=first.get("frame"),
        name=first.get("name"),
        time=None if first.keys() & {"frame", "name"} else first["time"],
        track=first.get("track"),
        role=first.get("role"),
        video=first.get("video"),
        label=first.get("label"),
        width=len(cells),
        units=next(iter(units)) if len(units) == 1 else None,
    )


def _has_names(file: BoxFile, place: int) -> bool:
    """Whether the first cell of a column below the header is one like `frame_0001.jpg`."""
    width = len(file.lines[0][1])
    cell = next((cells[place] for _, cells in file.rows[:1] if len(cells) == width), "0")
    return not is_number(cell) and ":" not in cell and last_number(cell) is not None


def number_places(file: BoxFile) -> Places | None:
    """Columns of a table of numbers without header: frame, person, four of the box; or name or frame, and the box."""
    first = file.lines[0][1]
    if file.has_header or len(first) < 5 or not all(map(is_number, first[1:5])):
        return None
    if not is_number(first[0]) and len(first) not in _NAMED_CELLS:
        return None
    if len(first) == 5 or not is_number(first[0]):
        named = not all(is_number(cells[0]) for _, cells in file.lines)
        frame, name = (None, 0) if named else (0, None)
        return Places(kind="numbers", box=(1, 2, 3, 4), frame=frame, name=name, width=len(first), header=False)
    return Places(kind="numbers", box=(2, 3, 4, 5), frame=0, track=1, header=False)


def places_of(file: BoxFile) -> Places:
    """The columns of the file; HeadsError names what its header lacks."""
    places = header_places(file) if file.has_header else number_places(file)
    if places is None:
        raise lacking_columns(file)
    return places


def lacking_columns(file: BoxFile) -> HeadsError:
    """The error for a file whose columns are not those of boxes."""
    header = file.first_cells[:_MAX_COLUMNS]
    there = excerpt(",".join(file.lines[0][1]), limit=200)
    if not file.has_header:
        return HeadsError(
            f"{file.path}: its first line {there} is no header, and no format that is read has such numbers.",
            hint=NEEDED,
        )
    if (packed := _box_in_one_cell(file)) is not None:
        return HeadsError(
            f"{file.path}: the column {excerpt(packed)} has the four numbers of a box in one cell.",
            hint="Write them into four columns: " + HEADER.replace(",", ", ") + ".",
        )
    parts = {part_of(cell)[0] for cell in header}
    lacking = [name for name in COLUMNS[2:] if name not in parts]
    missing = next((name for name in lacking if not parts & {"width", "height", "cx", "cy"}), "frame")
    if "frame" not in header and not parts & {"frame", "name", "time"}:
        missing = "frame"
    near = nearest_name(missing, [c for c in header if c not in COLUMNS])
    return HeadsError(
        f"{file.path}: the column '{missing}' is missing; its header is {there}."
        + (f" Is {excerpt(near)} meant?" if near else ""),
        hint=f"The first line must be {HEADER}[,score][,role]; x1,y1,x2,y2 or left,top,width,height are read too.",
        column=missing,
    )


def _box_in_one_cell(file: BoxFile) -> str | None:
    """The column whose first cell is like `[10, 20, 30, 40]`; None: there is none."""
    first = next((cells for _, cells in file.rows[:1]), [])
    four = r"[\[({]?\s*" + r"[,;\s]+".join([r"-?\d+(?:\.\d*)?"] * 4) + r"\s*[\])}]?"
    columns = zip(file.lines[0][1], first, strict=False)
    return next((name for name, cell in columns if re.fullmatch(four, cell[:200])), None)
