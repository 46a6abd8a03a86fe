"""How heatmap tokens enter the predictor: one class per fusion, by the words of a config in `FUSIONS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from gazetools.gazemodels.vit.blocks import Attention
from gazetools.gazemodels.vit.rotary import Rotation, video_rotation
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_model import FUSION_NAMES, Fusion, HeatmapPositions, Temporal
from gazetools.trainer.models.blocks import NORM_EPS, grid_positions
from gazetools.trainer.models.heatmap_tokens import HeatmapGrid


@dataclass(frozen=True, kw_only=True)
class HeatmapInput:
    """Heatmap tokens of one forward pass, and the video tokens that they join."""

    grids: list[HeatmapGrid]
    """One per scale."""
    video_grid: int
    """Cells per side of the video."""
    own_positions: bool
    """Whether the maps show another view, which shares only time with the video."""
    video_ids: Tensor
    """Position ids t * video_grid^2 + row * video_grid + column of the video tokens, int64 [B, Nx]."""
    position_scale: float = 1.0
    """What rows and columns in cells of the video are multiplied by (`interpolate_rope`)."""
    interleaved: bool = False
    """Whether positions rotate as in version 2.1; see `video_rotation`."""

    def placed(self) -> tuple[Tensor, Tensor, Tensor]:
        """All scales as one sequence, step by step, coarse scales after fine ones within a frame's place.

        Returns tokens [B, M, D], positions (time, row, column) [1, M, 3] in the video's cells times
        `position_scale`, and time steps int64 [M]. The tokens of a coarser grid have the centres of the cells that they
        cover; with `own_positions` all have the middle of the frame, so that rotary positions tell only times and the
        tokens' own embedding tells places.
        """
        tokens, positions, steps = [], [], []
        for heat in self.grids:
            cells = heat.grid**2
            place = grid_positions(1, heat.grid, heat.grid, device=heat.tokens.device)
            if self.own_positions:
                place[:, 1:] = (self.video_grid - 1) / 2
            else:
                place[:, 1:] = (place[:, 1:] + 0.5) * (self.video_grid / heat.grid) - 0.5
            if self.position_scale != 1.0:  # that of the video's grid, also for grids of other sizes
                place[:, 1:] *= self.position_scale
            place = place.repeat(len(heat.times), 1)
            place[:, 0] = heat.times.repeat_interleave(cells)
            tokens.append(heat.tokens.flatten(1, 2))
            positions.append(place)
            steps.append(heat.steps.repeat_interleave(cells))
        step_of = torch.cat(steps)
        order = torch.argsort(step_of, stable=True)
        return torch.cat(tokens, dim=1)[:, order], torch.cat(positions)[order].unsqueeze(0), step_of[order]

    def at_video_tokens(self) -> Tensor:
        """The sum over scales at the cells of the video tokens, [B, Nx, D]; 0 past the last map.

        Grids of other sizes are resized: coarser ones bilinearly, finer ones by averaging.
        """
        side, planes_of_scale = self.video_grid, []
        for heat in self.grids:
            batch, count, _, dim = heat.tokens.shape
            planes = heat.tokens.transpose(2, 3).reshape(batch * count, dim, heat.grid, heat.grid)
            if heat.grid > side:
                planes = functional.adaptive_avg_pool2d(planes, side)
            elif heat.grid < side:
                planes = functional.interpolate(planes, size=(side, side), mode="bilinear", align_corners=False)
            planes_of_scale.append(planes.reshape(batch, count, dim, -1).transpose(2, 3).reshape(batch, -1, dim))
        total = sum(planes_of_scale[1:], start=planes_of_scale[0])
        inside = (self.video_ids < total.shape[1]).unsqueeze(-1)
        index = self.video_ids.clamp(max=total.shape[1] - 1).unsqueeze(-1).expand(-1, -1, total.shape[-1])
        return torch.gather(total, 1, index) * inside


class HeatmapFusion(nn.Module):
    """Base of all fusions: the places in the predictor's forward pass where one may act. It does nothing itself.

    Its parameters are the predictor's `heatmap_fusion.*` weights. B clips, N tokens in the sequence of the blocks, Nx
    of them observed video tokens, D channels.
    """

    on_video_tokens: ClassVar[bool] = False
    """Whether maps go onto the video's own tokens, which needs one map per time step, in the video's view."""
    lengthens: ClassVar[bool] = False
    """Whether the heatmap tokens stand in the sequence of the blocks, which then costs that much more."""
    reads_scene_tokens: ClassVar[bool] = False
    """Whether its tokens are made of a gaze model's scene tokens instead of its heatmaps."""

    def __init__(self, *, width: int, num_heads: int, depth: int) -> None:
        super().__init__()

    @classmethod
    def check(cls, name: str, *, temporal: Temporal, heatmap_positions: HeatmapPositions) -> None:
        """UsageError for settings of the heatmap tokens that mean nothing with this fusion, called `name`."""
        if cls.on_video_tokens and temporal == "frame":
            raise UsageError(
                f"fusion: {name} has one place per time step, temporal: frame gives one grid per frame.",
                hint="Use temporal: tubelet or conv, or fusion: interleave or cross_attention.",
            )
        if cls.on_video_tokens and heatmap_positions == "own":
            raise UsageError(
                f"fusion: {name} needs the heatmap in the video's own view, but heatmap_positions is own.",
                hint="Use fusion: interleave or cross_attention for another view.",
            )

    def reset(self) -> None:
        """Set weights that do not start as V-JEPA 2 initialises them; called after its initialisation."""

    def change_context(self, embedded: Tensor, maps: HeatmapInput) -> Tensor:
        """The embedded video tokens [B, Nx, D] with the heatmap in them."""
        return embedded

    def extra_tokens(self, maps: HeatmapInput) -> tuple[Tensor, Tensor, Tensor] | None:
        """Tokens that join the sequence, as `HeatmapInput.placed` returns them; None: no token joins."""
        return None

    def block_arguments(self, maps: HeatmapInput, order: Tensor, positions: Tensor) -> dict[str, Any]:
        """Arguments of `VideoBlocks.run` by which the heatmap acts inside the blocks.

        Args:
            order: int64 [B, N]: which token stands at each place of the sequence; video tokens are 0..Nx-1.
            positions: (time, row, column) of the sequence, [B, N, 3].
        """
        return {}

    def flops(self, *, context: int, sequence: int, heat: int) -> int:
        """Floating-point operations of one clip, for so many tokens, in addition to those of the blocks."""
        return 0


