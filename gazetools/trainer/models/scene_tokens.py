"""The tokens that a gaze model's scene tokens become for the predictor, in the place of heatmap tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gazetools.schemas.training_model import Temporal
from gazetools.trainer.models.blocks import NORM_EPS
from gazetools.trainer.models.heatmap_tokens import HeatmapGrid, pool_tubelets


class _SceneLayer(nn.Module):
    """LayerNorm and a linear layer from the gaze model's channels to the predictor's, and a modality embedding."""

    def __init__(self, *, channels: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.embed = nn.Linear(channels, dim)
        self.modality = nn.Parameter(torch.empty(1, 1, 1, dim))
        """Tells scene tokens from video tokens at the same position."""
        nn.init.trunc_normal_(self.modality, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., channels] -> [..., dim]."""
        return self.embed(self.norm(tokens)) + self.modality


class SceneTokens(nn.Module):
    """Scene tokens of every frame -> one HeatmapGrid, the mean of each time step; it has the face of `HeatmapTokens`.

    Args:
        dim: width of the predictor.
        size: cells per side and channels of the scene tokens.
        tubelet_size: frames per time step of the video; an odd last frame is a step alone.
    """

    own_positions = False
    temporal: Temporal = "tubelet"

    def __init__(self, *, dim: int, size: tuple[int, int], tubelet_size: int) -> None:
        super().__init__()
        grid, self.channels = size
        self.tubelet_size = tubelet_size
        self.grids = [grid]
        self.scales = nn.ModuleList([_SceneLayer(channels=self.channels, dim=dim)])

    @property
    def tokens_per_step(self) -> int:
        """Number of scene tokens per time step of the video."""
        return self.grids[0] ** 2

    def forward(self, tokens: Tensor) -> list[HeatmapGrid]:
        """The grid of `tokens` [B, T, G, G * C], whose rows have the C channels of a cell next to each other."""
        (grid,), (layer,) = self.grids, self.scales
        if tokens.ndim != 4 or tokens.shape[1] == 0 or tokens.shape[2:] != (grid, grid * self.channels):
            raise ValueError(f"tokens must be [B, T, {grid}, {grid * self.channels}], got {tuple(tokens.shape)}")
        means = pool_tubelets(tokens.to(layer.get_parameter("modality").dtype), self.tubelet_size)
        cells = means.unflatten(3, (grid, self.channels)).flatten(2, 3)
        steps = torch.arange(cells.shape[1], device=tokens.device)
        return [HeatmapGrid(tokens=layer(cells), times=steps.float(), steps=steps, grid=grid)]
