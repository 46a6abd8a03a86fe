"""V-JEPA 2's blocks in a row, at (time, row, column) positions, and how they are initialised."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gazetools.gazemodels.vit.blocks import Attention, Mlp, VitBlock
from gazetools.gazemodels.vit.rotary import video_rotation

NORM_EPS = 1e-6
"""LayerNorm epsilon of V-JEPA 2's encoder and predictor (that of the attentive probe is 1e-5)."""


class VideoBlocks(nn.ModuleList):
    """Blocks of one width that share the rotary positions of their tokens."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        sdpa: bool = True,
        checkpointing: bool = False,
        interleaved: bool = False,
    ) -> None:
        """Draw the weights.

        Args:
            checkpointing: compute activations again in the backward pass instead of keeping them.
            interleaved: rotate as version 2.1 does; see `video_rotation`.
        """
        super().__init__()
        for _ in range(depth):
            Attention(width, num_heads)  # its draws keep the weights of a seed equal to those of version 0.1
            mlp = Mlp(width, int(width * mlp_ratio))
            attention = Attention(width, num_heads, sdpa=sdpa)
            self.append(VitBlock(width, attention, mlp, eps=NORM_EPS, layer_scale=False))
        self.head_dim = width // num_heads
        self.checkpointing = checkpointing
        self.interleaved = interleaved

    def run(
        self,
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
        rotation = video_rotation(positions_tyx, self.head_dim, interleaved=self.interleaved)
        for number, block in enumerate(self):
            bias = None if key_bias is None else key_bias[:, number]
            if self.checkpointing and torch.is_grad_enabled():
                tokens = torch.utils.checkpoint.checkpoint(block, tokens, rotation, bias, use_reentrant=False)
            else:
                tokens = block(tokens, rotation, bias)
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
