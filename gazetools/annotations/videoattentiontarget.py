"""VideoAttentionTarget as released: a folder `annotations/{train,test}` with `<show>/<clip>/<person>.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.annotations.gaze_labels import BenchmarkPicture, BoxXyxy, Head, Labels, Notes, all_finite
from gazetools.annotations.label_rows import label_rows, numbers_of
from gazetools.annotations.pictures_root import PicturesRoot, cut_box
from gazetools.schemas.errors import DataFileError

_SMOOTHED = 11
"""Rows over which head boxes are averaged."""
_OLDER = "Known rows: picture, xmin, ymin, xmax, ymax, gaze x, gaze y."
Floats = npt.NDArray[np.float64]


def read_videoattentiontarget(folder: Path, pictures: PicturesRoot) -> Labels:
    """Rows of a person's file: picture, xmin, ymin, xmax, ymax, gaze x, gaze y, in pixels.

    Two negative gaze coordinates: out of the frame; one negative coordinate: set to 0. Head boxes are averaged over 11
    rows of the person's file with repeated ends, as in the benchmark's own evaluation. No file lists the clips: clips,
    people and pictures are in the order of their names, as Gaze-LLE's data_prep writes them, whatever the file system.
    """
    clips = sorted(path for path in folder.glob("*/*") if path.is_dir())
    if not clips:
        hint = "Pass a store that gazetools groundtruth wrote, or annotations/test of VideoAttentionTarget."
        raise DataFileError(f"{folder} has neither store files (.h5) nor <show>/<clip> folders.", hint=hint)
    left_out, mended = Notes(), Notes()
    other = _clips_of_other_splits(folder)
    found: list[BenchmarkPicture] = []
    for clip in clips:
        if (name := f"{clip.parent.name}/{clip.name}") in other:
            mended.add("video_in_other_split", f"{clip}: also in {other[name]}")
        found += _clip(folder, clip, pictures, left_out, mended)
    return Labels(
        kind="videoattentiontarget", protocol="videoattentiontarget", pictures=found, left_out=left_out, mended=mended
    )


def _clips_of_other_splits(folder: Path) -> dict[str, str]:
    """`<show>/<clip>` -> the folder of another split that has it too."""
    others = [folder.parent / name for name in ("train", "val", "test") if name != folder.name]
    return {f"{clip.parent.name}/{clip.name}": str(other) for other in others for clip in other.glob("*/*")}


def _clip(
    folder: Path, clip: Path, pictures: PicturesRoot, left_out: Notes, mended: Notes
) -> Iterator[BenchmarkPicture]:
    name = f"images/{clip.parent.name}/{clip.name}"
    people = [
        (person, rows) for person in sorted(clip.glob("*.txt")) if (rows := label_rows(person, (7,), older=_OLDER))
    ]
    names = (f"{name}/{cells[0]}" for _, rows in people for _, cells in rows)
    # one size per clip, from its first picture that is there
    size = next((found for one in names if (found := pictures.size(one)) is not None), None)
    heads: dict[str, list[Head]] = {}
    for person, rows in people:
        if size is None:
            for line, cells in rows:
                pictures.note_missing(f"{name}/{cells[0]}", f"{person}, line {line}", left_out)
            continue
        numbers = np.array([numbers_of(person, line, cells[1:]) for line, cells in rows])
        for (line, cells), box, (x, y) in zip(
            rows, _smoothed(numbers[:, :4]).tolist(), numbers[:, 4:].tolist(), strict=True
        ):
            place = f"{person}, line {line}"
            if (head := _head(place, tuple(box), (x, y), size, (left_out, mended))) is not None:
                heads.setdefault(cells[0], []).append(head)
    width, height = size or (0, 0)
    for picture, own in sorted(heads.items()):
        number = "".join(filter(str.isdigit, Path(picture).stem))
        yield BenchmarkPicture(
            path=f"{name}/{picture}",
            width=width,
            height=height,
            heads=tuple(own),
            video=clip.parent.name,
            clip=f"{clip.parent.name}/{clip.name}",
            frame=int(number) if number and len(number) <= 18 else None,
            split=folder.name,
        )


def _smoothed(boxes_n4: Floats) -> Floats:
    """Boxes averaged over 11 rows; rows beyond the ends repeat the first and last. A NaN spreads to its neighbours."""
    reach = _SMOOTHED // 2
    padded = np.pad(boxes_n4, ((reach, reach), (0, 0)), mode="edge")
    kernel = np.full(_SMOOTHED, 1 / _SMOOTHED)
    return np.stack([np.convolve(side, kernel, mode="valid") for side in padded.T], axis=1)


def _head(
    place: str, box: BoxXyxy, gaze: tuple[float, float], size: tuple[int, int], notes: tuple[Notes, Notes]
) -> Head | None:
    left_out, mended = notes
    x, y = gaze
    if not all_finite(*box):
        left_out.add("box_not_a_number", f"{place}: its box or one of the {_SMOOTHED} over which it is averaged")
        return None
    if not all_finite(x, y):
        left_out.add("gaze_not_a_number", f"{place}: gaze ({x}, {y})")
        return None
    if (x < 0) != (y < 0):
        mended.add("one_coordinate_negative", f"{place}: gaze ({x:g}, {y:g}) counts as ({max(x, 0):g}, {max(y, 0):g})")
        x, y = max(x, 0.0), max(y, 0.0)
    if x > size[0] or y > size[1]:
        mended.add("point_outside", f"{place}: gaze ({x:g}, {y:g}) of {size[0]}x{size[1]}")
    x0, y0, x1, y1 = box
    if x0 >= size[0] or y0 >= size[1] or x1 <= 0 or y1 <= 0 or x1 <= x0 or y1 <= y0:
        mended.add("head_outside_picture", f"{place}: head box {tuple(round(v, 2) for v in box)}")
    return Head(
        box_xyxy=cut_box(x0, y0, x1, y1, size),
        gaze_x=(x / size[0],),
        gaze_y=(y / size[1],),
        inout=int(x >= 0 and y >= 0),
        person=Path(place.rsplit(", line", 1)[0]).stem,
        place=place,
    )
