"""One geometric transform, drawn once, for a clip's frames and its heatmaps (PITFALLS 17)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

# ImageNet statistics, as V-JEPA 2 normalises.
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class View:
    """The part of the (resized) frame that becomes the model's square input.

    resized_hw is the size the whole frame is brought to first; top, left, height, width is the crop in its pixels,
    which is then scaled to the output side, and mirrored left to right where `flip` is set.
    """

    resized_hw: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    flip: bool

    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The crop relative to the whole frame, 0..1."""
        rows, columns = self.resized_hw
        return (
            self.left / columns,
            self.top / rows,
            (self.left + self.width) / columns,
            (self.top + self.height) / rows,
        )


def evaluation_view(frame_hw: tuple[int, int], side: int) -> View:
    """Short side to int(side * 256 / 224), then the centre; rounding as facebookresearch/vjepa2's make_transforms.

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


def training_view(
    frame_hw: tuple[int, int],
    random: np.random.Generator,
    *,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
    flip: bool,
) -> View:
    """A random crop of `scale` of the area and log-uniform `aspect_ratio` (width over height), mirrored half the time.

    Ten tries, then the largest centred crop of a legal ratio: the usual Inception-style crop.
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


def transform_frames(frames: npt.NDArray[np.uint8], view: View, side: int) -> Tensor:
    """uint8 [T, H, W, 3] RGB -> float32 [3, T, side, side], normalised with ImageNet's statistics.

    Resizing is OpenCV's bilinear on uint8 without antialiasing, as upstream does on decoded frames.
    """
    output = np.empty((len(frames), side, side, 3), dtype=np.uint8)
    rows, columns = view.resized_hw
    for index, frame in enumerate(frames):
        whole = frame
        if frame.shape[:2] != view.resized_hw:
            whole = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
        crop = whole[view.top : view.top + view.height, view.left : view.left + view.width]
        if crop.shape[:2] != (side, side):
            crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_LINEAR)
        output[index] = crop[:, ::-1] if view.flip else crop
    video = torch.from_numpy(output).permute(3, 0, 1, 2).float() / 255.0
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN_RGB, STD_RGB))
    return (video - mean) / std


def transform_heatmaps(heatmaps_thw: npt.NDArray[np.float32], view: View, side: int) -> Tensor:
    """float32 [T, h, w] maps of the whole frame -> float32 [T, side, side] of the same crop, bilinear.

    A map of any size covers the whole frame, so the crop is applied in relative coordinates. Sampling points are
    pixel centres; beyond the frame's edge the edge value holds.
    """
    x0, y0, x1, y1 = view.box_xyxy()
    xs = x0 + (np.arange(side, dtype=np.float64) + 0.5) / side * (x1 - x0)
    ys = y0 + (np.arange(side, dtype=np.float64) + 0.5) / side * (y1 - y0)
    if view.flip:
        xs = xs[::-1]
    # grid_sample's coordinates run from -1 to 1 over the whole map (align_corners=False).
    grid_x = torch.from_numpy((2 * xs - 1).astype(np.float32))
    grid_y = torch.from_numpy((2 * ys - 1).astype(np.float32))
    grid = torch.stack(torch.broadcast_tensors(grid_x[None, :], grid_y[:, None]), dim=-1)
    maps = torch.from_numpy(np.ascontiguousarray(heatmaps_thw, dtype=np.float32))
    # All maps of a clip share the view: they are the channels of one image.
    return functional.grid_sample(
        maps[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    ).squeeze(0)
