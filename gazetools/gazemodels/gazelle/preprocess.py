"""RGB frames to model input: scale, resize and normalise as Gaze-LLE's transform does, batched, on CPU or GPU."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from gazetools.gazemodels.interface import Images
from gazetools.schemas.errors import UsageError

PreprocessKind = Literal["exact", "fast"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in 0..1, as in fkryan/gazelle `gazelle/backbone.py`, get_transform."""

_CHUNK_PIXELS = {"cpu": 1 << 21, "cuda": 1 << 23}
"""Pixels that are float32 at one time, by kind of device, so that a batch of 4K frames does not need gigabytes. On the
CPU one 1080p frame: its 25 MB are taken from memory that is there, those of four are asked of the kernel every time."""


def preprocess(
    images_bhwc: torch.Tensor, in_size: tuple[int, int], *, kind: PreprocessKind = "exact", normalised: bool = True
) -> torch.Tensor:
    """Model input for uint8 RGB frames.

    The public transform is ToTensor, Normalize(ImageNet), Resize(in_size, bilinear with antialiasing) on floats. The
    resize is linear and its weights add up to one, so normalising after it gives the same numbers (8e-7 measured).
    The frame is squashed to `in_size`, not padded: normalised coordinates stay right, pixel ratios do not.

    From uint8 [B, H, W, 3] of any size to float32 [B, 3, height, width] on the same device; errors as `check_frames`.
    `exact` resizes floats: within 3e-5 of float64. `fast` resizes the uint8 values on the CPU, rounded to levels:
    within one level of 255 (at most 0.018 after normalising, mean 0.004), five times as fast for large frames. On a GPU
    `fast` is computed as `exact`, which costs little there. Not `normalised`, the result stays in 0..1.
    """
    check_frames(images_bhwc)
    batch, height, width, _ = images_bhwc.shape
    out = torch.empty((batch, 3, *in_size), dtype=torch.float32, device=images_bhwc.device)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalised else ((0.0,) * 3, (1.0,) * 3)
    scale, shift = (
        torch.tensor(channel_values).view(3, 1, 1).to(out.device, non_blocking=True)  # blocking would end all overlap
        for channel_values in ([1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)])
    )
    step = max(1, _CHUNK_PIXELS.get(images_bhwc.device.type, 1 << 23) // max(height * width, 1))
    resize_levels = kind == "fast" and images_bhwc.device.type == "cpu"
    for start in range(0, batch, step):
        chunk = images_bhwc[start : start + step].permute(0, 3, 1, 2)
        if not resize_levels:
            chunk = chunk.contiguous().to(torch.float32)  # bytes to planes first: half the time of doing both at once
        rows = out[start : start + step]
        rows.copy_(resize_antialiased(chunk, in_size)).mul_(scale).add_(shift)
    return out


def as_tensor(images: Images) -> torch.Tensor:
    """`images` as a uint8 or float tensor of rank 4; UsageError for anything else."""
    if isinstance(images, torch.Tensor):
        frames = images
    elif isinstance(images, np.ndarray) and (images.dtype == np.uint8 or images.dtype.kind == "f"):
        # Read-only arrays (a decoder's buffer) are only read here, but torch would warn about them.
        frames = torch.from_numpy(images if images.flags.writeable else images.copy())
    else:
        raise UsageError(
            f"images must be one uint8 or float array or tensor, not {getattr(images, 'dtype', type(images).__name__)}."
        )
    if frames.ndim != 4 or not (frames.dtype == torch.uint8 or frames.is_floating_point()):
        found = f"{frames.dtype} {list(frames.shape)}"
        raise UsageError(
            f"images must be uint8 [B, H, W, 3] or float [B, 3, height, width], not {found}.",
            hint="One frame needs a leading axis: frame[None].",
        )
    return frames


def check_frames(images_bhwc: torch.Tensor) -> None:
    """UsageError unless these are uint8 [B, H, W, 3] frames with pixels."""
    if images_bhwc.dtype != torch.uint8 or images_bhwc.ndim != 4 or images_bhwc.shape[3] != 3:
        raise UsageError(
            f"Frames must be uint8 [B, H, W, 3] RGB, not {str(images_bhwc.dtype).removeprefix('torch.')} "
            f"{list(images_bhwc.shape)}.",
            hint="Stack frames of one size; float input must already be preprocessed, [B, 3, height, width].",
        )
    if len(images_bhwc) and not images_bhwc.numel():
        raise UsageError(f"Frames have no pixels: {list(images_bhwc.shape)}.")


def resize_antialiased(images_bchw: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Bilinear resize to (height, width) with antialiasing, as torchvision does it; equal sizes pass through."""
    if tuple(images_bchw.shape[-2:]) == tuple(size_hw):
        return images_bchw
    return F.interpolate(images_bchw, size=size_hw, mode="bilinear", align_corners=False, antialias=True)
