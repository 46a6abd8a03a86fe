"""Own labels: gaze points that somebody clicked, as a CSV with one row per click."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gazetools.annotations.gaze_labels import BenchmarkPicture, BoxXyxy, Head, Labels, Notes
from gazetools.annotations.pictures_root import PicturesRoot
from gazetools.io.tables import Table, read_header, read_table
from gazetools.schemas.errors import DataFileError, UsageError

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_REQUIRED = (*_SIDES, "gaze_x", "gaze_y")
_OPTIONAL = ("picture", "video", "frame", "clip", "person", "annotator", "inside", "split", "width", "height")
_LARGEST_FRACTION = 1.5
"""Head boxes of a file are fractions of the picture where no side is larger: a box reaches little beyond the edge."""
_YES, _NO = frozenset({"1", "true", "yes", "in"}), frozenset({"0", "false", "no", "out"})


@dataclass(frozen=True, kw_only=True)
class _Click:
    """One row, in fractions of the picture."""

    row: int
    place: str
    box: BoxXyxy
    point: tuple[float, float]
    inside: int
    annotator: str


def read_clicked_points(path: Path, pictures: PicturesRoot) -> Labels:
    """Columns: `picture` (path below the root) or `video` and `frame`; head box xmin, ymin, xmax, ymax; gaze_x, gaze_y.

    Optional columns:

    - `inside`: 1 or 0; empty: by the point. A row with 0 needs no point.
    - `person`; rows of one person in one picture are several annotators of one head. Without it the box is the person.
    - `annotator`: a second row of the same annotator is left out.
    - `split`; `video` and `clip` next to `picture` (pictures of one video are never divided between splits);
      `width`, `height` in pixels, where the pictures do not say (labels of videos in pixels need them).

    All coordinates are fractions of the picture, or all are pixels: pixels where a box has a side above 1.5. Pictures
    are in the order of their first rows. Where annotators disagree about inside, the majority decides (inside at a
    tie) and its points come first. `protocol` is VideoAttentionTarget's, whose metrics need one point.
    """
    header = read_header(path)
    if "picture" not in header and not {"video", "frame"} <= set(header):
        raise DataFileError(
            f"{path} has neither a column picture, nor video and frame; it has {', '.join(header)[:300]}.",
            hint=f"Known columns: picture or video and frame, {', '.join(_REQUIRED)}.",
            path=str(path),
        )
    table = read_table(path, required=_REQUIRED, optional=_OPTIONAL)
    left_out, mended = Notes(), Notes()
    sides = [table.floats(name).tolist() for name in (*_REQUIRED,)]
    in_pixels = any(math.isfinite(v) and abs(v) > _LARGEST_FRACTION for side in sides[:4] for v in side)
    grouped: dict[tuple[str, str], list[int]] = {}
    for row in range(len(table)):
        grouped.setdefault(_picture_of(table, row), []).append(row)
    found = []
    for (name, frame), rows in grouped.items():
        size = _size(table, rows[0], name, pictures, in_pixels)
        if size is None:
            for row in rows:
                pictures.note_missing(name, f"{path}, line {table.lines[row]}", left_out)
            continue
        scale = (size[0], size[1]) if in_pixels else (1, 1)
        clicks = (_click(table, row, [side[row] for side in sides], scale, left_out) for row in rows)
        heads = tuple(_heads(table, [click for click in clicks if click is not None], left_out, mended))
        if heads:
            found.append(_picture(table, rows[0], name, frame, size, heads))
    return Labels(kind="points", protocol="videoattentiontarget", pictures=found, left_out=left_out, mended=mended)


def _cell(table: Table, row: int, name: str) -> str:
    return table.columns[name][row] if name in table else ""


def _picture_of(table: Table, row: int) -> tuple[str, str]:
    """(path, frame) with an empty frame for a picture."""
    if picture := _cell(table, row, "picture"):
        return picture, ""
    video, frame = _cell(table, row, "video"), _cell(table, row, "frame")
    if not video:
        raise table.error(row, "picture" if "picture" in table else "video", "it is empty")
    if not frame.isascii() or not frame.isdigit() or len(frame) > 12:
        raise table.error(row, "frame", f"{frame[:60]!r} is no frame number from 0 on")
    return video, str(int(frame))


def _size(table: Table, row: int, name: str, pictures: PicturesRoot, in_pixels: bool) -> tuple[int, int] | None:
    """(width, height) of a picture; (0, 0) where nothing says and fractions don't need it; None: it is missing."""
    width, height = _cell(table, row, "width"), _cell(table, row, "height")
    if width and height:
        if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
            raise table.error(row, "width", f"{width[:20]} x {height[:20]} is no size in pixels")
        return int(width), int(height)
    if _cell(table, row, "picture") and pictures.root is not None:
        return pictures.size(name)
    if not in_pixels:
        return 0, 0
    is_picture = bool(_cell(table, row, "picture"))
    root = "Pass the root of the pictures (--images ROOT, `images:` of the source in a config), or give"
    raise UsageError(
        f"{table.path}, line {table.lines[row]}: coordinates are pixels, and nothing says the size of {name}.",
        hint=f"{root if is_picture else 'Give'} columns width and height, or fractions of the picture.",
    )


