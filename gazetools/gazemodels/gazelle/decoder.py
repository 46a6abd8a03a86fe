"""Gaze-LLE's decoder: prompt the scene tokens with head maps, three transformer blocks, heatmap and in/out heads.

Written after fkryan/gazelle's description and public code (`gazelle/model.py`), with its checkpoints' parameter names.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from gazetools.gazemodels.gazelle.variants import PromptedConfig
from gazetools.gazemodels.vit.blocks import Mlp


def sincos_position_embedding(dim: int, grid_hw: tuple[int, int]) -> torch.Tensor:
    """Fixed two-dimensional position embedding, float32 [dim, rows, columns].

    The first half of the channels encodes the column, the second half the row, each as sin and cos interleaved with
    wavelengths 2 pi 10000^(2k / (dim / 2)) (Vaswani et al. 2017, section 3.5, per axis).
    """
    half = dim // 2
    frequencies = torch.exp(torch.arange(0.0, half, 2) * -(math.log(10000.0) / half))

    def encode(positions: int) -> torch.Tensor:
        angles = torch.arange(0.0, positions).unsqueeze(1) * frequencies
        return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1).T  # [half, positions]

    rows, columns = grid_hw
    along_x = encode(columns).unsqueeze(1).expand(half, rows, columns)
    along_y = encode(rows).unsqueeze(2).expand(half, rows, columns)
    return torch.cat((along_x, along_y))


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection without bias."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_bnc: torch.Tensor) -> torch.Tensor:
        """[B, N, C] -> [B, N, C]."""
        q, k, v = self.qkv(x_bnc).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: int, *, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SelfAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, dim * mlp_ratio)

    def forward(self, x_bnc: torch.Tensor) -> torch.Tensor:
        """[B, N, C] -> [B, N, C]."""
        x_bnc = x_bnc + self.attn(self.norm1(x_bnc))
        return x_bnc + self.mlp(self.norm2(x_bnc))


class HeatmapHead(nn.Module):
    """A transposed 2x2 convolution of stride 2, a 1x1 convolution to one channel, a sigmoid.

    The convolutions are applied as the one linear map from a token to its 2x2 pixels that they amount to (difference
    1e-7, a twelfth of the time on a CPU).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Numbered, because these are the names in the checkpoints.
        self.add_module("0", nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2))
        self.add_module("1", nn.Conv2d(dim, 1, kernel_size=1, bias=False))

    def logits(self, tokens_nkc: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
        """Tokens row by row [N, rows * columns, dim] -> [N, 2 rows, 2 columns], before the sigmoid."""
        projection_c = self.get_parameter("1.weight").view(-1)
        pixels_di = torch.einsum("dcij,c->dij", self.get_parameter("0.weight"), projection_c).flatten(1)
        logits_nki = tokens_nkc @ pixels_di + self.get_parameter("0.bias") @ projection_c
        return F.pixel_shuffle(logits_nki.transpose(1, 2).unflatten(2, grid_hw), 2).squeeze(1)

    def forward(self, tokens_nkc: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
        """Tokens row by row [N, rows * columns, dim] -> [N, 2 rows, 2 columns] in 0..1."""
        return torch.sigmoid(self.logits(tokens_nkc, grid_hw))


class InoutHead(nn.Module):
    """Two linear layers with a ReLU between (and dropout in training), or one linear layer; then a sigmoid."""

    def __init__(self, dim: int, hidden: int | None) -> None:
        super().__init__()
        self.add_module("0", nn.Linear(dim, hidden or 1))
        if hidden is not None:
            self.add_module("3", nn.Linear(hidden, 1))

    def logits(self, token_nc: torch.Tensor) -> torch.Tensor:
        """[N, dim] -> [N], before the sigmoid."""
        out: torch.Tensor = self.get_submodule("0")(token_nc)
        if "3" in self._modules:
            out = self.get_submodule("3")(F.relu(out))
        return out.squeeze(1)

    def forward(self, token_nc: torch.Tensor) -> torch.Tensor:
        """[N, dim] -> [N] in 0..1."""
        return torch.sigmoid(self.logits(token_nc))


def _token(dim: int) -> nn.Embedding:
    """One learned token, with the first weights of nn.Embedding."""
    weight = torch.empty(1, dim)
    if not weight.is_meta:  # normal_ on the meta device imports torch's compiler, which takes over a second
        nn.init.normal_(weight)
    return nn.Embedding.from_pretrained(weight, freeze=False)


class GazeDecoder(nn.Module):
    """From backbone features and head maps to heatmaps and in/out scores; one row per person."""

    pos_embed: torch.Tensor

    def __init__(self, config: PromptedConfig) -> None:
        super().__init__()
        dim, variant = config.dim, config.variant
        self.grid, self.out_size, self.antialias = config.grid, config.out_size, variant.antialias
        self.register_buffer("pos_embed", torch.empty(dim, *config.grid))
        self.linear = nn.Conv2d(config.feature_channels, dim, 1)
        self.head_token = _token(dim)
        self.inout_token = _token(dim) if config.inout else None
        eps = variant.layer_norm_eps
        blocks = (Block(dim, config.num_heads, config.mlp_ratio, eps=eps) for _ in range(config.num_layers))
        self.transformer = nn.Sequential(*blocks)
        self.heatmap_head = HeatmapHead(dim)
        self.inout_head = InoutHead(dim, variant.inout_hidden) if config.inout else None

    def scene_tokens(self, features_bchw: torch.Tensor) -> torch.Tensor:
        """Per image: projected features plus position embedding, [B, dim, rows, columns]."""
        return self.linear(features_bchw) + self.pos_embed

    def prompt(self, scene_bchw: torch.Tensor, image_index: torch.Tensor, head_maps_nhw: torch.Tensor) -> torch.Tensor:
        """Per person: scene tokens of its image with the head token added on its head, [N, tokens, dim].

        The in/out token, where the model has one, comes first; then the cells row by row.
        """
        head_nchw = head_maps_nhw.unsqueeze(1) * self.head_token.weight[0].view(1, -1, 1, 1)
        tokens_nkc = (scene_bchw[image_index] + head_nchw).flatten(2).transpose(1, 2)
        if self.inout_token is not None:
            tokens_nkc = torch.cat((self.inout_token.weight.expand(tokens_nkc.shape[0], 1, -1), tokens_nkc), dim=1)
        return tokens_nkc

    def heads(self, tokens_nkc: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Heatmaps at twice the grid, float32 [N, 2 rows, 2 columns], and in/out scores, float32 [N] or None.

        Computed in float32 whatever the model's dtype: bfloat16 logits would quantise the maps to some hundred values.
        """
        tokens_nkc = tokens_nkc.float()
        inout_n = None
        if self.inout_head is not None:
            inout_n = self.inout_head(tokens_nkc[:, 0])
            tokens_nkc = tokens_nkc[:, 1:]
        return self.heatmap_head(tokens_nkc, self.grid), inout_n

    def forward(
        self, features_bchw: torch.Tensor, image_index: torch.Tensor, head_maps_nhw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Heatmaps float32 [N, *out_size] and in/out scores float32 [N] or None of N people.

        `image_index` [N] is the image of each in `features_bchw`; the 0/1 head maps have the decoder's dtype.
        """
        return self.with_tokens(features_bchw, image_index, head_maps_nhw)[:2]

    def with_tokens(
        self, features_bchw: torch.Tensor, image_index: torch.Tensor, head_maps_nhw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """As `forward`, with the tokens that the heatmap head reads, [N, rows, columns, dim] in the decoder's dtype."""
        tokens = self.transformer(self.prompt(self.scene_tokens(features_bchw), image_index, head_maps_nhw))
        lowres_nhw, inout_n = self.heads(tokens)
        cells = tokens if self.inout_token is None else tokens[:, 1:]
        return self.resize(lowres_nhw), inout_n, cells.unflatten(1, self.grid)

    def resize(self, lowres_nhw: torch.Tensor) -> torch.Tensor:
        """Maps at twice the grid [N, 2 rows, 2 columns] to [N, *out_size], bilinear."""
        if tuple(lowres_nhw.shape[1:]) == tuple(self.out_size):
            return lowres_nhw
        maps_n1hw = lowres_nhw.unsqueeze(1)
        return F.interpolate(maps_n1hw, size=self.out_size, mode="bilinear", antialias=self.antialias).squeeze(1)

    def to_dtype(self, dtype: torch.dtype) -> GazeDecoder:
        """Cast everything but the two heads, which stay float32."""
        self.to(dtype)
        self.heatmap_head.float()
        if self.inout_head is not None:
            self.inout_head.float()
        return self


def decoder_shapes(config: PromptedConfig) -> dict[str, tuple[int, ...]]:
    """Key names and shapes of a decoder checkpoint, in the order of the released files."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in GazeDecoder(config).state_dict().items()}
