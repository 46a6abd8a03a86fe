"""GazeFollow (extended) as released: `{train,test}_annotations_release.txt`."""

from __future__ import annotations

from pathlib import Path

from gazetools.annotations.gaze_labels import BenchmarkPicture, Head, Labels, Notes, all_finite
from gazetools.annotations.label_rows import label_rows, numbers_of
from gazetools.annotations.pictures_root import PicturesRoot, cut_box

_TRAIN_COLUMNS, _TEST_COLUMNS = 17, 16
_OLDER = (
    "The first release of GazeFollow has no head boxes. Use the extended one: train_annotations_release.txt "
    "(17 columns) and test_annotations_release.txt (16)."
)
_Row = tuple[int, list[float]]
"""Line; eye x y, gaze x y, head box (4, pixels) and in the train split inout."""


def read_gazefollow(path: Path, pictures: PicturesRoot) -> Labels:
    """Columns: path, idx, body box (4), eye x y, gaze x y, head box (4, pixels), [inout,] source, meta.

    A head of the test split has a row per annotator; rows of one head are those with the same eye_x. Pictures are in
    the order of their paths, heads of the test split in that of eye_x, of the train split in that of the rows: as
    fkryan/gazelle's data_prep groups them, whose JSON has the same order. Rows of the train split with inout -1 are
    left out, as there.
    """
    rows = label_rows(path, (_TEST_COLUMNS, _TRAIN_COLUMNS), older=_OLDER)
    train = bool(rows) and len(rows[0][1]) == _TRAIN_COLUMNS
    left_out, mended = Notes(), Notes()
    grouped: dict[str, dict[float, list[_Row]]] = {}
    for line, cells in rows:
        numbers = numbers_of(path, line, cells[6:15] if train else cells[6:14])
        if reason := _unusable(numbers, train):
            left_out.add(reason, f"{path}, line {line}: {', '.join(cells[6 : 15 if train else 14])}")
            continue
        head = line if train else numbers[0]
        grouped.setdefault(cells[0], {}).setdefault(head, []).append((line, numbers))
    found = []
    for name in sorted(grouped):
        order = sorted(grouped[name])
        size = pictures.size(name)
        if size is None:
            for line, _ in (row for key in order for row in grouped[name][key]):
                pictures.note_missing(name, f"{path}, line {line}", left_out)
            continue
        heads = tuple(_head(path, grouped[name][key], size, mended, train=train) for key in order)
        split = "train" if train else "test"
        found.append(BenchmarkPicture(path=name, width=size[0], height=size[1], heads=heads, split=split))
    return Labels(kind="gazefollow", protocol="gazefollow", pictures=found, left_out=left_out, mended=mended)


def _unusable(numbers: list[float], train: bool) -> str | None:
    if not all_finite(*numbers[:2], *numbers[4:8]):
        return "box_not_a_number"
    if not all_finite(*numbers[2:4]):
        return "gaze_not_a_number"
    if train and numbers[8] == -1:
        return "inout_unclear"
    return "inout_unknown" if train and numbers[8] not in (0, 1) else None


def _head(path: Path, own: list[_Row], size: tuple[int, int], mended: Notes, *, train: bool) -> Head:
    """The head of these rows; its box is that of the first."""
    line, first = own[0]
    place = f"{path}, line {line}"
    left, top, right, bottom = first[4:8]
    (x0, x1), (y0, y1) = sorted((left, right)), sorted((top, bottom))
    if left > right or top > bottom:
        mended.add("corners_swapped", f"{place}: head box {tuple(first[4:8])}")
    if x0 >= size[0] or y0 >= size[1] or x1 <= 0 or y1 <= 0:
        mended.add("head_outside_picture", f"{place}: head box {tuple(first[4:8])} of {size[0]}x{size[1]}")
    if not train and any(row[1] != first[1] or row[4:8] != first[4:8] for _, row in own):
        mended.add("people_merged", f"{place}: heads with the same eye_x {first[0]:g} and other boxes or eye_y")
    for number, row in own:
        x, y = row[2:4]
        if (x < 0) != (y < 0):
            mended.add("one_coordinate_negative", f"{path}, line {number}: gaze ({x:g}, {y:g})")
        elif x > 1 or y > 1:
            mended.add("point_outside", f"{path}, line {number}: gaze ({x:g}, {y:g})")
    return Head(
        box_xyxy=cut_box(x0, y0, x1, y1, size),
        gaze_x=tuple(row[2] for _, row in own),
        gaze_y=tuple(row[3] for _, row in own),
        inout=int(first[8]) if train else None,
        eye_xy=(first[0], first[1]),
        place=place,
    )
