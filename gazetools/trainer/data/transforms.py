"""Frames and heatmaps to the model's tensors, under the same views so that both stay aligned; erasing of frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gazetools.trainer.data.augment import FILL, apply_photometric
from gazetools.trainer.data.geometry import View

Frame = npt.NDArray[np.uint8]

# ImageNet statistics, as V-JEPA 2 normalises.
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)

# Random erasing (arXiv 1708.04896) with the figures of facebookresearch/vjepa2's RandomErasing in mode "pixel".
_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)


def transform_frames(
    frames: npt.NDArray[np.uint8] | Iterable[Frame],
    view: View | Sequence[View],
    side: int,
    *,
    photometric: tuple[tuple[str, float], ...] = (),
) -> Tensor:
    """uint8 [T, H, W, 3] RGB -> float32 [3, T, side, side], normalised with ImageNet's statistics.

    Args:
        frames: an array, or frames one by one as they decode, so that no clip is held in memory at full size.
        view: one for all frames, or one per frame (motion shift).
        photometric: RandAugment's photometric operations, applied to the cropped frames.

    The whole frame is resized as in V-JEPA 2's evaluation (OpenCV bilinear on uint8), a crop as in its training
    (bilinear in float, not antialiased). Normalising after the crop instead of before it differs by rounding alone.
    """
    pairs = ((f, view) for f in frames) if isinstance(view, View) else zip(frames, view, strict=True)
    shown: npt.NDArray[Any] = np.stack([_shown(frame, one, side) for frame, one in pairs])
    if photometric:
        whole_numbers = shown if shown.dtype == np.uint8 else np.rint(shown)
        shown = apply_photometric(whole_numbers.astype(np.uint8, copy=False), photometric)
    return normalise(torch.from_numpy(shown))


def normalise(frames: Tensor) -> Tensor:
    """uint8 or float32 (0..255) [T, H, W, 3] -> float32 [3, T, H, W], contiguous, (x / 255 - mean) / std."""
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN_RGB, STD_RGB))
    video = torch.empty((3, *frames.shape[:3]), dtype=torch.float32)
    video.copy_(frames.permute(3, 0, 1, 2))
    return video.div_(255.0).sub_(mean).div_(std)


def resize_whole(frame: Frame, size_hw: tuple[int, int]) -> Frame:
    """Resize with OpenCV's bilinear on uint8, without antialiasing, as V-JEPA 2's evaluation does."""
    if frame.shape[:2] == size_hw:
        return frame
    return cv2.resize(frame, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)


def _shown(frame: Frame, view: View, side: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """One frame as [side, side, 3] in 0..255: uint8 where no crop had to be interpolated, else float32."""
    if view.warp is not None:
        return _warped(frame, view, side)
    whole = resize_whole(frame, view.resized_hw)
    crop = whole[view.top : view.top + view.height, view.left : view.left + view.width]
    shown = crop if crop.shape[:2] == (side, side) else resize_crop(crop, side)
    return shown[:, ::-1] if view.flip else shown


def _warped(frame: Frame, view: View, side: int) -> Frame:
    """Crop, mirror and warp in one bilinear sampling of the given frame; grey outside it."""
    height, width = frame.shape[:2]
    to_relative = np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side], [0, 0, 1.0]])
    to_pixels = np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1.0]])
    matrix = (to_pixels @ view.matrix() @ to_relative)[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = (FILL, FILL, FILL)
    return cv2.warpAffine(frame, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border)


def resize_crop(crop: Frame, side: int) -> npt.NDArray[np.float32]:
    """uint8 [h, w, 3] -> float32 [side, side, 3] in 0..255: torch's bilinear interpolate (align_corners=False).

    Only the four neighbours of every output pixel are read and converted, where interpolating the float image would
    convert all of it. Weights are computed as torch computes them (float32 scale, one rounding of scale * (i + 0.5) -
    0.5), so that the result agrees to float32 rounding; OpenCV's weights differ by 1e-4.
    """
    y_low, y_high, y_weight = _neighbours(crop.shape[0], side)
    x_low, x_high, x_weight = _neighbours(crop.shape[1], side)
    columns, rows = np.concatenate([x_low, x_high]), np.concatenate([y_low, y_high])
    places = np.empty((2 * side, 2 * side, 2), dtype=np.int16)
    places[..., 0], places[..., 1] = columns[None, :], rows[:, None]
    near = cv2.remap(crop, places, None, cv2.INTER_NEAREST)
    weight = y_weight[:, None, None]
    lines = near[:side] * (1 - weight)
    lines += near[side:] * weight
    # A full-size weight: numpy is eight times slower where the innermost axis of 3 has to be broadcast.
    full = np.repeat(x_weight, 3).reshape(1, side, 3)
    shown: npt.NDArray[np.float32] = lines[:, :side] * (1 - full)
    shown += lines[:, side:] * full
    return shown


def _neighbours(size: int, side: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Both neighbours of every output position and the weight of the second."""
    scale = np.float64(np.float32(size) / np.float32(side))
    source = np.maximum(scale * (np.arange(side) + 0.5) - 0.5, 0).astype(np.float32)
    low = np.minimum(source.astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), (source - low).astype(np.float32)


