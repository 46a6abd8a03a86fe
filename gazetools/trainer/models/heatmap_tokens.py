"""The CNN patch embedding that turns gaze heatmaps into a grid of tokens per time step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gazetools.schemas.errors import UsageError


class HeatmapTokens(nn.Module):
    """Heatmaps [B, T, H, W] -> tokens [B, ceil(T / tubelet), grid * grid, dim].

    The maps of one tubelet are averaged (an odd last one stands alone), so that the tokens have the time steps of the
    video tokens. One token per map would erase where the gaze is (PITFALLS 16), hence a grid.
    """

    def __init__(self, *, dim: int, resolution: int, patch_size: int, tubelet_size: int) -> None:
        super().__init__()
        if resolution % patch_size:
            raise UsageError(
                f"The heatmap resolution {resolution} is not a multiple of heatmap_patch_size {patch_size}.",
                hint="Change experiment.data.heatmap_resolution or "
                "model_kwargs.pretrain_kwargs.predictor.heatmap_patch_size.",
            )
        self.resolution = resolution
        self.patch_size = patch_size
        self.tubelet_size = tubelet_size
        self.grid = resolution // patch_size
        self.embed = nn.Conv2d(1, dim, kernel_size=patch_size, stride=patch_size)
        self.modality = nn.Parameter(torch.empty(1, 1, 1, dim))
        """Tells heatmap tokens from video tokens at the same position."""
        nn.init.trunc_normal_(self.modality, std=0.02)

    def forward(self, heatmap: Tensor) -> Tensor:
        """Tokens of `heatmap` [B, T, H, W] (or [B, 1, T, H, W]) in 0..1; other sizes are resized to `resolution`."""
        if heatmap.ndim == 5 and heatmap.shape[1] == 1:
            heatmap = heatmap.squeeze(1)
        if heatmap.ndim != 4 or heatmap.shape[1] == 0:
            raise ValueError(f"heatmap must be [B, T, H, W] with T > 0, got {tuple(heatmap.shape)}")
        maps = pool_tubelets(heatmap.to(self.embed.weight.dtype), self.tubelet_size)
        batch, steps = maps.shape[:2]
        maps = maps.flatten(0, 1).unsqueeze(1)
        if maps.shape[-2:] != (self.resolution, self.resolution):
            maps = functional.interpolate(
                maps, size=(self.resolution, self.resolution), mode="bilinear", align_corners=False
            )
        tokens = self.embed(maps).flatten(2).transpose(1, 2)
        return tokens.unflatten(0, (batch, steps)) + self.modality


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
