"""GazeFollow and VideoAttentionTarget: annotations as released (text) and as Gaze-LLE's scripts prepare them (JSON)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gazetools.io.json_files import read_json
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.excerpt import shortened

Protocol = Literal["gazefollow", "videoattentiontarget"]
_TRAIN_COLUMNS, _TEST_COLUMNS = 17, 16
SizeOf = Callable[[str], tuple[int, int]]
"""Function from the path of a picture below the root to its (width, height)."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """One annotated head."""

    box_xyxy: tuple[float, float, float, float]
    """x0, y0, x1, y1 in 0..1."""
    gaze_x: tuple[float, ...]
    """One entry per annotator as a fraction of the picture; negative: out of the frame."""
    gaze_y: tuple[float, ...]
    inout: int | None
    """1 inside, 0 outside, None where the benchmark does not say."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkPicture:
    """One picture with its annotated heads."""

    path: str
    """Path below the benchmark's root."""
    width: int
    height: int
    heads: tuple[Head, ...]


def read_benchmark(path: Path, size_of: SizeOf) -> tuple[Protocol, list[BenchmarkPicture]]:
    """The protocol and the pictures of an annotation file or folder:

    - `{train,test}_annotations_release.txt`: GazeFollow as released;
    - `{train,test}_preprocessed.json`: either benchmark as Gaze-LLE's scripts write it;
    - a folder `annotations/{train,test}`: VideoAttentionTarget as released, `<show>/<clip>/<person>.txt` below it.

    `size_of` returns the size of a picture, which the text forms do not have. Raises DataFileError with file and line
    for damaged annotations, UsageError for what is none of these.
    """
    if path.is_dir():
        return "videoattentiontarget", _vat_text(path, size_of)
    if path.suffix == ".txt":
        return "gazefollow", _gazefollow_text(path, size_of)
    if path.suffix == ".json":
        content = read_json(path, max_bytes=4 << 30)
        if isinstance(content, list) and content and isinstance(content[0], dict):
            if "frames" in content[0]:
                pictures = []
                for sequence in content:
                    size = {"width": sequence.get("width"), "height": sequence.get("height")}
                    pictures += [_picture(path, n, {**size, **frame}) for n, frame in enumerate(sequence["frames"])]
                return "videoattentiontarget", pictures
            if "heads" in content[0]:
                return "gazefollow", [_picture(path, number, item) for number, item in enumerate(content)]
    raise UsageError(
        f"{path} is no annotation that is known.",
        hint="Known: a ground-truth store, GazeFollow's *_annotations_release.txt, VideoAttentionTarget's "
        "annotations/test folder, and Gaze-LLE's *_preprocessed.json.",
    )


def _picture(path: Path, number: int, item: Any) -> BenchmarkPicture:
    try:
        heads = tuple(
            Head(
                box_xyxy=tuple(map(float, head["bbox_norm"])),  # type: ignore[arg-type]
                gaze_x=tuple(map(float, head["gazex_norm"])),
                gaze_y=tuple(map(float, head["gazey_norm"])),
                inout=None if head.get("inout") is None else int(head["inout"]),
            )
            for head in item["heads"]
        )
        width, height = int(item["width"]), int(item["height"])
        return BenchmarkPicture(path=str(item["path"]), width=width, height=height, heads=heads)
    except (KeyError, TypeError, ValueError) as error:
        raise DataFileError(
            f"{path}, entry {number}: {type(error).__name__}({shortened(error)}).", hint="Prepare the file again."
        ) from None


