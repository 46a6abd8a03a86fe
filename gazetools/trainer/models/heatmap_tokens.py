"""The CNN patch embedding that turns gaze heatmaps into grids of tokens, at one or several scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_model import HeatmapPositions, Temporal


@dataclass(frozen=True, kw_only=True)
class HeatmapGrid:
    """The tokens of one scale for K maps."""

    tokens: Tensor
    """[B, K, grid * grid, dim], row by row."""
    times: Tensor
    """float32 [K]: time of each grid in time steps of the video; fractions where every frame has a grid."""
    steps: Tensor
    """int64 [K]: the video's time step that each grid belongs to."""
    grid: int
    """Cells per side."""


class _Scale(nn.Module):
    """One patch size: a convolution, a modality embedding and, for another view, a spatial embedding."""

    def __init__(self, *, dim: int, grid: int, patch: int, depth: int, own_positions: bool) -> None:
        super().__init__()
        self.depth = depth
        flat, deep = (patch, patch), (depth, patch, patch)
        self.embed: nn.Module = nn.Conv3d(1, dim, deep, deep) if depth > 1 else nn.Conv2d(1, dim, flat, flat)
        self.modality = nn.Parameter(torch.empty(1, 1, 1, dim))
        """Tells heatmap tokens from video tokens at the same position, and the scales from each other."""
        nn.init.trunc_normal_(self.modality, std=0.02)
        self.place: nn.Parameter | None = None
        if own_positions:
            self.place = nn.Parameter(torch.empty(1, 1, grid * grid, dim))
            nn.init.trunc_normal_(self.place, std=0.02)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, T, H, W] of the final resolution -> [B, T / depth, grid * grid, dim]."""
        batch, frames = maps.shape[:2]
        if self.depth > 1:
            tokens = self.embed(maps.unsqueeze(1)).flatten(3).permute(0, 2, 3, 1)
        else:
            tokens = self.embed(maps.flatten(0, 1).unsqueeze(1)).flatten(2).transpose(1, 2)
            tokens = tokens.unflatten(0, (batch, frames))
        tokens = tokens + self.modality
        return tokens if self.place is None else tokens + self.place


class HeatmapTokens(nn.Module):
    """Heatmaps [B, T, H, W] -> one HeatmapGrid per scale.

    Grids and not one token per map, because one token would erase where the gaze is.

    Args:
        resolution: side in pixels to which maps are resized.
        patch_sizes: pixels per token of each scale; every one divides `resolution`.
        tubelet_size: frames per time step of the video.
        temporal: `tubelet`: the mean map of a time step (an odd last frame is a step alone); `frame`: a grid per frame
            at its fractional time; `conv`: a convolution over a step's frames (an odd last frame is repeated).
        positions: `shared`: tokens have the positions of the video's cells; `own`: the maps show another view, so that
            only time is shared and places have a learned embedding.
    """

    def __init__(
        self,
        *,
        dim: int,
        resolution: int,
        patch_sizes: Sequence[int],
        tubelet_size: int,
        temporal: Temporal = "tubelet",
        positions: HeatmapPositions = "shared",
    ) -> None:
        super().__init__()
        for patch in patch_sizes:
            if resolution % patch:
                raise UsageError(
                    f"The heatmap resolution {resolution} is not a multiple of heatmap_patch_size {patch}.",
                    hint="Change experiment.data.heatmap_resolution, or heatmap_patch_size or multiscale under "
                    "model_kwargs.pretrain_kwargs.predictor.",
                )
        self.resolution = resolution
        self.tubelet_size = tubelet_size
        self.temporal = temporal
        self.own_positions = positions == "own"
        self.grids = [resolution // patch for patch in patch_sizes]
        self.scales = nn.ModuleList(
            _Scale(
                dim=dim,
                grid=resolution // patch,
                patch=patch,
                depth=tubelet_size if temporal == "conv" else 1,
                own_positions=self.own_positions,
            )
            for patch in patch_sizes
        )

    @property
    def tokens_per_step(self) -> int:
        """Number of heatmap tokens per time step of the video, over all scales."""
        cells = sum(grid**2 for grid in self.grids)
        return cells * (self.tubelet_size if self.temporal == "frame" else 1)

    def forward(self, heatmap: Tensor) -> list[HeatmapGrid]:
        """Grids of `heatmap` [B, T, H, W] (or [B, 1, T, H, W]) in 0..1; other sizes are resized to `resolution`."""
        if heatmap.ndim == 5 and heatmap.shape[1] == 1:
            heatmap = heatmap.squeeze(1)
        if heatmap.ndim != 4 or heatmap.shape[1] == 0:
            raise ValueError(f"heatmap must be [B, T, H, W] with T > 0, got {tuple(heatmap.shape)}")
        maps = heatmap.to(self.scales[0].modality.dtype)  # type: ignore[arg-type]
        size, side = self.tubelet_size, (self.resolution, self.resolution)
        if self.temporal == "tubelet":
            maps = pool_tubelets(maps, size)
        elif self.temporal == "conv" and maps.shape[1] % size:
            maps = torch.cat([maps, maps[:, -1:].expand(-1, size - maps.shape[1] % size, -1, -1)], dim=1)
        if maps.shape[-2:] != side:
            maps = functional.interpolate(maps, size=side, mode="bilinear", align_corners=False)
        count = maps.shape[1] // (size if self.temporal == "conv" else 1)
        steps = torch.arange(count, device=maps.device)
        times = steps.float()
        if self.temporal == "frame":
            # Step t is the middle of its frames t * size .. t * size + size - 1.
            times, steps = (times - (size - 1) / 2) / size, steps // size
        return [
            HeatmapGrid(tokens=scale(maps), times=times, steps=steps, grid=grid)
            for scale, grid in zip(self.scales, self.grids, strict=True)
        ]


def pool_tubelets(heatmaps_bthw: Tensor, tubelet_size: int) -> Tensor:
    """Mean of every `tubelet_size` maps [B, ceil(T / tubelet_size), H, W]; a shorter last group is averaged alone."""
    batch, frames, height, width = heatmaps_bthw.shape
    whole = frames // tubelet_size * tubelet_size
    parts = []
    if whole:
        parts.append(heatmaps_bthw[:, :whole].reshape(batch, -1, tubelet_size, height, width).mean(2))
    if whole < frames:
        parts.append(heatmaps_bthw[:, whole:].mean(1, keepdim=True))
    return torch.cat(parts, dim=1)
