"""Rotary position embeddings: which angle each channel of a query or key turns by, for each family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pairs = Literal["adjacent", "halves"]
"""Which channels form a plane that turns: 2i and 2i + 1 (`adjacent`), or i and i + D / 2 (`halves`)."""


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines for the tokens of a sequence; computed once, used by every block."""

    cos: Tensor
    """float32, broadcasts to [B, heads, N - prefix, D]."""
    sin: Tensor
    """The shape is that of `cos`."""
    pairs: Pairs
    prefix: int = 0
    """Number of tokens at the start (class token, registers) that do not turn."""

    def __call__(self, x_bhnd: Tensor) -> Tensor:
        """Turn queries or keys [B, heads, N, D]; computed in float32 (or wider), returned in the dtype of `x_bhnd`."""
        if self.prefix:
            turned = self._turn(x_bhnd[:, :, self.prefix :])
            return torch.cat((x_bhnd[:, :, : self.prefix], turned), dim=2)
        return self._turn(x_bhnd)

    def _turn(self, x: Tensor) -> Tensor:
        if self.pairs == "adjacent":
            first, second = x.unflatten(-1, (-1, 2)).unbind(dim=-1)
            crossed = torch.stack((-second, first), dim=-1).flatten(-2)
        else:
            first, second = x.chunk(2, dim=-1)
            crossed = torch.cat((-second, first), dim=-1)
        # Positions and angles stay float32: bfloat16 would move fractional positions by up to 0.03 cells.
        return (x * self.cos + crossed * self.sin).to(x.dtype)


def video_rotation(positions_tyx: Tensor, head_dim: int, *, interleaved: bool = False) -> Rotation:
    """V-JEPA 2's rotation by (time, row, column) [B or 1, N, 3], float32, in cells; fractions are allowed.

    Each axis has d = 2 * ((head_dim // 3) // 2) channels with frequencies 10000^(-i / (d / 2)); the rest do not turn.
    Version 2.0 pairs adjacent channels but tiles sines and cosines (channel c uses frequency c mod d / 2), as released
    weights were trained (facebookresearch/vjepa2 src/models/utils/modules.py, rotate_queries_or_keys); with
    `interleaved`, version 2.1, channels 2i and 2i + 1 share frequency i.
    """
    half = (head_dim // 3) // 2
    omega = torch.arange(half, dtype=torch.float32, device=positions_tyx.device)
    omega = 1.0 / 10000 ** (omega / (2 * half / 2.0))
    angles = positions_tyx.unsqueeze(-1) * omega  # [B, N, 3, d / 2]
    angles = angles.repeat_interleave(2, dim=-1) if interleaved else angles.repeat(1, 1, 1, 2)
    cos, sin = angles.cos().flatten(2), angles.sin().flatten(2)
    if rest := head_dim - 6 * half:
        cos = torch.cat((cos, cos.new_ones(*cos.shape[:2], rest)), dim=2)
        sin = torch.cat((sin, sin.new_zeros(*sin.shape[:2], rest)), dim=2)
    return Rotation(cos.unsqueeze(1), sin.unsqueeze(1), "adjacent")


def image_rotation(grid_hw: tuple[int, int], periods: Tensor, *, prefix: int) -> Rotation:
    """DINOv3's rotation of the patches of a grid, row by row.

    Coordinates are 2 (i + 0.5) / n - 1 per side; the angle is 2 pi * coordinate / period for the row, then for the
    column, and the two halves of a head turn together (facebookresearch/dinov3 dinov3/layers/rope_position_encoding.py,
    "separate" coordinates). `periods` is [head_dim / 4].
    """
    axes = [2.0 * (torch.arange(0.5, n, dtype=torch.float32, device=periods.device) / n) - 1.0 for n in grid_hw]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)  # [rows * columns, 2]
    angles = (2 * math.pi * coordinates[:, :, None] / periods).flatten(1).tile(2)
    return Rotation(angles.cos(), angles.sin(), "halves", prefix)


def image_periods(head_dim: int, base: float = 100.0) -> Tensor:
    """DINOv3's periods base^(2i / (head_dim / 2)), float32 [head_dim / 4], for files that do not store them."""
    # Always on the CPU: on "meta", where models are built, torch would import sympy and its compiler for it (70 MiB).
    steps = torch.arange(head_dim // 4, dtype=torch.float32, device="cpu")
    return base ** (2 * steps / (head_dim // 2))


def plane_rotation(rows_bn: Tensor, columns_bn: Tensor, head_dim: int, *, base: float = 100.0, prefix: int) -> Rotation:
    """Rotation by cell numbers: the first half of a head by the row, the second by the column, adjacent pairs.

    Frequencies are base^(-2i / (head_dim / 2)), i = 0..head_dim / 4 - 1, for positions [B or 1, N] that may be
    fractions of cells (PaGE's decoder).
    """
    quarter = head_dim // 4
    omega = base ** (-2 * torch.arange(quarter, dtype=torch.float32, device=rows_bn.device) / (head_dim / 2))
    angles = torch.cat((rows_bn.float().unsqueeze(-1) * omega, columns_bn.float().unsqueeze(-1) * omega), dim=-1)
    angles = torch.stack((angles, angles), dim=-1).flatten(-2).unsqueeze(1)  # [B, 1, N, head_dim]; ONNX can trace it
    return Rotation(angles.cos(), angles.sin(), "adjacent", prefix)