def transform_heatmaps(heatmaps_thw: npt.NDArray[np.float32], view: View | Sequence[View], side: int) -> Tensor:
    """float32 [T, h, w] maps of the whole frame -> float32 [T, side, side] of the same views, bilinear.

    A map of any size covers the whole frame, so views are applied in relative coordinates. Sampling points are pixel
    centres. Up to half a cell beyond the frame's edge takes the edge value; a warp brings in 0 from outside.
    """
    maps = torch.from_numpy(np.ascontiguousarray(heatmaps_thw, dtype=np.float32))
    views = [view] * len(maps) if isinstance(view, View) else view
    if len(views) != len(maps):
        raise ValueError(f"{len(maps)} maps need as many views, got {len(views)}")
    runs = [(one, len(list(run))) for one, run in groupby(views)]
    parts = maps.split([count for _, count in runs])
    return torch.cat([_sampled(part, one, side) for part, (one, _) in zip(parts, runs, strict=True)])


def transform_tokens(tokens: npt.NDArray[np.float32], view: View | Sequence[View]) -> Tensor:
    """Scene tokens [T, G, G * C] of the whole frame -> float32 of the same views, each channel as a map."""
    count, grid, row = tokens.shape
    channels = row // grid
    planes = tokens.reshape(count, grid, grid, channels).transpose(0, 3, 1, 2).reshape(-1, grid, grid)
    views = [view] * count if isinstance(view, View) else view
    seen = transform_heatmaps(planes, [one for one in views for _ in range(channels)], grid)
    return seen.view(count, channels, grid, grid).permute(0, 2, 3, 1).reshape(count, grid, row)


def _sampled(maps: Tensor, view: View, side: int) -> Tensor:
    centres = (np.arange(side, dtype=np.float64) + 0.5) / side
    matrix = view.matrix()
    xs = matrix[0, 0] * centres[None, :] + matrix[0, 1] * centres[:, None] + matrix[0, 2]
    ys = matrix[1, 0] * centres[None, :] + matrix[1, 1] * centres[:, None] + matrix[1, 2]
    # grid_sample's coordinates run from -1 to 1 over the whole map (align_corners=False).
    grid = torch.from_numpy(np.stack([2 * xs - 1, 2 * ys - 1], axis=-1).astype(np.float32))
    # All maps share the view: they are the channels of one image.
    sampled = functional.grid_sample(maps[None], grid[None], padding_mode="border", align_corners=False)[0]
    if view.warp is None:
        return sampled
    inside = (xs >= 0) & (xs <= 1) & (ys >= 0) & (ys <= 1)
    return sampled * torch.from_numpy(inside.astype(np.float32))


def erase(video: Tensor, random: np.random.Generator, *, probability: float) -> Tensor:
    """Random erasing in place: one box of all frames of float32 [3, T, H, W] becomes normal noise, or nothing happens.

    The box covers 2 to 33 % of the picture with an aspect ratio of 0.3 to 3.3, as in V-JEPA 2; at most 100 draws.
    """
    if random.random() >= probability:
        return video
    _, count, height, width = video.shape
    for _ in range(100):
        area = height * width * random.uniform(*_ERASED_AREA)
        ratio = math.exp(random.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])))
        box_h, box_w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_h < height and 0 < box_w < width:
            top, left = int(random.integers(0, height - box_h + 1)), int(random.integers(0, width - box_w + 1))
            noise = random.standard_normal((3, count, box_h, box_w), dtype=np.float32)
            video[:, :, top : top + box_h, left : left + box_w] = torch.from_numpy(noise)
            return video
    return video
