"""The image towers DINOv2 and DINOv3: patches and front tokens through blocks, patch tokens out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gazetools.gazemodels.vit.blocks import Activation, Attention, GatedMlp, Mlp, VitBlock
from gazetools.gazemodels.vit.rotary import Rotation, image_periods, image_rotation


@dataclass(frozen=True, kw_only=True)
class ImageTowerShape:
    """What determines the layers of a tower; weights for it are loaded by `gazetools.gazemodels.vit.names`."""

    width: int
    depth: int
    num_heads: int
    hidden: int
    """Hidden channels of each MLP."""
    patch_size: int
    registers: int = 0
    """Learned tokens between class token and patches."""
    positions: Literal["learned", "rotary"] = "learned"
    learned_grid_hw: tuple[int, int] | None = None
    """(rows, columns) of a learned position embedding, already resampled to the input's grid."""
    gated: bool = False
    activation: Activation = "gelu"
    layer_scale: bool = True
    final_norm: bool = True
    key_bias: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.positions == "learned") != (self.learned_grid_hw is not None):
            raise ValueError(f"no tower has this shape: {self}")


class ImageTower(nn.Module):
    """Images [B, 3, H, W], preprocessed, to patch tokens [B, rows * columns, C] after the final norm."""

    pos_embed: Tensor
    periods: Tensor

    def __init__(self, shape: ImageTowerShape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.registers = nn.Parameter(torch.zeros(1, shape.registers, width)) if shape.registers else None
        self.patch_embed = nn.Conv2d(3, width, kernel_size=shape.patch_size, stride=shape.patch_size)
        if shape.learned_grid_hw is not None:
            rows, columns = shape.learned_grid_hw
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, width))
        else:
            # Stored, because released files round them to bfloat16: numbers computed anew would differ.
            self.register_buffer("periods", image_periods(width // shape.num_heads))
        self.blocks = nn.ModuleList(_block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=shape.eps) if shape.final_norm else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ImageTower:
        """Move and cast as any module, but keep the periods in float32: bfloat16 ones turn patches wrongly."""
        periods = self._buffers.get("periods")
        super()._apply(fn, recurse)
        if periods is not None:
            self.periods = periods.to(self.periods.device)
        return self

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches."""
        return 1 + self.shape.registers

    def embed(self, images_bchw: Tensor) -> Tensor:
        """Tokens before the first block, [B, prefix + rows * columns, C]."""
        patches = self.patch_embed(images_bchw.to(self.patch_embed.weight.dtype)).flatten(2).transpose(1, 2)
        front = [self.cls_token.expand(patches.shape[0], -1, -1)]
        if self.registers is not None:
            front.append(self.registers.expand(patches.shape[0], -1, -1))
        tokens = torch.cat((*front, patches), dim=1)
        return tokens if self.shape.positions == "rotary" else tokens + self.pos_embed

    def rotation(self, grid_hw: tuple[int, int]) -> Rotation | None:
        """The rotary positions of a grid (rows, columns); None where positions are learned."""
        if self.shape.positions == "learned":
            return None
        return image_rotation(grid_hw, self.periods, prefix=self.prefix)

    def finish(self, tokens: Tensor) -> Tensor:
        """The patch tokens of the last block's output, normalised where the tower has a final norm."""
        patches = tokens[:, self.prefix :]
        return patches if self.norm is None else self.norm(patches)

    def forward(self, images_bchw: Tensor) -> Tensor:
        """Patch tokens [B, rows * columns, C]; sides must be multiples of the patch size."""
        height, width = images_bchw.shape[-2:]
        rotation = self.rotation((height // self.shape.patch_size, width // self.shape.patch_size))
        tokens = self.embed(images_bchw)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        return self.finish(tokens)

    def features(self, images_bchw: Tensor) -> Tensor:
        """The same tokens as a picture, [B, C, rows, columns]."""
        rows, columns = (side // self.shape.patch_size for side in images_bchw.shape[-2:])
        tokens: Tensor = self(images_bchw)
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))


def _block(shape: ImageTowerShape) -> VitBlock:
    mlp = (GatedMlp if shape.gated else Mlp)(shape.width, shape.hidden, activation=shape.activation)
    attention = Attention(shape.width, shape.num_heads, key_bias=shape.key_bias)
    return VitBlock(shape.width, attention, mlp, eps=shape.eps, layer_scale=shape.layer_scale)
