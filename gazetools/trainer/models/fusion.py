"""How heatmap tokens enter the predictor: interleaved, added, by cross-attention, or as a bias on attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gazetools.trainer.models.blocks import NORM_EPS, CoordinateRotaryAttention, block_config, grid_positions
from gazetools.trainer.models.heatmap_tokens import HeatmapGrid


def placed_tokens(grids: list[HeatmapGrid], *, video_grid: int, own_positions: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All scales as one sequence, step by step, coarse scales after fine ones within a frame's place.

    Returns tokens [B, M, D], positions (time, row, column) [1, M, 3] in the video's cells, and time steps int64 [M].
    A coarser grid sits at the centres of the cells that it covers; with `own_positions` all sit in the middle, so that
    only time tells them apart and the tokens' own embedding tells where they are.
    """
    tokens, positions, steps = [], [], []
    for heat in grids:
        cells = heat.grid**2
        place = grid_positions(1, heat.grid, heat.grid, device=heat.tokens.device)
        if own_positions:
            place[:, 1:] = (video_grid - 1) / 2
        else:
            place[:, 1:] = (place[:, 1:] + 0.5) * (video_grid / heat.grid) - 0.5
        place = place.repeat(len(heat.times), 1)
        place[:, 0] = heat.times.repeat_interleave(cells)
        tokens.append(heat.tokens.flatten(1, 2))
        positions.append(place)
        steps.append(heat.steps.repeat_interleave(cells))
    step_of = torch.cat(steps)
    order = torch.argsort(step_of, stable=True)
    return torch.cat(tokens, dim=1)[:, order], torch.cat(positions)[order].unsqueeze(0), step_of[order]


def on_video_grid(grids: list[HeatmapGrid], *, video_grid: int, ids: Tensor) -> Tensor:
    """The sum over scales at the video's cells: [B, Nx, D] for position ids `ids` [B, Nx]; 0 past the last map.

    Grids of other sizes are resized: coarser ones bilinearly, finer ones by averaging.
    """
    total: Tensor | None = None
    for heat in grids:
        batch, count, _, dim = heat.tokens.shape
        planes = heat.tokens.transpose(2, 3).reshape(batch * count, dim, heat.grid, heat.grid)
        if heat.grid > video_grid:
            planes = functional.adaptive_avg_pool2d(planes, video_grid)
        elif heat.grid < video_grid:
            planes = functional.interpolate(planes, size=(video_grid, video_grid), mode="bilinear", align_corners=False)
        flat = planes.reshape(batch, count, dim, -1).transpose(2, 3).reshape(batch, -1, dim)
        total = flat if total is None else total + flat
    if total is None:
        raise ValueError("no heatmap grids")
    inside = (ids < total.shape[1]).unsqueeze(-1)
    index = ids.clamp(max=total.shape[1] - 1).unsqueeze(-1).expand(-1, -1, total.shape[-1])
    return torch.gather(total, 1, index) * inside


class AddedHeatmap(nn.Module):
    """A zero-initialised projection added to the video tokens: at step 0 the predictor is V-JEPA 2's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, width)

    def reset(self) -> None:
        """Zero the projection."""
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, at_video_tokens: Tensor) -> Tensor:
        """[B, Nx, D] -> what is added to the embedded context."""
        return self.proj(at_video_tokens)


class _GatedCrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_heat = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = CoordinateRotaryAttention(block_config(), width, num_heads)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, positions: Tensor, heat: Tensor, heat_positions: Tensor) -> Tensor:
        attended = self.attention.cross(self.norm_tokens(tokens), positions, self.norm_heat(heat), heat_positions)
        return tokens + self.gate * attended


class CrossAttendedHeatmap(nn.Module):
    """After every block all tokens attend to the heatmap tokens through a gate that starts at zero.

    Rotary positions let a token find the heatmap tokens near it in time and space.
    """

    def __init__(self, width: int, num_heads: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_GatedCrossAttention(width, num_heads) for _ in range(depth))

    def reset(self) -> None:
        """Close the gates."""
        for layer in self.layers:
            nn.init.zeros_(layer.gate)  # type: ignore[arg-type]

    def forward(self, block: int, tokens: Tensor, positions: Tensor, heat: Tensor, heat_positions: Tensor) -> Tensor:
        """`tokens` [B, N, D] after block `block`, with what they read from `heat` [B, M, D]."""
        return self.layers[block](tokens, positions, heat, heat_positions)


class HeatmapAttentionBias(nn.Module):
    """Per block and head a number added to the attention logits of every video token, zero at first."""

    def __init__(self, width: int, num_heads: int, depth: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.depth = depth
        self.to_bias = nn.Linear(width, depth * num_heads)

    def reset(self) -> None:
        """No bias."""
        nn.init.zeros_(self.to_bias.weight)
        nn.init.zeros_(self.to_bias.bias)

    def forward(self, at_video_tokens: Tensor) -> Tensor:
        """[B, Nx, D] -> biases [B, depth, heads, Nx]."""
        return self.to_bias(at_video_tokens).unflatten(-1, (self.depth, self.num_heads)).permute(0, 2, 3, 1)
