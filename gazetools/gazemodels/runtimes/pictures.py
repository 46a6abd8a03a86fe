"""The picture and the boxes with which graphs are traced and checked, always the same; and frames of a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gazetools.video.reader import VideoReader

_FRAMES = 3


def example_picture(in_size: tuple[int, int]) -> torch.Tensor:
    """A smooth picture with noise, BGR in 0..255, [1, 3, *in_size]; always the same."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 4, 4), generator=generator)
    smooth = F.interpolate(coarse, size=in_size, mode="bilinear")
    noise = torch.rand((1, 3, *in_size), generator=generator)
    return torch.round((0.8 * smooth + 0.2 * noise) * 255)


def example_boxes(people: int) -> torch.Tensor:
    """So many boxes [1, N, 4] in different places of the frame."""
    corners = torch.rand((1, people, 2), generator=torch.Generator().manual_seed(1)) * 0.7
    return torch.cat((corners, corners + torch.tensor([0.2, 0.25])), dim=2)


def video_pictures(path: Path, in_size: tuple[int, int]) -> list[torch.Tensor]:
    """Up to 3 frames in different places of a video as pictures like the made one. Raises VideoError."""
    with VideoReader(path) as reader:
        count = min(_FRAMES, reader.frame_count)
        wanted = np.linspace(0, reader.frame_count - 1, count + 2).round().astype(int)[1:-1]
        frames = torch.from_numpy(reader.read(wanted.tolist()))
    pixels = frames.permute(0, 3, 1, 2).flip(1).float()
    small = F.interpolate(pixels, size=in_size, mode="bilinear", antialias=True)
    return list(torch.round(small.clamp(0, 255)).split(1))
