"""One head with its picture and gaze point: what gaze models learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What a teacher says about one head."""

    heatmap: Floats
    """float32 [h, w] in 0..1, relative to the whole picture."""
    inout: float | None
    """Probability that the target is in the picture; None where the teacher does not say."""


@dataclass(frozen=True, kw_only=True)
class HeadSample:
    """A picture and one head in it. Coordinates are in pixels of the picture."""

    picture: Pixels
    """uint8 RGB [H, W, 3]."""
    box_xyxy: Box
    """The head; corners may lie outside the picture."""
    gaze_xy: tuple[Point, ...]
    """Gaze points of all annotators, at least one; the first is learnt from. Any value where `inside` is False."""
    inside: bool
    """Whether the gaze target is in the picture; heads without are learnt from by the in/out loss alone."""
    teaching: Teaching | None = None
    """A teacher's answer, in place of a person's label; the first gaze point is then its peak."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return int(self.picture.shape[1]), int(self.picture.shape[0])

    @property
    def box_shares(self) -> Box:
        """The box as shares of the picture, cut at its edges: what a model receives."""
        width, height = self.size_wh
        x0, y0, x1, y1 = self.box_xyxy
        corners = x0 / width, y0 / height, x1 / width, y1 / height
        cut = [min(max(value, 0.0), 1.0) for value in corners]
        return cut[0], cut[1], cut[2], cut[3]

    @property
    def gaze_shares(self) -> Point:
        """The first gaze point as shares of the picture; (-1, -1) where the target is outside."""
        width, height = self.size_wh
        x, y = self.gaze_xy[0]
        return (x / width, y / height) if self.inside else (-1.0, -1.0)
