"""A small set of labelled gaze: pictures in which each head looks at a bright dot, and a CSV of its points."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 96, 64
COLUMNS = (
    "picture", "video", "person", "xmin", "ymin", "xmax", "ymax", "gaze_x", "gaze_y", "inside",
)  # fmt: skip


def write_gaze_set(folder: Path, *, videos: int = 6, pictures: int = 3, seed: int = 0, outside_every: int = 5) -> Path:
    """`folder`/labels.csv and the pictures below `folder`; two heads in each, every n-th looks outside.

    Head boxes are those of a 4x4 grid's cells and the like, so that a tiny model has a cell for each. Returns the CSV.
    """
    draw = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for video in range(videos):
        for number in range(pictures):
            name = f"v{video}/{number}.jpg"
            picture = draw.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            for person in range(2):
                x0, y0 = (0.05 + 0.5 * person + 0.1 * draw.random(), 0.1 + 0.3 * draw.random())
                box = (x0, y0, x0 + 0.27, y0 + 0.3)
                inside = len(rows) % outside_every != outside_every - 1
                gaze = (0.05 + 0.9 * draw.random(), 0.05 + 0.9 * draw.random()) if inside else (-1.0, -1.0)
                _draw(picture, box, gaze if inside else None, person)
                where = dict(zip(COLUMNS[3:9], (*box, *gaze), strict=True))
                rows.append({"picture": name, "video": f"v{video}", "person": person, **where, "inside": int(inside)})
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return write_rows(folder / "labels.csv", rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The CSV of rows with `COLUMNS`."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of such a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _draw(picture: Any, box: Sequence[float], gaze: tuple[float, float] | None, person: int) -> None:
    colour = [0, 0, 0]
    colour[person] = 220
    x0, y0, x1, y1 = (int(v * side) for v, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True))
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)
    if gaze is not None:
        cv2.circle(picture, (int(gaze[0] * WIDTH), int(gaze[1] * HEIGHT)), 4, [min(255, c + 35) for c in colour], -1)
