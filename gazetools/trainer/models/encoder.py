"""The V-JEPA 2 video encoder: patch embedding and blocks."""

from __future__ import annotations

from torch import Tensor, nn

from gazetools.trainer.models.blocks import NORM_EPS, VideoBlocks, grid_positions, init_like_upstream


class TubeletEmbedding(nn.Module):
    """One linear map of every tubelet of pixels: [B, 3, T, H, W] -> [B, steps * rows * columns, D]."""

    def __init__(self, embed_dim: int, *, patch_size: int, tubelet_size: int) -> None:
        super().__init__()
        size = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(3, embed_dim, kernel_size=size, stride=size)

    def forward(self, video: Tensor) -> Tensor:
        """Tokens of `video`, whose sides are multiples of the tubelet."""
        return self.proj(video).flatten(2).transpose(1, 2)


class VideoEncoder(nn.Module):
    """Video [B, 3, T, H, W] (normalised) -> tokens [B, T/tubelet * H/patch * W/patch, D] in (t, row, col) order.

    T, H and W may be any multiples of the tubelet and patch size.
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
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.patch_size = patch_size
        self.tubelet_size = tubelet_size
        self.patch_embed = TubeletEmbedding(embed_dim, patch_size=patch_size, tubelet_size=tubelet_size)
        self.blocks = VideoBlocks(width=embed_dim, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, sdpa=sdpa)
        self.norm = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        init_like_upstream(self, self.blocks)

    @property
    def output_width(self) -> int:
        """Channels of the tokens that `forward` returns."""
        return self.embed_dim

    def forward(self, video: Tensor) -> Tensor:
        """Tokens of `video` [B, 3, T, H, W]. Raises ValueError where T, H or W is no multiple of its patch."""
        patch = (self.tubelet_size, self.patch_size, self.patch_size)
        if video.ndim != 5 or any(side % size or side == 0 for side, size in zip(video.shape[2:], patch, strict=True)):
            raise ValueError(f"video must be [B, 3, T, H, W] with T, H, W multiples of {patch}, got {video.shape}")
        steps, rows, columns = (side // size for side, size in zip(video.shape[2:], patch, strict=True))
        tokens = self.patch_embed(video.to(self.patch_embed.proj.weight.dtype))
        positions = grid_positions(steps, rows, columns, device=tokens.device).unsqueeze(0)
        return self.norm(self.blocks.run(tokens, positions))
