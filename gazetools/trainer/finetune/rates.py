"""Which parameters have which learning rate and decay, and how the rates change over a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from gazetools.schemas.finetune_learning import GazeOptimizerSettings, GazeScheduleSettings

Part = Literal["decoder", "inout", "tower"]
UNDECAYED = ("inout_token", "register_tokens", "_front", "cls")
"""Parts of names of tensors without weight decay (OctopusWen/PaGE train_all.py); `_front` holds PaGE's in/out and
register tokens. Vectors have none either; the towers' own register tokens have."""


def part_of(name: str) -> Part:
    """The part of the network to which a parameter of that name belongs."""
    if name.startswith("tower"):
        return "tower"
    return "inout" if "inout" in name else "decoder"


def optimizer_for(parameters: Mapping[str, nn.Parameter], settings: GazeOptimizerSettings) -> torch.optim.Optimizer:
    """Adam or AdamW with a group for each part and decay; `base_lr` of a group is its rate before the schedule.

    Parameters that do not train yet are part of it: without a gradient they stay as they are.
    """
    rates = {
        "decoder": settings.lr,
        "inout": settings.inout_lr or settings.lr,
        "tower": settings.tower_lr or settings.lr,
    }
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decays = parameter.ndim > 1 and not any(part in name.removeprefix("tower") for part in UNDECAYED)
        key = part_of(name), settings.weight_decay if decays else 0.0
        groups.setdefault(key, []).append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": members, "lr": rates[part], "base_lr": rates[part], "weight_decay": decay, "part": part}
        for (part, decay), members in groups.items()
    ]
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(listed, betas=(0.9, 0.999), eps=1e-8)


def rate_at(settings: GazeScheduleSettings, base_lr: float, *, epoch: int, step_in_epoch: int, epochs: int) -> float:
    """Learning rate of a step; epochs and steps count from 0.

    `cosine`: floor + (lr - floor) (1 + cos(pi e / E)) / 2 (torch's CosineAnnealingLR with T_max = E); `page`: the same
    with E - 1, and in epoch 0 a linear warm-up whose first step has the start rate itself (OctopusWen/PaGE).
    """
    if settings.kind == "constant":
        return base_lr
    if settings.kind == "page" and epoch == 0:
        if step_in_epoch >= settings.warmup_steps:
            return base_lr
        share = step_in_epoch / settings.warmup_steps
        return settings.warmup_start_lr + (base_lr - settings.warmup_start_lr) * share
    last = epochs if settings.kind == "cosine" else max(epochs - 1, 1)
    fall = (1 + math.cos(math.pi * epoch / last)) / 2
    return settings.floor + (base_lr - settings.floor) * fall


def set_rates(
    optimizer: torch.optim.Optimizer, settings: GazeScheduleSettings, *, epoch: int, step_in_epoch: int, epochs: int
) -> None:
    """Give every group the rate of a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate_at(settings, group["base_lr"], epoch=epoch, step_in_epoch=step_in_epoch, epochs=epochs)
