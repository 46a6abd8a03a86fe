"""V-JEPA 2's transformer block (from transformers) with rotary positions given as (time, row, column) coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.vjepa2.configuration_vjepa2 import VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Layer, VJEPA2RopeAttention

NORM_EPS = 1e-6
"""LayerNorm epsilon of V-JEPA 2's encoder and predictor (that of the attentive probe is 1e-5)."""


class BiasedPositions(NamedTuple):
    """Positions [B or 1, N, 3], and a bias for the attention logit of every key [B, heads, N]."""

    tyx: Tensor
    bias: Tensor


class CoordinateRotaryAttention(VJEPA2RopeAttention):
    """transformers' rotary attention with positions [B or 1, N, 3] instead of flat ids of one square grid.

    transformers derives rows and columns from config.crop_size, which is silently wrong for other clip sizes and
    cannot place a token between cells, which coarser heatmap grids need.
    """

    def get_position_ids(self, x: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Time, row and column of every token, each [B or 1, 1, N], from positions `masks` [B or 1, N, 3]."""
        if masks is None or masks.shape[-1] != 3:
            raise ValueError("positions [B, N, 3] are needed")
        time, row, column = masks.unsqueeze(1).unbind(-1)
        return time, row, column

    def apply_rotary_embeddings(self, qk: Tensor, pos_ids: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Rotate `qk` [B, heads, N, head_dim]; positions are converted to its dtype, as upstream's integer ids are."""
        return super().apply_rotary_embeddings(qk, tuple(p.to(qk.dtype) for p in pos_ids))

    def forward(self, hidden_states: Tensor, position_mask: Tensor | BiasedPositions | None = None) -> tuple[Any, Any]:
        """(attention output [B, N, D], None); BiasedPositions add a number per key to the logits."""
        if not isinstance(position_mask, BiasedPositions):
            return super().forward(hidden_states, position_mask)
        tyx, bias = position_mask
        return self._attend(hidden_states, tyx, hidden_states, tyx, bias.unsqueeze(2)), None

    def cross(self, queries: Tensor, query_tyx: Tensor, keys: Tensor, key_tyx: Tensor) -> Tensor:
        """`queries` [B, N, D] attend to `keys` [B, M, D], each with positions [B or 1, N or M, 3]."""
        return self._attend(queries, query_tyx, keys, key_tyx, None)

    def _attend(self, queries: Tensor, query_tyx: Tensor, keys: Tensor, key_tyx: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = (
            split_heads(part, self.num_attention_heads)
            for part in (self.query(queries), self.key(keys), self.value(keys))
        )
        q = self.apply_rotary_embeddings(q, self.get_position_ids(queries, query_tyx))
        k = self.apply_rotary_embeddings(k, self.get_position_ids(keys, key_tyx))
        mask = None if bias is None else bias.to(q.dtype)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scaling)
        return self.proj(attended.transpose(1, 2).flatten(2))


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[..., N, heads * head_dim] -> [..., heads, N, head_dim]."""
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def block_config(*, mlp_ratio: float = 4.0, sdpa: bool = True) -> VJEPA2Config:
    """The parts of transformers' config that a block reads."""
    return VJEPA2Config(
        layer_norm_eps=NORM_EPS,
        mlp_ratio=mlp_ratio,
        hidden_act="gelu",
        qkv_bias=True,
        attn_implementation="sdpa" if sdpa else "eager",
    )


def build_blocks(
    *, width: int, depth: int, num_heads: int, mlp_ratio: float = 4.0, sdpa: bool = True, checkpointing: bool = False
) -> nn.ModuleList:
    """`depth` V-JEPA 2 blocks of `width` channels that take positions [B or 1, N, 3]."""
    config = block_config(mlp_ratio=mlp_ratio, sdpa=sdpa)
    blocks = nn.ModuleList()
    for _ in range(depth):
        block = VJEPA2Layer(config, hidden_size=width, num_attention_heads=num_heads, mlp_ratio=mlp_ratio)
        block.attention = CoordinateRotaryAttention(config, width, num_heads)
        block.recompute = checkpointing
        blocks.append(block)
    return blocks


def run_blocks(
    blocks: nn.ModuleList,
    tokens: Tensor,
    positions_tyx: Tensor,
    *,
    key_bias: Tensor | None = None,
    after: Callable[[int, Tensor], Tensor] | None = None,
) -> Tensor:
    """The output of all blocks for `tokens` [B, N, D] at `positions_tyx` [B or 1, N, 3].

    Args:
        key_bias: added to the attention logits, [B, depth, heads, N].
        after: called with the number and the output of each block; its result goes on to the next block.
    """
    for number, block in enumerate(blocks):
        places = positions_tyx if key_bias is None else BiasedPositions(positions_tyx, key_bias[:, number])
        if block.recompute and torch.is_grad_enabled():
            tokens = torch.utils.checkpoint.checkpoint(block, tokens, places, use_reentrant=False)[0]
        else:
            tokens = block(tokens, places)[0]
        if after is not None:
            tokens = after(number, tokens)
    return tokens


def init_like_upstream(
    module: nn.Module, blocks: nn.ModuleList, *, output_layers: tuple[str, str] = ("attention.proj", "mlp.fc2")
) -> None:
    """Initialise as V-JEPA 2: truncated normal weights, zero biases, output layers of block k divided by sqrt(2 k).

    Source: facebookresearch/vjepa2 src/models/predictor.py, _init_weights and _rescale_blocks.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.trunc_normal_(part.weight, std=0.02, a=-2.0, b=2.0)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    with torch.no_grad():
        for number, block in enumerate(blocks, start=1):
            for layer in output_layers:
                block.get_parameter(f"{layer}.weight").div_(math.sqrt(2.0 * number))


def grid_positions(steps: int, rows: int, columns: int, *, device: torch.device | None = None) -> Tensor:
    """float32 [steps * rows * columns, 3] of (time, row, column) in the token order of V-JEPA 2."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in (steps, rows, columns)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
