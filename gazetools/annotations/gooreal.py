"""GOO-Real as released: a pickle of a list of dicts, read without running it, or the same list as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazetools.annotations.gaze_labels import BenchmarkPicture, Head, Labels, Notes, all_finite
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import shortened

WIDTH, HEIGHT = 640, 480
"""Size to which all coordinates of the files refer; the pictures are 1920x1080."""
PICKLES = (".pickle", ".pkl")
_MOST_BYTES = 2 << 30
_SPLITS = {"oneshotrealhumans": "train", "valrealhumans": "val", "testrealhumans": "test"}


def read_gooreal(path: Path) -> Labels:
    """One entry per picture and head: filename, ann.bboxes (the last is the head), gaze_cx, gaze_cy, hx, hy.

    As OctopusWen/PaGE reads them: every target counts as inside; entries whose head box or gaze is not strictly inside
    the picture are left out. Sizes are those of the coordinates, not of the pictures. Raises DataFileError for a pickle
    that holds anything but plain values.
    """
    entries = _entries(path)
    left_out, mended = Notes(), Notes()
    split = next((split for name, split in _SPLITS.items() if path.stem.lower().startswith(name)), "")
    pictures = []
    for number, entry in enumerate(entries):
        picture = _picture(f"{path}, entry {number}", entry, split, (left_out, mended))
        if picture is not None:
            pictures.append(picture)
    return Labels(kind="gooreal", protocol="gooreal", pictures=pictures, left_out=left_out, mended=mended)


def _entries(path: Path) -> list[Any]:
    content = (
        _unpickled(path) if path.suffix.lower() in PICKLES else read_json(path, max_bytes=4 << 30, constants=float)
    )
    if not isinstance(content, list):
        raise DataFileError(f"{path} is no list of pictures.", hint="Pass testrealhumans.pickle.", path=str(path))
    return content


def _unpickled(path: Path) -> Any:
    from gazetools.io.inert_pickle import RefusedPickle  # imports torch
    from gazetools.io.plain_pickle import read_plain

    try:
        return read_plain(path, max_bytes=_MOST_BYTES)
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror}.", path=str(path)) from None
    except RefusedPickle as error:
        raise DataFileError(
            f"{path} is not read: {error}. No pickle is executed here.",
            hint='Where you trust the file, convert it in an environment of its own: python -c "import json, pickle; '
            f"json.dump(pickle.load(open('{path.name}', 'rb')), open('{path.stem}.json', 'w'), "
            'default=lambda v: v.tolist())"',
            path=str(path),
        ) from None


def _picture(place: str, entry: Any, split: str, notes: tuple[Notes, Notes]) -> BenchmarkPicture | None:
    left_out, mended = notes
    try:
        name = str(entry["filename"]).replace("\\", "/")
        x0, y0, x1, y1 = (float(side) for side in list(entry["ann"]["bboxes"])[-1][:4])
        x, y = float(entry["gaze_cx"]) / WIDTH, float(entry["gaze_cy"]) / HEIGHT
        eye = (float(entry["hx"]) / WIDTH, float(entry["hy"]) / HEIGHT) if "hx" in entry and "hy" in entry else None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataFileError(
            f"{place}: {type(error).__name__}({shortened(error)}).",
            hint="Known entries: filename, ann.bboxes, gaze_cx, gaze_cy, hx, hy.",
        ) from None
    if x0 > x1 or y0 > y1:
        mended.add("corners_swapped", f"{place}: head box {(x0, y0, x1, y1)}")
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    box = (x0 / WIDTH, y0 / HEIGHT, x1 / WIDTH, y1 / HEIGHT)
    if not all_finite(*box):
        left_out.add("box_not_a_number", place)
    elif not all_finite(x, y):
        left_out.add("gaze_not_a_number", place)
    elif not all(0 < value < 1 for value in (*box, x, y)):
        rounded = tuple(round(side, 4) for side in box)
        left_out.add("not_strictly_inside", f"{place}: head box {rounded}, gaze ({x:.4f}, {y:.4f}) of the picture")
    else:
        item = entry.get("gaze_item")
        head = Head(
            box_xyxy=box, gaze_x=(x,), gaze_y=(y,), inout=1, eye_xy=eye if eye and all_finite(*eye) else None,
            gaze_class="" if item is None else str(item)[:60], place=place,
        )  # fmt: skip
        return BenchmarkPicture(path=name, width=WIDTH, height=HEIGHT, heads=(head,), split=split)
    return None
