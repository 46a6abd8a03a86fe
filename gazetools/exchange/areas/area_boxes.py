"""Boxes with names, as a file of areas gives them: fixed, by frame or by time, for one video or for all."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt
from gazetools.schemas.table import AreaFormat, TableAreas

MAX_AREAS = 1000
"""Columns that a table may have for areas."""
_FRAME_LIMIT = 2**31
FIXED = -1
"""Frame of a box that holds for all frames."""
VIDEO_SIZE = (math.nan, math.nan)
"""Width and height of boxes in pixels of the video, whatever its size is."""


@dataclass(frozen=True, kw_only=True)
class AreaBoxes:
    """N boxes of one file, in its order."""

    source: Path
    form: AreaFormat
    name: list[str]
    video: list[str | None]
    """Id of the video, or the last part of it; None: every video."""
    frame: npt.NDArray[np.int64]
    """[N] index among the decoded frames; `FIXED` for a box that holds for all frames or has `seconds`."""
    seconds: npt.NDArray[np.float64]
    """[N] time in the video; NaN for boxes without one."""
    box_xyxy: npt.NDArray[np.float64]
    """[N, 4] xmin, ymin, xmax, ymax as read."""
    size_wh: npt.NDArray[np.float64]
    """[N, 2] width and height that a box refers to, (1, 1) for fractions; NaN: the video's."""
    left_out: dict[str, int]
    """What of the file was not used -> how often."""

    def __len__(self) -> int:
        return len(self.name)

    @property
    def fixed(self) -> bool:
        """Whether all boxes hold for all frames."""
        return bool(((self.frame == FIXED) & np.isnan(self.seconds)).all())

    def names_for(self, video_ids: list[str]) -> list[str]:
        """Names of the areas that have a box in one of the videos, sorted. DataFileError: none, or too many."""
        wanted = {part for video_id in video_ids for part in (video_id, video_id.rsplit("/", 1)[-1])}
        names = sorted({name for name, video in zip(self.name, self.video, strict=True) if video in {None} | wanted})
        if not names:
            listed = ", ".join(sorted({excerpt(video, 40) for video in self.video if video})[:5]) or "none"
            raise DataFileError(
                f"{self.source} has no box for any video of the table; its videos are: {listed}.",
                hint="Ids are those of the store; the last part of one is enough.",
                path=str(self.source),
            )
        if len(names) > MAX_AREAS:
            raise DataFileError(
                f"{self.source} has {len(names)} areas for these videos; at most {MAX_AREAS} become columns.",
                hint="Leave areas out of the file, or give them common names.",
                path=str(self.source),
            )
        return names

    def record(self, names: list[str]) -> TableAreas:
        """What a report says of the file."""
        return TableAreas(
            source=str(self.source),
            format=self.form,
            names=names,
            boxes=len(self),
            fixed=self.fixed,
            left_out=dict(sorted(self.left_out.items())),
        )


@dataclass(kw_only=True)
class AreaDraft:
    """The boxes of a file while it is read; boxes that are no areas are counted instead."""

    source: Path
    form: AreaFormat
    name: list[str] = field(default_factory=list)
    video: list[str | None] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    sizes: list[tuple[float, float]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        name: str,
        box_xyxy: tuple[float, float, float, float],
        *,
        where: str,
        video: str | None = None,
        frame: int = FIXED,
        seconds: float = math.nan,
        size_wh: tuple[float, float] = VIDEO_SIZE,
    ) -> None:
        """Add a box; `where` names its place in the file. DataFileError for numbers that are none, and empty names."""
        x0, y0, x1, y1 = box_xyxy
        if not all(map(math.isfinite, box_xyxy)):
            raise self.error(f"{where}: the box {list(box_xyxy)} has a coordinate that is no finite number")
        if not (name := " ".join(name.split())):  # a column's name is one line
            raise self.error(f"{where}: the area has no name")
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise self.error(f"{where}: the name {excerpt(name)} has half of a character, which no file can hold")
        if any(size <= 0 or math.isinf(size) for size in size_wh):
            raise self.error(f"{where}: its picture has the size {size_wh[0]:g}x{size_wh[1]:g}, which is none")
        if frame >= _FRAME_LIMIT:
            raise self.error(f"{where}: the frame {excerpt(frame, 40)} is above every frame of a video")
        if x1 <= x0 or y1 <= y0:
            self.left_out["boxes without an area"] += 1
            return
        self.name.append(name)
        self.video.append(video)
        self.frame.append(frame)
        self.seconds.append(seconds)
        self.boxes.append((x0, y0, x1, y1))
        self.sizes.append(size_wh)

    def error(self, what: str) -> DataFileError:
        """The error for something in this file."""
        return DataFileError(f"{self.source}, {what}.", hint="Correct the file of areas.", path=str(self.source))

    def done(self) -> AreaBoxes:
        """The boxes. DataFileError: there are none, or one name has both fixed boxes and boxes of single frames."""
        if not self.name:
            why = ", ".join(f"{count} {what}" for what, count in sorted(self.left_out.items())) or "it is empty"
            raise DataFileError(f"{self.source} has no box that can be used ({why}).", path=str(self.source))
        boxes = AreaBoxes(
            source=self.source,
            form=self.form,
            name=self.name,
            video=self.video,
            frame=np.array(self.frame, np.int64),
            seconds=np.array(self.seconds, np.float64),
            box_xyxy=np.array(self.boxes, np.float64).reshape(-1, 4),
            size_wh=np.array(self.sizes, np.float64).reshape(-1, 2),
            left_out=dict(self.left_out),
        )
        held = (boxes.frame == FIXED) & np.isnan(boxes.seconds)
        both = {n for n, h in zip(self.name, held, strict=True) if h} & {
            n for n, h in zip(self.name, held, strict=True) if not h
        }
        if both:
            raise self.error(f"area {min(both)!r} has boxes for all frames and boxes for single frames")
        return boxes
