"""The V-JEPA 2.1 video encoder: modality embeddings, a path for single images, and outputs at four levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gazetools.schemas.errors import UsageError
from gazetools.trainer.models.blocks import NORM_EPS, VideoBlocks, grid_positions, init_like_upstream
from gazetools.trainer.models.encoder import TubeletEmbedding, VideoEncoder

LEVELS = 4
"""Levels at which version 2.1 normalises the tokens of its encoder."""
_UNEVEN_LEVELS = {48: (11, 23, 37, 47)}
"""Depths whose levels are not at the ends of quarters (facebookresearch/vjepa2 204698b,
app/vjepa_2_1/models/vision_transformer.py)."""
LEVEL_DEPTHS = (12, 24, 40, 48)
"""Depths for which V-JEPA 2.1 defines its levels."""
_NATIVE_SIDES = {16: 256, 14: 252}
"""Patch size -> side in pixels of the images whose patch numbers are the positions that interpolation aims at."""
_MODALITY_STD = 1e-6


def level_blocks(depth: int) -> tuple[int, ...]:
    """Numbers, from 0, of the blocks after which the four levels are.

    Depths that V-JEPA 2.1 does not have, which are for trials, have them at the ends of quarters of the depth, as its
    depths of 12, 24 and 40 do.
    """
    return _UNEVEN_LEVELS.get(depth) or tuple(-(-depth * level // LEVELS) - 1 for level in range(1, LEVELS + 1))


def native_grid(patch_size: int) -> int:
    """Patches per side to whose positions `interpolate_rope` scales those of other images.

    Raises UsageError for a patch size for which V-JEPA 2.1 defines none.
    """
    if patch_size not in _NATIVE_SIDES:
        raise UsageError(
            f"interpolate_rope has no grid to scale to for patch_size {patch_size}; V-JEPA 2.1 has one for 14 and 16.",
            hint="Set model_kwargs.pretrain_kwargs.encoder.patch_size=16, or interpolate_rope=false.",
        )
    return _NATIVE_SIDES[patch_size] // patch_size


def interpolation_factor(cells: int, patch_size: int) -> float:
    """What a row or column of `cells` patches is multiplied by: (G - 1) / (cells - 1), G of `native_grid`.

    Raises UsageError for a side of a single patch, whose position has no scale.
    """
    if cells < 2:
        raise UsageError(
            "interpolate_rope needs at least 2 patches per side: the positions of a single one cannot be scaled.",
            hint="Raise experiment.data.resolution, or set interpolate_rope=false.",
        )
    return (native_grid(patch_size) - 1) / (cells - 1)


@dataclass(frozen=True, kw_only=True)
class EncoderOptions21:
    """What a V-JEPA 2.1 encoder may have, in addition to its size."""

    images: bool = True
    """Whether single frames have their own embedding (`img_temporal_dim_size: 1`)."""
    modality_embedding: bool = True
    """Whether a learned vector is added to all tokens, one for videos and one for images."""
    interpolate_rope: bool = False
    """Scale rows and columns to the positions of the native grid (16 cells for patches of 16)."""
    hierarchical: bool = False
    """Whether the output has all levels."""


class VideoEncoder21(nn.Module):
    """Video or image [B, 3, T, H, W] (normalised) -> tokens [B, N, output_width] in (t, row, column) order.

    A single frame (T = 1) goes through a patch embedding of its own and is one time step; T, H and W of a video may be
    any multiples of the tubelet and patch size. With `hierarchical` the output has the tokens at four levels, each
    normalised by itself, one after the other along the channels [B, N, 4 D], the last level last; else the last level.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        patch_size: int = 16,
        tubelet_size: int = 2,
        sdpa: bool = True,
        options: EncoderOptions21,
    ) -> None:
        super().__init__()
        self.embed_dim, self.patch_size, self.tubelet_size = embed_dim, patch_size, tubelet_size
        self.interpolate_rope, self.hierarchical = options.interpolate_rope, options.hierarchical
        self.levels = level_blocks(depth)
        self.img_mod_embed: nn.Parameter | None = None
        self.video_mod_embed: nn.Parameter | None = None
        if options.modality_embedding:
            self.img_mod_embed = nn.Parameter(torch.empty(1, 1, embed_dim).normal_(std=_MODALITY_STD))
            self.video_mod_embed = nn.Parameter(torch.empty(1, 1, embed_dim).normal_(std=_MODALITY_STD))
        self.patch_embed = TubeletEmbedding(embed_dim, patch_size=patch_size, tubelet_size=tubelet_size)
        self.patch_embed_img: TubeletEmbedding | None = None
        if options.images:
            self.patch_embed_img = TubeletEmbedding(embed_dim, patch_size=patch_size, tubelet_size=1)
        self.blocks = VideoBlocks(
            width=embed_dim, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, sdpa=sdpa, interleaved=True
        )
        self.norms_block = nn.ModuleList(nn.LayerNorm(embed_dim, eps=NORM_EPS) for _ in range(LEVELS))
        init_like_upstream(self, self.blocks)

    def extra_repr(self) -> str:
        """What the tokens depend on in addition to weights and modules; keys of cached features have it."""
        return (
            f"rotary=interleaved, interpolate_rope={self.interpolate_rope}, levels={self.levels}, "
            f"hierarchical={self.hierarchical}"
        )

    @property
    def output_width(self) -> int:
        """Channels of the tokens that `forward` returns."""
        return self.embed_dim * (LEVELS if self.hierarchical else 1)

    def embed(self, video: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Tokens [B, N, D] before the first block, and their steps, rows and columns.

        Raises ValueError where T, H or W is no multiple of its patch.
        """
        is_image = video.ndim == 5 and video.shape[2] == 1 and self.patch_embed_img is not None
        patches = self.patch_embed_img if is_image else self.patch_embed
        modality = self.img_mod_embed if is_image else self.video_mod_embed
        assert patches is not None, "chosen only where there is one"
        size = (1 if is_image else self.tubelet_size, self.patch_size, self.patch_size)
        if video.ndim != 5 or any(side % part or side == 0 for side, part in zip(video.shape[2:], size, strict=True)):
            raise ValueError(f"video must be [B, 3, T, H, W] with T, H, W multiples of {size}, got {video.shape}")
        steps, rows, columns = (side // part for side, part in zip(video.shape[2:], size, strict=True))
        tokens = patches(video.to(patches.proj.weight.dtype))
        return tokens if modality is None else tokens + modality, (steps, rows, columns)

    def forward(self, video: Tensor, masks: Tensor | None = None) -> Tensor:
        """Tokens of `video` [B, 3, T, H, W].

        Args:
            masks: flat position ids int64 [B, K] of the tokens that are kept, in this order; None: all.

        Raises ValueError where T, H or W is no multiple of its patch.
        """
        tokens, (steps, rows, columns) = self.embed(video)
        positions = grid_positions(steps, rows, columns, device=tokens.device)
        if self.interpolate_rope:
            positions[:, 1] *= interpolation_factor(rows, self.patch_size)
            positions[:, 2] *= interpolation_factor(columns, self.patch_size)
        positions = positions.unsqueeze(0)
        if masks is not None:
            tokens = torch.gather(tokens, 1, masks.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
            positions = positions[0, masks]
        found: list[Tensor] = []

        def after(number: int, output: Tensor) -> Tensor:
            # Depths below 4, for trials, have several levels after one block.
            if self.hierarchical:
                found.extend(
                    norm(output) for norm, at in zip(self.norms_block, self.levels, strict=True) if at == number
                )
            return output

        last = self.blocks.run(tokens, positions, after=after)
        return torch.cat(found, dim=-1) if self.hierarchical else self.norms_block[-1](last)


AnyVideoEncoder = VideoEncoder | VideoEncoder21
