"""Rotary coordinates of a DINOv3 tower stretched at random in training, as its authors' code does in train mode.

A log-uniform factor in [1 / r, r] for both axes (facebookresearch/dinov3 dinov3/layers/rope_position_encoding.py,
`rescale_coords`; transformers' dinov3_vit, `pos_embed_rescale`). Meta's code draws one per block, transformers one per
pass of the tower. gazelle-dinov3 trains in train mode, so that it happens with a frozen tower, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gazetools.gazemodels.vit.image import ImageTower
from gazetools.gazemodels.vit.rotary import Rotation, image_rotation
from gazetools.schemas.finetune_model import RopeRescaleSettings


class RopeRescaling:
    """Hooks that give the blocks of `tower` stretched positions while `active()` holds."""

    def __init__(self, tower: ImageTower, settings: RopeRescaleSettings, active: Callable[[], bool]) -> None:
        self._tower, self._settings, self._active = tower, settings, active
        self._grid_hw = (0, 0)
        self._factor = 1.0
        tower.register_forward_pre_hook(self._begin)
        for block in tower.blocks:
            block.register_forward_pre_hook(self._stretch)

    def _draw(self) -> float:
        widest = math.log(self._settings.largest)
        return float(torch.empty(1).uniform_(-widest, widest).exp())

    def _begin(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        height, width = inputs[0].shape[-2:]
        patch = self._tower.shape.patch_size
        self._grid_hw = (height // patch, width // patch)
        if self._active() and self._settings.per == "pass":
            self._factor = self._draw()

    def _stretch(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._active():
            return inputs
        factor = self._draw() if self._settings.per == "block" else self._factor
        return (inputs[0], self._rotation(factor), *inputs[2:])

    def _rotation(self, factor: float) -> Rotation:
        """Angles are coordinates over periods, so that shorter periods stretch coordinates."""
        return image_rotation(self._grid_hw, self._tower.periods / factor, prefix=self._tower.prefix)


def stretched_towers(towers: list[nn.Module], settings: RopeRescaleSettings | None, active: Callable[[], bool]) -> bool:
    """Add stretched positions to the towers with rotary positions; whether there is one."""
    rotary = [tower for tower in towers if isinstance(tower, ImageTower) and tower.shape.positions == "rotary"]
    if settings is None:
        return False
    for tower in rotary:
        RopeRescaling(tower, settings, active)
    return bool(rotary)
