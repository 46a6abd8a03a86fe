"""Frames and head boxes to PaGE's inputs: the whole frame, and one crop per head cut before anything is resized."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gazetools.gazemodels.gazelle.preprocess import PreprocessKind, as_tensor, check_frames, preprocess
from gazetools.gazemodels.gazelle.prompts import check_box
from gazetools.gazemodels.head_crops import PixelBox, head_pixels, scaled
from gazetools.gazemodels.interface import Pictures
from gazetools.schemas.errors import UsageError


def as_pictures(images: Pictures) -> list[torch.Tensor]:
    """uint8 frames [B, H, W, 3], or several of their own sizes, as tensors [1, H, W, 3]; UsageError for others."""
    if isinstance(images, np.ndarray | torch.Tensor):
        frames = list(as_tensor(images).split(1)) if len(images) else []
    else:
        frames = [as_tensor(image[None]) for image in images]
    for frame in frames:
        if frame.is_floating_point():
            raise UsageError(
                "PaGE takes uint8 frames only: it cuts head crops from their own pixels.",
                hint="Give frames [B, H, W, 3] instead of the result of preprocess.",
            )
        check_frames(frame)
    return frames


def pixel_box(box: Sequence[float] | None, frame_hw: tuple[int, int], *, where: str) -> PixelBox:
    """The pixels of a head box in 0..1 of the frame. Raises UsageError for None and as `check_box`, `head_pixels`."""
    if box is None:
        raise UsageError(
            f"{where} is None, but PaGE sees a crop of each head and can't evaluate a person without a head box.",
            hint="Leave such people out, or use a model of Gaze-LLE.",
        )
    return head_pixels(scaled(check_box(box, where=where), frame_hw), frame_hw, where=where)


def scene_input(
    frames: Sequence[torch.Tensor], in_size: tuple[int, int], device: torch.device, kind: PreprocessKind
) -> torch.Tensor:
    """Frames [1, H, W, 3] of any sizes to float32 [B, 3, *in_size] on the device."""
    if len({frame.shape for frame in frames}) == 1:
        return preprocess(torch.cat(list(frames)).to(device), in_size, kind=kind)
    return torch.cat([preprocess(frame.to(device), in_size, kind=kind) for frame in frames])


def head_input(
    frame: torch.Tensor,
    boxes: Sequence[PixelBox],
    in_size: tuple[int, int],
    device: torch.device,
    kind: PreprocessKind = "exact",
) -> torch.Tensor:
    """Crops of a frame [1, H, W, 3] at its own resolution, then resized: float32 [N, 3, *in_size]."""
    crops = [frame[:, y0:y1, x0:x1].to(device) for x0, y0, x1, y1 in boxes]
    return torch.cat([preprocess(crop, in_size, kind=kind) for crop in crops])