class InterleavedHeatmap(HeatmapFusion):
    """Heatmap tokens stand before the video tokens of their time step and take part in every block."""

    lengthens = True

    def extra_tokens(self, maps: HeatmapInput) -> tuple[Tensor, Tensor, Tensor] | None:
        """All heatmap tokens."""
        return maps.placed()


class InterleavedSceneTokens(InterleavedHeatmap):
    """Scene tokens stand before the video tokens of their time step, as interleaved heatmap tokens do."""

    reads_scene_tokens = True

    @classmethod
    def check(cls, name: str, *, temporal: Temporal, heatmap_positions: HeatmapPositions) -> None:
        """UsageError for settings that only heatmaps have."""
        if temporal != "tubelet" or heatmap_positions == "own":
            given = f"temporal: {temporal}" if temporal != "tubelet" else "heatmap_positions: own"
            raise UsageError(
                f"fusion: {name} shows the mean of each time step in the video's own view, but {given} is set.",
                hint="Set temporal: tubelet and heatmap_positions: shared for this arm.",
            )


class AddedHeatmap(HeatmapFusion):
    """A projection of the heatmap is added to the video tokens. It starts at zero: at step 0 nothing changes."""

    on_video_tokens = True

    def __init__(self, *, width: int, num_heads: int, depth: int) -> None:
        super().__init__(width=width, num_heads=num_heads, depth=depth)
        self.proj = nn.Linear(width, width)

    def reset(self) -> None:
        """Zero the projection."""
        for parameter in self.proj.parameters():
            nn.init.zeros_(parameter)

    def change_context(self, embedded: Tensor, maps: HeatmapInput) -> Tensor:
        """Add the projection to each token."""
        return embedded + self.proj(maps.at_video_tokens()).to(embedded.dtype)

    def flops(self, *, context: int, sequence: int, heat: int) -> int:
        """The projection."""
        return 2 * context * self.proj.weight.numel()