def _rows(path: Path, columns: tuple[int, ...]) -> list[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(f"Cannot read {path}: {error}.", path=str(path)) from None
    for line, row in rows:
        if len(row) not in columns:
            expected = " or ".join(map(str, columns))
            raise DataFileError(f"{path}, line {line}: {len(row)} cells, not {expected}.", path=str(path))
    return rows


def _numbers(path: Path, line: int, cells: list[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise DataFileError(f"{path}, line {line}: {shortened(error)}.", path=str(path)) from None


def _gazefollow_text(path: Path, size_of: SizeOf) -> list[BenchmarkPicture]:
    """Columns: path, idx, body box (4), eye x y, gaze x y, head box (4, pixels), [inout,] source, meta.

    A head of the test split has a row per annotator; rows of one head are those with the same eye_x. Rows of the
    training split with inout -1 (unclear) are left out, as the published protocol does.
    """
    rows = _rows(path, (_TEST_COLUMNS, _TRAIN_COLUMNS))
    train = bool(rows) and len(rows[0][1]) == _TRAIN_COLUMNS
    grouped: dict[str, dict[str, list[list[float]]]] = {}
    for line, row in rows:
        numbers = _numbers(path, line, row[6:15] if train else row[6:14])
        if train and numbers[8] == -1:
            continue
        head = str(line) if train else row[6]
        grouped.setdefault(row[0], {}).setdefault(head, []).append(numbers)
    pictures = []
    for name in sorted(grouped):
        width, height = size_of(name)
        order = list(grouped[name]) if train else sorted(grouped[name], key=float)
        heads = []
        for own in (grouped[name][key] for key in order):
            (x0, x1), (y0, y1) = sorted(own[0][4:8:2]), sorted(own[0][5:8:2])
            annotated = Head(
                box_xyxy=_box(x0, y0, x1, y1, width, height),
                gaze_x=tuple(row[2] for row in own),
                gaze_y=tuple(row[3] for row in own),
                inout=int(own[0][8]) if train else None,
            )
            heads.append(annotated)
        pictures.append(BenchmarkPicture(path=name, width=width, height=height, heads=tuple(heads)))
    return pictures


def _box(x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> tuple[float, float, float, float]:
    """A box in pixels as shares of the picture in 0..1, cut at its edges."""
    return max(x0, 0) / width, max(y0, 0) / height, min(x1, width) / width, min(y1, height) / height


def _vat_text(folder: Path, size_of: SizeOf) -> list[BenchmarkPicture]:
    """`<show>/<clip>/<person>.txt` with rows `picture, xmin, ymin, xmax, ymax, gaze x, gaze y` in pixels.

    Two negative gaze coordinates: out of the frame; one negative coordinate: set to 0. Head boxes are averaged over 11
    rows of the person's file with repeated ends, as in the benchmark's own evaluation.
    """
    clips = sorted(path for path in folder.glob("*/*") if path.is_dir())
    if not clips:
        hint = "Pass a store that gazetools groundtruth wrote, or annotations/test of VideoAttentionTarget."
        raise DataFileError(f"{folder} has neither store files (.h5) nor <show>/<clip> folders.", hint=hint)
    pictures = []
    for clip in clips:
        name = f"images/{clip.parent.name}/{clip.name}"
        heads: dict[str, list[Head]] = {}
        size: tuple[int, int] | None = None
        for person in sorted(clip.glob("*.txt")):
            rows = _rows(person, (7,))
            if not rows:
                continue
            numbers = np.array([_numbers(person, line, row[1:]) for line, row in rows])
            padded = np.pad(numbers[:, :4], ((5, 5), (0, 0)), mode="edge")
            boxes = np.stack([np.convolve(side, np.full(11, 1 / 11), mode="valid") for side in padded.T], axis=1)
            size = size or size_of(f"{name}/{rows[0][1][0]}")
            gaze = numbers[:, 4:]
            gaze = np.where((gaze >= 0).any(axis=1, keepdims=True), gaze.clip(0), gaze)
            for (_, row), (x0, y0, x1, y1), (x, y) in zip(rows, boxes.tolist(), gaze.tolist(), strict=True):
                head = Head(
                    box_xyxy=_box(x0, y0, x1, y1, *size),
                    gaze_x=(x / size[0],),
                    gaze_y=(y / size[1],),
                    inout=int(x >= 0 and y >= 0),
                )
                heads.setdefault(row[0], []).append(head)
        width, height = size or (0, 0)
        for picture, own in sorted(heads.items()):
            pictures.append(BenchmarkPicture(path=f"{name}/{picture}", width=width, height=height, heads=tuple(own)))
    return pictures
