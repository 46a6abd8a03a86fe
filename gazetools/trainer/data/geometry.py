"""`View`, the part of a frame that becomes the model's square input: crops, flips, motion shift and warps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class View:
    """The part of a frame that becomes the model's square input.

    The whole frame is resized to `resized_hw`; top, left, height and width are the crop in pixels of the result. The
    crop is scaled to the output side, and mirrored left to right where `flip` is set.
    """

    resized_hw: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    flip: bool
    warp: tuple[float, ...] | None = None
    """3x3 matrix by rows: relative point (x, y, 1) of the warped frame -> relative point of the given frame."""

    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The crop relative to the whole (warped) frame, 0..1."""
        rows, columns = self.resized_hw
        right, bottom = self.left + self.width, self.top + self.height
        return self.left / columns, self.top / rows, right / columns, bottom / rows

    def matrix(self) -> Matrix:
        """float64 [3, 3]: relative point of the output (0..1 from its edges) -> relative point of the given frame."""
        x0, y0, x1, y1 = self.box_xyxy()
        crop = np.array([[x1 - x0, 0.0, x0], [0.0, y1 - y0, y0], [0.0, 0.0, 1.0]])
        if self.flip:
            crop = crop @ np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return crop if self.warp is None else np.array(self.warp).reshape(3, 3) @ crop


def evaluation_view(frame_hw: tuple[int, int], side: int) -> View:
    """Resize the short side to int(side * 256 / 224), then crop the centre (vjepa2's make_transforms).

    The long side is truncated, the crop's offset is rounded half to even.
    """
    height, width = frame_hw
    short = int(side * 256 / 224)
    if min(height, width) == short:
        resized = (height, width)
    elif width < height:
        resized = (int(short * height / width), short)
    else:
        resized = (short, int(short * width / height))
    top, left = round((resized[0] - side) / 2.0), round((resized[1] - side) / 2.0)
    return View(resized_hw=resized, top=top, left=left, height=side, width=side, flip=False)


def whole_view(frame_hw: tuple[int, int]) -> View:
    """The whole frame, squashed to the output's square."""
    height, width = frame_hw
    return View(resized_hw=frame_hw, top=0, left=0, height=height, width=width, flip=False)


def training_view(
    frame_hw: tuple[int, int],
    random: np.random.Generator,
    *,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
    flip: bool,
) -> View:
    """A random crop of `scale` of the area and log-uniform `aspect_ratio` (width over height), mirrored half the time.

    Ten draws, then the largest centred crop of an allowed ratio: the usual Inception-style crop.
    """
    height, width = frame_hw
    mirrored = bool(random.random() < 0.5) if flip else False
    for _ in range(10):
        area = height * width * random.uniform(*scale)
        ratio = math.exp(random.uniform(math.log(aspect_ratio[0]), math.log(aspect_ratio[1])))
        crop_w, crop_h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_w <= width and 0 < crop_h <= height:
            top = int(random.integers(0, height - crop_h + 1))
            left = int(random.integers(0, width - crop_w + 1))
            return View(resized_hw=frame_hw, top=top, left=left, height=crop_h, width=crop_w, flip=mirrored)
    ratio = min(max(width / height, aspect_ratio[0]), aspect_ratio[1])
    crop_w, crop_h = min(width, round(height * ratio)), min(height, round(width / ratio))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return View(resized_hw=frame_hw, top=top, left=left, height=crop_h, width=crop_w, flip=mirrored)


def shifted_views(first: View, last: View, count: int) -> list[View]:
    """Motion shift: the crop moves and scales evenly from `first` to `last` over `count` frames.

    Whole pixels, truncated, as facebookresearch/vjepa2's random_resized_crop_with_shift; `first` decides the mirroring.
    """
    steps = [
        np.linspace(getattr(first, name), getattr(last, name), count).astype(int).tolist()
        for name in ("top", "left", "height", "width")
    ]
    return [
        replace(first, top=top, left=left, height=height, width=width)
        for top, left, height, width in zip(*steps, strict=True)
    ]


def relative_warp(pixel_matrices: Sequence[Matrix], frame_hw: tuple[int, int]) -> tuple[float, ...] | None:
    """One warp from matrices in pixels (output point -> input point, edges at 0 and width), applied in this order.

    Warping an image by A and the result by B shows at p what the first image has at A(B(p)): the product A B.
    """
    if not pixel_matrices:
        return None
    total = functools.reduce(np.matmul, pixel_matrices, np.eye(3))
    size = np.diag([float(frame_hw[1]), float(frame_hw[0]), 1.0])
    return tuple((np.linalg.inv(size) @ total @ size).ravel().tolist())