class _GatedCrossAttention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_heat = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = Attention(width, num_heads)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, heat: Tensor, turn: Rotation, heat_turn: Rotation) -> Tensor:
        attended = self.attention.cross(self.norm_tokens(tokens), self.norm_heat(heat), turn, heat_turn)
        return tokens + self.gate * attended


class CrossAttendedHeatmap(HeatmapFusion):
    """After every block all tokens attend to the heatmap tokens through a gate that starts at zero.

    Rotary positions let a token find the heatmap tokens near it in time and space.
    """

    def __init__(self, *, width: int, num_heads: int, depth: int) -> None:
        super().__init__(width=width, num_heads=num_heads, depth=depth)
        self.width, self.head_dim = width, width // num_heads
        self.layers = nn.ModuleList(_GatedCrossAttention(width, num_heads) for _ in range(depth))

    def reset(self) -> None:
        """Close the gates."""
        for layer in self.layers:
            nn.init.zeros_(layer.gate)  # type: ignore[arg-type]

    def block_arguments(self, maps: HeatmapInput, order: Tensor, positions: Tensor) -> dict[str, Any]:
        """Let the tokens read the heatmap after each block."""
        heat, heat_positions, _ = maps.placed()
        turns = [video_rotation(p, self.head_dim, interleaved=maps.interleaved) for p in (positions, heat_positions)]

        def after(block: int, tokens: Tensor) -> Tensor:
            return self.layers[block](tokens, heat.to(tokens.dtype), *turns)

        return {"after": after}

    def flops(self, *, context: int, sequence: int, heat: int) -> int:
        """Queries and outputs of the sequence, keys and values of the heatmap, and the attention, per block."""
        width = self.width
        return len(self.layers) * (4 * sequence * width**2 + 4 * heat * width**2 + 4 * sequence * heat * width)


class HeatmapAttentionBias(HeatmapFusion):
    """Per block and head a number added to the attention logits of every video token, zero at first."""

    on_video_tokens = True

    def __init__(self, *, width: int, num_heads: int, depth: int) -> None:
        super().__init__(width=width, num_heads=num_heads, depth=depth)
        self.num_heads = num_heads
        self.depth = depth
        self.to_bias = nn.Linear(width, depth * num_heads)

    def reset(self) -> None:
        """No bias."""
        for parameter in self.to_bias.parameters():
            nn.init.zeros_(parameter)

    def block_arguments(self, maps: HeatmapInput, order: Tensor, positions: Tensor) -> dict[str, Any]:
        """Biases [B, depth, heads, N]; 0 for tokens to be predicted, which are not in the video."""
        bias = self.to_bias(maps.at_video_tokens()).unflatten(-1, (self.depth, self.num_heads)).permute(0, 2, 3, 1)
        bias = functional.pad(bias, (0, order.shape[1] - bias.shape[3]))
        return {"key_bias": torch.gather(bias, 3, order[:, None, None].expand(-1, *bias.shape[1:3], -1))}

    def flops(self, *, context: int, sequence: int, heat: int) -> int:
        """The layer that computes the biases."""
        return 2 * context * self.to_bias.weight.numel()


FUSIONS: dict[str, type[HeatmapFusion]] = {
    "interleave": InterleavedHeatmap,
    "add": AddedHeatmap,
    "cross_attention": CrossAttendedHeatmap,
    "attention_bias": HeatmapAttentionBias,
    "gaze_tokens": InterleavedSceneTokens,
}
"""Class of each fusion of `schemas.training_model.FUSION_NAMES`, except `none`: no heatmap enters."""


def register(name: str, fusion: type[HeatmapFusion]) -> None:
    """Add a fusion from outside the package. Raises ValueError where the name is taken."""
    FUSION_NAMES.add(name)
    FUSIONS[name] = fusion


def reads_scene_tokens(fusion: Fusion | None) -> bool:
    """Whether models of this fusion read a gaze model's scene tokens (`experiment.data.gaze_tokens`)."""
    return fusion in FUSIONS and FUSIONS[fusion].reads_scene_tokens


def check_fusion(fusion: Fusion, *, temporal: Temporal, heatmap_positions: HeatmapPositions) -> None:
    """UsageError for combinations that mean nothing; see `HeatmapFusion.check`."""
    if fusion != "none":
        FUSIONS[fusion].check(fusion, temporal=temporal, heatmap_positions=heatmap_positions)
