"""Parts of a transformer block: attention, MLP, gated MLP, LayerScale, and the pre-norm block made of them.

Letters in shapes: B sequences, N tokens, C channels, D channels of a head. Queries, keys and values have layers
of their own, since the families differ in which of them has a bias; files that fuse them are split when they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazetools.gazemodels.vit.rotary import Rotation

Activation = Literal["gelu", "silu"]
"""`gelu` is the exact (erf) one."""

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "silu": F.silu}


class Attention(nn.Module):
    """Multi-head scaled dot-product attention, with rotary positions where they are given."""

    def __init__(
        self, width: int, num_heads: int, *, qkv_bias: bool = True, key_bias: bool | None = None, sdpa: bool = True
    ) -> None:
        """`key_bias` None: as `qkv_bias`. `sdpa` False: plain matrix products, with the softmax in float32."""
        super().__init__()
        self.num_heads, self.sdpa = num_heads, sdpa
        self.query = nn.Linear(width, width, bias=qkv_bias)
        self.key = nn.Linear(width, width, bias=qkv_bias if key_bias is None else key_bias)
        self.value = nn.Linear(width, width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation | None = None, key_bias: Tensor | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]; `key_bias` [B, heads, N] is added to the logits of each key."""
        return self.cross(x, x, rotation, rotation, key_bias=key_bias)

    def cross(
        self,
        queries: Tensor,
        keys: Tensor,
        query_rotation: Rotation | None = None,
        key_rotation: Rotation | None = None,
        *,
        key_bias: Tensor | None = None,
    ) -> Tensor:
        """`queries` [B, N, C] attend to `keys` [B, M, C]; the result is [B, N, C]."""
        q = split_heads(self.query(queries), self.num_heads)
        k = split_heads(self.key(keys), self.num_heads)
        v = split_heads(self.value(keys), self.num_heads)
        q = q if query_rotation is None else query_rotation(q)
        k = k if key_rotation is None else key_rotation(k)
        bias = None if key_bias is None else key_bias.unsqueeze(2).to(q.dtype)
        if self.sdpa:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            logits = logits if bias is None else logits + bias
            mixed = torch.softmax(logits, dim=-1, dtype=torch.float32).to(q.dtype) @ v
        return self.proj(mixed.transpose(1, 2).flatten(2))


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[..., N, heads * D] -> [..., heads, N, D]."""
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, width: int, hidden: int, *, activation: Activation = "gelu") -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self._activation = _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.fc2(self._activation(self.fc1(x)))


class GatedMlp(nn.Module):
    """`out(activation(gate(x)) * value(x))`: SwiGLU with silu, GEGLU with gelu."""

    def __init__(self, width: int, hidden: int, *, activation: Activation = "silu") -> None:
        super().__init__()
        self.gate, self.value, self.out = nn.Linear(width, hidden), nn.Linear(width, hidden), nn.Linear(hidden, width)
        self._activation = _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.out(self._activation(self.gate(x)) * self.value(x))


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        return x * self.gamma


class VitBlock(nn.Module):
    """Pre-norm block: x + scale1(attention(norm1(x))), then x + scale2(mlp(norm2(x)))."""

    def __init__(self, width: int, attention: Attention, mlp: nn.Module, *, eps: float, layer_scale: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = attention
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp
        self.scale1: LayerScale | None = LayerScale(width) if layer_scale else None
        self.scale2: LayerScale | None = LayerScale(width) if layer_scale else None

    def forward(self, x: Tensor, rotation: Rotation | None = None, key_bias: Tensor | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]; arguments as `Attention.forward`."""
        mixed = self.attention(self.norm1(x), rotation, key_bias)
        x = x + (mixed if self.scale1 is None else self.scale1(mixed))
        mixed = self.mlp(self.norm2(x))
        return x + (mixed if self.scale2 is None else self.scale2(mixed))
