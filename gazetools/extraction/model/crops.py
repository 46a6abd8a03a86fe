"""An enlarged part of the frame around a small head, and its heatmap put back into the frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gazetools.gazemodels.gazelle.prompts import BoxXyxy

HEAD_CELLS = 2.0
"""Cells of the model's grid that a head covers per side in its crop: two always contain one whole cell."""
MIN_SHARE = 1 / 8
"""Smallest side of a crop, as a share of the frame's; a smaller crop shows more of the codec than of the scene."""


def crop_around(box: BoxXyxy, grid_hw: tuple[int, int], frame_hw: tuple[int, int]) -> BoxXyxy:
    """The part of the frame, in 0..1, in which `box` covers `HEAD_CELLS` cells of the grid on both sides.

    The crop is as large as that allows and has the frame's ratio, so that the model scales both alike. Its middle is on
    the head, shifted where the crop would leave the frame; its edges lie on whole pixels.

    >>> crop_around((0.49, 0.49, 0.51, 0.51), (32, 32), (1000, 1000))  # 0.64 cells wide: 3.125 times enlarged
    (0.34, 0.34, 0.66, 0.66)
    """
    rows, columns = grid_hw
    share = min((box[2] - box[0]) * columns, (box[3] - box[1]) * rows) / HEAD_CELLS
    share = min(max(share, MIN_SHARE), 1.0)
    left, right = _side((box[0] + box[2]) / 2, share, frame_hw[1])
    top, bottom = _side((box[1] + box[3]) / 2, share, frame_hw[0])
    return left, top, right, bottom


def _side(middle: float, share: float, pixels: int) -> tuple[float, float]:
    length = min(max(math.ceil(share * pixels), 1), pixels)
    low = min(max(round(middle * pixels - length / 2), 0), pixels - length)
    return low / pixels, (low + length) / pixels


def cut(rgb_hw3: npt.NDArray[np.uint8], crop: BoxXyxy) -> npt.NDArray[np.uint8]:
    """View of the pixels [h, w, 3] of `crop`, which comes from `crop_around`."""
    height, width = rgb_hw3.shape[:2]
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(crop, (width, height, width, height), strict=True))
    return rgb_hw3[y0:y1, x0:x1]


def box_in_crop(box: BoxXyxy, crop: BoxXyxy) -> BoxXyxy:
    """A box in 0..1 of the frame, as a box in 0..1 of the crop."""
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    left, top, right, bottom = box
    x0, y0 = crop[:2]
    return (left - x0) / width, (top - y0) / height, (right - x0) / width, (bottom - y0) / height


def map_into_frame(map_hw: npt.NDArray[np.float32], crop: BoxXyxy) -> npt.NDArray[np.float32]:
    """A heatmap [H, W] of the crop as a heatmap [H, W] of the frame, zero outside the crop.

    Each pixel of the result is the mean of the crop's map over the area of that pixel (pixels are squares of one value;
    the area outside the crop counts as zero), so the integral is kept: mean(result) = mean(map_hw) * area of the crop.
    """
    height, width = map_hw.shape
    along_y = _overlap(height, crop[1], crop[3])
    along_x = _overlap(width, crop[0], crop[2])
    return (along_y @ map_hw.astype(np.float64) @ along_x.T).astype(np.float32)


def cell_weights(
    grid_hw: tuple[int, int], crop: BoxXyxy, cells: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Matrices [cells, rows] and [cells, columns] that average a grid over `crop` to cells x cells over the frame.

    Each cell of the frame becomes the mean, by area, of what the crop shows of it; one outside the crop becomes zero.

    >>> cell_weights((4, 4), (0, 0, 1, 1), 2)[0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    shares = _overlap(cells, crop[1], crop[3], grid_hw[0]), _overlap(cells, crop[0], crop[2], grid_hw[1])
    along_y, along_x = (share / np.maximum(share.sum(axis=1, keepdims=True), 1e-9) for share in shares)
    return along_y.astype(np.float32), along_x.astype(np.float32)


def _overlap(pixels: int, low: float, high: float, crop_pixels: int | None = None) -> npt.NDArray[np.float64]:
    """[pixels of the frame, pixels of the crop]: the share of each frame pixel that each crop pixel covers.

    `crop_pixels` None: as many as the frame has.
    """
    count = pixels if crop_pixels is None else crop_pixels
    frame_edges = np.arange(pixels + 1) / pixels
    crop_edges = low + (high - low) * np.arange(count + 1) / count
    left = np.maximum(frame_edges[:-1, None], crop_edges[None, :-1])
    right = np.minimum(frame_edges[1:, None], crop_edges[None, 1:])
    return np.asarray(np.clip(right - left, 0, None) * pixels)