def _click(table: Table, row: int, numbers: list[float], scale: tuple[int, int], left_out: Notes) -> _Click | None:
    place = f"{table.path}, line {table.lines[row]}"
    x0, y0, x1, y1, x, y = (value / side for value, side in zip(numbers, scale * 3, strict=True))
    said = _cell(table, row, "inside").lower()
    if said and said not in _YES | _NO:
        raise table.error(row, "inside", f"{said[:40]!r} is neither 1 nor 0")
    has_point = math.isfinite(x) and math.isfinite(y)
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        left_out.add("box_not_a_number", place)
    elif said in _YES and not has_point:
        left_out.add("point_missing", f"{place}: inside, without a point")
    elif not said and not has_point:
        left_out.add("gaze_not_a_number", f"{place}: neither a point nor `inside`")
    else:
        inside = said in _YES if said else 0 <= x <= 1 and 0 <= y <= 1
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        point = (x, y) if inside else (-1.0, -1.0)
        annotator = _cell(table, row, "annotator")
        return _Click(row=row, place=place, box=box, point=point, inside=int(inside), annotator=annotator)
    return None


def _heads(table: Table, clicks: list[_Click], left_out: Notes, mended: Notes) -> Iterator[Head]:
    people: dict[object, list[_Click]] = {}
    for click in clicks:
        people.setdefault(_cell(table, click.row, "person") or click.box, []).append(click)
    for own in people.values():
        kept: list[_Click] = []
        for click in own:
            if click.annotator and any(other.annotator == click.annotator for other in kept):
                left_out.add(
                    "duplicate_row", f"{click.place}: annotator {click.annotator[:60]} labelled this head before"
                )
                continue
            if kept and click.box != kept[0].box:
                mended.add("boxes_differ", f"{click.place}: another head box than {kept[0].place}, which counts")
            kept.append(click)
        inout = int(2 * sum(click.inside for click in kept) >= len(kept))
        if len({click.inside for click in kept}) > 1:
            mended.add("annotators_disagree", f"{kept[0].place}: inside or not; the majority counts")
        kept.sort(key=lambda click: click.inside != inout)
        x0, y0, x1, y1 = kept[0].box
        if x0 >= 1 or y0 >= 1 or x1 <= 0 or y1 <= 0 or x0 == x1 or y0 == y1:
            mended.add("head_outside_picture", f"{kept[0].place}: head box {kept[0].box} of the picture")
        if inout and not all(0 <= v <= 1 for v in kept[0].point):
            mended.add("point_outside", f"{kept[0].place}: gaze {kept[0].point} of the picture")
        yield Head(
            box_xyxy=kept[0].box,
            gaze_x=tuple(click.point[0] for click in kept),
            gaze_y=tuple(click.point[1] for click in kept),
            inout=inout,
            person=_cell(table, kept[0].row, "person"),
            place=kept[0].place,
        )


def _picture(
    table: Table, row: int, name: str, frame: str, size: tuple[int, int], heads: tuple[Head, ...]
) -> BenchmarkPicture:
    number = frame or _cell(table, row, "frame")
    video = _cell(table, row, "video")
    return BenchmarkPicture(
        path=name, width=size[0], height=size[1], heads=heads, video=video, clip=_cell(table, row, "clip") or video,
        frame=int(number) if number.isascii() and number.isdigit() and len(number) <= 12 else None,
        is_video=bool(frame), split=_cell(table, row, "split"),
    )  # fmt: skip
