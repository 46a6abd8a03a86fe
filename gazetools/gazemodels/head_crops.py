"""The pixels of a head box, for models that see a crop of each head; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from gazetools.gazemodels.gazelle.prompts import BoxXyxy
from gazetools.schemas.errors import UsageError

PixelBox: TypeAlias = tuple[int, int, int, int]
"""(x0, y0, x1, y1): columns [x0, x1) and rows [y0, y1) of a frame."""


def head_pixels(box: Sequence[float], frame_hw: tuple[int, int], *, where: str = "box") -> PixelBox:
    """The whole pixels of a box given in pixels of the frame, cut at its edges.

    As OctopusWen/PaGE page/page_model.py, _bbox_to_pixels: the left and top edge are cut at the last pixel, the others
    at the frame's side, then rounded half to even. A box wholly outside, of which that code makes a strip of one
    pixel, is refused here.

    Raises UsageError for a box outside the frame, one without a whole pixel, NaN.

    >>> head_pixels((10.5, 20.5, 40.2, 60.6), (121, 77))
    (10, 20, 40, 61)
    """
    height, width = frame_hw
    x0, y0, x1, y1 = (float(value) for value in box)
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise UsageError(f"{where} = {(x0, y0, x1, y1)} has NaN or infinity.", hint="Leave people without a box out.")
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise UsageError(
            f"{where} = {(x0, y0, x1, y1)} lies outside the {width}x{height} frame.",
            hint="The model sees a crop of the head, so the box must have pixels of this frame.",
        )
    left, top = (round(max(0.0, min(side - 1.0, value))) for side, value in ((width, x0), (height, y0)))
    right, bottom = (round(max(0.0, min(float(side), value))) for side, value in ((width, x1), (height, y1)))
    if right <= left or bottom <= top:
        raise UsageError(
            f"{where} = {(x0, y0, x1, y1)} has no whole pixel of the {width}x{height} frame.",
            hint="The model sees a crop of the head: leave people out whose head is smaller than a pixel.",
        )
    return left, top, right, bottom


def scaled(box: BoxXyxy, frame_hw: tuple[int, int]) -> BoxXyxy:
    """A box in 0..1 of the frame, in its pixels."""
    height, width = frame_hw
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def relative(pixels: PixelBox, frame_hw: tuple[int, int]) -> BoxXyxy:
    """A box in pixels, in 0..1 of the frame."""
    height, width = frame_hw
    return pixels[0] / width, pixels[1] / height, pixels[2] / width, pixels[3] / height


def has_pixels(box: BoxXyxy, frame_hw: tuple[int, int]) -> bool:
    """Whether a box in 0..1 of the frame holds a pixel, so that a model that needs head boxes can take it."""
    try:
        head_pixels(scaled(box, frame_hw), frame_hw)
    except UsageError:
        return False
    return True
