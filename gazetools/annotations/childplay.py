"""ChildPlay as released: a folder `annotations/{train,val,test}` with one `<clip>.csv` per clip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gazetools.annotations.gaze_labels import BenchmarkPicture, BoxXyxy, Head, Labels, Notes, all_finite
from gazetools.annotations.pictures_root import PicturesRoot
from gazetools.io.tables import Table, read_table
from gazetools.schemas.errors import DataFileError

_CORNERS = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")
COLUMNS = ("clip", "frame", "person_id", *_CORNERS, "gaze_class", "gaze_x", "gaze_y")
_KEPT = {"inside_visible": 1, "outside_frame": 0}
_LEFT_OUT = frozenset({"inside_occluded", "inside_uncertain", "gaze_shift", "eyes_closed"})
_CLIP = re.compile(r"(?P<video>.+)_(?P<start>\d{1,12})-\d+(-downsample)?")
_NO_POINT = -1.0


def read_childplay(path: Path, pictures: PicturesRoot) -> Labels:
    """Rows with the columns of `COLUMNS` in pixels, frames counted from 1; `path` is a split's folder or one CSV.

    Only the classes `inside_visible` and `outside_frame` are kept; `inside_visible` without a point (-1) is left out,
    as in the dataset authors' code (idiap/sharingan). Boxes are not cut at the picture's edges. `inout` says whether
    the gaze is inside: out of the frame, the point is (0, 0), which is no place. Clips are in the order of their names,
    frames and people of a clip in that of its rows.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.csv"))
    if not files:
        raise DataFileError(f"{path} has no .csv file.", hint="Pass annotations/test of ChildPlay.", path=str(path))
    left_out, mended = Notes(), Notes()
    split = path.name if path.is_dir() else path.parent.name
    elsewhere = _videos_of_other_splits(files[0].parent)
    found: list[BenchmarkPicture] = []
    for file in files:
        if (other := elsewhere.get(video_of_clip(file.stem))) is not None:
            mended.add("video_in_other_split", f"{file}: its video is also in {other}")
        found += _clip(file, split, pictures, left_out, mended)
    return Labels(kind="childplay", protocol="childplay", pictures=found, left_out=left_out, mended=mended)


def video_of_clip(clip: str) -> str:
    """The video of a clip `<video>_<start>-<end>[-downsample]`; the name itself where it has another form.

    >>> video_of_clip("1Ab_c-d_123-456-downsample")
    '1Ab_c-d'
    """
    found = _CLIP.fullmatch(clip)
    return found["video"] if found else clip


def _videos_of_other_splits(folder: Path) -> dict[str, Path]:
    others = [folder.parent / name for name in ("train", "val", "test") if name != folder.name]
    return {video_of_clip(file.stem): other for other in others for file in other.glob("*.csv")}


def _clip(file: Path, split: str, pictures: PicturesRoot, left_out: Notes, mended: Notes) -> Iterator[BenchmarkPicture]:
    table = read_table(file, required=COLUMNS)
    names = [_picture_name(table, row) for row in range(len(table))]
    size = next((found for name in dict.fromkeys(names) if (found := pictures.size(name)) is not None), None)
    numbers = list(zip(*(table.floats(column).tolist() for column in (*_CORNERS, "gaze_x", "gaze_y")), strict=True))
    heads: dict[str, list[Head]] = {name: [] for name in names}
    others: dict[str, list[BoxXyxy]] = {}
    people = Counter(zip(names, table.columns["person_id"], strict=True))
    for row, (name, (left, top, box_width, box_height, x, y)) in enumerate(zip(names, numbers, strict=True)):
        place = f"{file}, line {table.lines[row]}"
        if size is None:
            pictures.note_missing(name, place, left_out)
            continue
        if people[name, table.columns["person_id"][row]] > 1:
            mended.add("person_twice", f"{place}: person {table.columns['person_id'][row]} has two rows in this frame")
        gaze_class = table.columns["gaze_class"][row]
        box = (left / size[0], top / size[1], (left + box_width) / size[0], (top + box_height) / size[1])
        if not all_finite(*box):
            left_out.add("box_not_a_number", place)
        elif (reason := _unusable(gaze_class, x, y)) is not None:
            left_out.add(reason, f"{place}: {gaze_class[:60]}, gaze ({x:g}, {y:g})")
            others.setdefault(name, []).append(box)
        else:
            _note_doubts(place, box, (x / size[0], y / size[1]), gaze_class, mended)
            person = table.columns["person_id"][row]
            heads[name].append(
                Head(
                    box_xyxy=box, gaze_x=(x / size[0],), gaze_y=(y / size[1],), inout=_KEPT[gaze_class],
                    person=person, gaze_class=gaze_class, place=place,
                )
            )  # fmt: skip
    clip, (width, height) = file.stem, size or (0, 0)
    for name, own in heads.items():
        if own:
            yield BenchmarkPicture(
                path=name, width=width, height=height, heads=tuple(own), video=video_of_clip(clip), clip=clip,
                frame=int(Path(name).stem.rsplit("_", 1)[-1]), split=split, other_boxes=tuple(others.get(name, ())),
            )  # fmt: skip


def _picture_name(table: Table, row: int) -> str:
    clip, text = table.columns["clip"][row], table.columns["frame"][row]
    found = _CLIP.fullmatch(clip)
    if found is None or "/" in clip or "\\" in clip:
        raise table.error(row, "clip", f"{clip[:80]!r} is no clip of the form VIDEO_START-END")
    if not text.isascii() or not text.isdigit() or not 0 < len(text) <= 12 or int(text) < 1:
        raise table.error(row, "frame", f"{text[:80]!r} is no frame number from 1 on")
    return f"images/{clip}/{found['video']}_{int(found['start']) + int(text) - 1}.jpg"


def _unusable(gaze_class: str, x: float, y: float) -> str | None:
    if gaze_class in _LEFT_OUT:
        return f"class_{gaze_class}"
    if gaze_class not in _KEPT:
        return "class_unknown"
    if gaze_class == "inside_visible":
        if not all_finite(x, y):
            return "gaze_not_a_number"
        if x == _NO_POINT:
            return "point_missing"
    return None


def _note_doubts(place: str, box: BoxXyxy, gaze: tuple[float, float], gaze_class: str, mended: Notes) -> None:
    x0, y0, x1, y1 = box
    if x0 >= 1 or y0 >= 1 or x1 <= 0 or y1 <= 0 or x1 <= x0 or y1 <= y0:
        mended.add("head_outside_picture", f"{place}: head box {tuple(round(side, 4) for side in box)} of the picture")
    if gaze_class == "inside_visible" and not (0 <= gaze[0] <= 1 and 0 <= gaze[1] <= 1):
        mended.add("point_outside", f"{place}: gaze {gaze} of the picture")
