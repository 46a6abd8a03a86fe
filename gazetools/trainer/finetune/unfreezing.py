"""Which blocks of a tower train in an epoch."""

from __future__ import annotations

import re

from torch import nn

from gazetools.schemas.finetune_model import UnfreezeSettings

_BLOCK = re.compile(r"^blocks\.(\d+)\.")
_ALWAYS = re.compile(r"^(norm\.|cls_token$|pos_embed$)")
"""Tensors of a tower that train from the first epoch on: final norm, class token, learned position embedding."""


def blocks_in_epoch(settings: UnfreezeSettings, epoch: int, depth: int) -> int:
    """Number of last blocks that train in `epoch` (from 0) of a tower with `depth` blocks."""
    later = epoch - settings.from_epoch
    return min(depth, settings.blocks + (0 if later < 0 else 1 + later // settings.every_epochs))


def unfreeze(tower: nn.Module, settings: UnfreezeSettings | None, epoch: int) -> None:
    """Set which parameters of `tower` train in `epoch`; all of them for None, and in a tower without blocks.

    As PINTO0309/gazelle-dinov3: HGNetV2 has no blocks, and all of it trains.
    """
    blocks = getattr(tower, "blocks", None)
    depth = len(blocks) if isinstance(blocks, nn.ModuleList) else 0
    if settings is None or depth == 0:
        tower.requires_grad_(True)
        return
    first = depth - blocks_in_epoch(settings, epoch, depth)
    for name, parameter in tower.named_parameters():
        block = _BLOCK.match(name)
        trains = int(block[1]) >= first if block else bool(_ALWAYS.match(name))
        if not trains:
            parameter.grad = None
        parameter.requires_grad_(trains)
