"""The picture and the boxes with which graphs are traced and checked; always the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F


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
