"""PaGE's decoder: tokens of the frame and of one head attend to each other, then heatmap and in/out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazetools.gazemodels.page.config import PageConfig
from gazetools.gazemodels.vit.blocks import Attention, GatedMlp, VitBlock
from gazetools.gazemodels.vit.rotary import Rotation, plane_rotation

LAYER_NORM_EPS = 1e-6
"""For every LayerNorm of the decoder (those of the towers have 1e-5)."""
_MLP_RATIO = 4
_INOUT_HIDDEN = 128


class PageDecoder(nn.Module):
    """Letters in shapes: F frames, N people, C channels of the towers, D channels of the decoder, T tokens.

    Names of parameters are our own; `gazetools.gazemodels.page.names` translates the released ones.
    """

    def __init__(self, config: PageConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.scene_proj = nn.Linear(config.tower.hidden_size, dim)
        self.head_proj = nn.Linear(config.tower.hidden_size, dim)
        self.scene_front = nn.Parameter(torch.zeros(1, config.front, dim))
        self.head_front = nn.Parameter(torch.zeros(1, config.front, dim))
        self.scene_blocks = nn.ModuleList(_block(config) for _ in range(config.scene_self_layers))
        self.head_blocks = nn.ModuleList(_block(config) for _ in range(config.head_self_layers))
        self.interactions = nn.ModuleList(Interaction(config) for _ in range(config.interaction_layers))
        # Upsampling and the 1x1 convolution after it are linear, so that they are stored as their product.
        self.heatmap = nn.Linear(dim, 4)
        self.inout: nn.Sequential | None = None
        if config.inout:
            self.inout = nn.Sequential(nn.Linear(2 * dim, _INOUT_HIDDEN), nn.GELU(), nn.Linear(_INOUT_HIDDEN, 1))

    def scene_tokens(self, features_fpc: Tensor) -> Tensor:
        """Scene tower's patch tokens [F, P, C] to [F, front + P, D], before the scene's own block."""
        return _with_front(self.scene_front, self.scene_proj(features_fpc))

    def head_tokens(self, features_npc: Tensor) -> Tensor:
        """Head tower's patch tokens [N, P, C] to [N, front + P, D], before the head's own block."""
        return _with_front(self.head_front, self.head_proj(features_npc))

    def scene_self(self, tokens: Tensor) -> Tensor:
        """The scene's own blocks: nothing personal has entered, so once per frame is enough."""
        rotation = self._grid_rotation(self.config.grid, tokens.device)
        for block in self.scene_blocks:
            tokens = block(tokens, rotation)
        return tokens

    def head_self(self, tokens: Tensor) -> Tensor:
        """The head's own blocks."""
        rotation = self._grid_rotation(self.config.head_grid, tokens.device)
        for block in self.head_blocks:
            tokens = block(tokens, rotation)
        return tokens

    def interact(self, scene_ntd: Tensor, head_ntd: Tensor, rects_n4: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams after all interaction layers; `rects_n4` as from `head_rects`."""
        device = scene_ntd.device
        scene_rotation = self._grid_rotation(self.config.grid, device)
        own_rotation = self._grid_rotation(self.config.head_grid, device)
        placed_rotation = self._placed_rotation(rects_n4.to(device))
        for layer in self.interactions:
            scene_ntd, head_ntd = layer(scene_ntd, head_ntd, scene_rotation, own_rotation, placed_rotation)
        return scene_ntd, head_ntd

    def lowres_logits(self, scene_ntd: Tensor) -> Tensor:
        """float32 [N, 1, 2 rows, 2 columns] of the scene's grid."""
        rows, columns = self.config.grid
        cells = self.heatmap(scene_ntd[:, self.config.front :]).float()
        return F.pixel_shuffle(cells.transpose(1, 2).unflatten(2, (rows, columns)), 2)

    def heatmap_logits(self, scene_ntd: Tensor) -> Tensor:
        """float32 [N, *out_size], before the sigmoid, which the original applies after the resize."""
        maps = self.lowres_logits(scene_ntd)
        if tuple(maps.shape[-2:]) != self.config.out_size:
            maps = F.interpolate(maps, self.config.out_size, mode="bilinear", align_corners=False, antialias=True)
        return maps[:, 0]

    def inout_logits(self, scene_ntd: Tensor, head_ntd: Tensor) -> Tensor | None:
        """float32 [N]; None for a model without this head."""
        if self.inout is None:
            return None
        logits: Tensor = self.inout(torch.cat((scene_ntd[:, 0], head_ntd[:, 0]), dim=1))
        return logits[:, 0].float()

    def _grid_rotation(self, grid_hw: tuple[int, int], device: torch.device) -> Rotation:
        rows, columns = (axis.flatten()[None] for axis in _grid_cells(grid_hw, device))
        return plane_rotation(rows, columns, self._head_dim, prefix=self.config.front)

    def _placed_rotation(self, rects_n4: Tensor) -> Rotation:
        """The head's patches placed inside the head box on the scene's grid."""
        rows, columns = self.config.head_grid
        row, column = (axis.flatten() + 0.5 for axis in _grid_cells((rows, columns), rects_n4.device))
        top, left, bottom, right = rects_n4.float().T.unsqueeze(2)  # each [N, 1]
        y = top + row * (bottom - top) / rows - 0.5
        x = left + column * (right - left) / columns - 0.5
        return plane_rotation(y, x, self._head_dim, prefix=self.config.front)

    @property
    def _head_dim(self) -> int:
        return self.config.dim // self.config.num_heads


class Interaction(nn.Module):
    """Scene and head attend to each other, both from the layer's inputs; then a block of its own on each stream."""

    def __init__(self, config: PageConfig) -> None:
        super().__init__()
        self.scene_from_head = CrossAttention(config)
        self.head_from_scene = CrossAttention(config)
        self.scene_block = _block(config)
        self.head_block = _block(config)

    def forward(
        self, scene: Tensor, head: Tensor, scene_rotation: Rotation, own_rotation: Rotation, placed_rotation: Rotation
    ) -> tuple[Tensor, Tensor]:
        """Scene [N, T, D] and head [N, T', D] -> the same shapes."""
        new_scene = self.scene_from_head(scene, head, scene_rotation, placed_rotation)
        new_head = self.head_from_scene(head, scene, placed_rotation, scene_rotation)
        return self.scene_block(new_scene, scene_rotation), self.head_block(new_head, own_rotation)


class CrossAttention(nn.Module):
    """Pre-norm cross attention with a residual and without an MLP."""

    def __init__(self, config: PageConfig) -> None:
        super().__init__()
        self.norm_q = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.norm_kv = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.attention = Attention(config.dim, config.num_heads, qkv_bias=False)

    def forward(self, x: Tensor, other: Tensor, rotation: Rotation, other_rotation: Rotation) -> Tensor:
        """Tokens [N, T, D] that attend to `other` [N, T', D]."""
        return x + self.attention.cross(self.norm_q(x), self.norm_kv(other), rotation, other_rotation)


def head_rects(boxes: list[tuple[float, float, float, float]], grid_hw: tuple[int, int]) -> Tensor:
    """(top, left, bottom, right) in cells of the scene's grid, float32 [N, 4]: corners rounded half to even.

    Neither cut nor grown: a small head has a rectangle without width, which is right.
    """
    rows, columns = grid_hw
    cells = [(round(y0 * rows), round(x0 * columns), round(y1 * rows), round(x1 * columns)) for x0, y0, x1, y1 in boxes]
    return torch.tensor(cells, dtype=torch.float32).reshape(-1, 4)


def _block(config: PageConfig) -> VitBlock:
    attention = Attention(config.dim, config.num_heads, qkv_bias=False)
    mlp = GatedMlp(config.dim, _MLP_RATIO * config.dim, activation="gelu")
    return VitBlock(config.dim, attention, mlp, eps=LAYER_NORM_EPS, layer_scale=False)


def _with_front(front: Tensor, patches: Tensor) -> Tensor:
    return torch.cat((front.expand(patches.shape[0], -1, -1), patches), dim=1)


def _grid_cells(grid_hw: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """(row, column) of each cell, float32 [rows, columns] each."""
    axes = (torch.arange(n, dtype=torch.float32, device=device) for n in grid_hw)
    row, column = torch.meshgrid(*axes, indexing="ij")
    return row, column
