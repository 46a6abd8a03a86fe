"""Resizes between two fixed sizes, as ONNX of operator set 17 can express them."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


class FixedResize(nn.Module):
    """The bilinear resize of maps [N, h, w] between two fixed sizes as two matrix products.

    ONNX knows no antialiased resize before operator set 18.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, from_hw: tuple[int, int], to_hw: tuple[int, int], *, antialias: bool) -> None:
        super().__init__()
        (h, w), (out_h, out_w) = from_hw, to_hw
        self.same = from_hw == to_hw
        resize = partial(F.interpolate, mode="bilinear", align_corners=False, antialias=antialias)
        self.register_buffer("rows", resize(torch.eye(h)[None, None], size=(out_h, h))[0, 0], persistent=False)
        self.register_buffer("columns", resize(torch.eye(w)[None, None], size=(w, out_w))[0, 0], persistent=False)

    def forward(self, maps_nhw: torch.Tensor) -> torch.Tensor:
        """[N, h, w] -> [N, out_h, out_w]."""
        return maps_nhw if self.same else self.rows @ maps_nhw @ self.columns


class NearestResize(nn.Module):
    """The nearest-neighbour resize of the files that gazelle-dinov3 publishes."""

    def __init__(self, to_hw: tuple[int, int]) -> None:
        super().__init__()
        self.to_hw = to_hw

    def forward(self, maps_nhw: torch.Tensor) -> torch.Tensor:
        """[N, h, w] -> [N, out_h, out_w]."""
        return F.interpolate(maps_nhw.unsqueeze(1), size=self.to_hw, mode="nearest").squeeze(1)
