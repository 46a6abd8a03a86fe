"""Branches, hidden values and feature channels left out at random in training, as hooks on the networks' modules.

The modules themselves are those of inference and know nothing of it; in eval mode the hooks do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class Dropping:
    """Factors 0 or 1 / (1 - p) on a module's output or input while the module trains.

    `over` is what shares a factor: `sample` (a branch of a block: DropPath, Huang et al. 2016), `value` (dropout), or
    `channel` (the last axis, for all tokens of a sample: 2D dropout).
    """

    def __init__(self, probability: float, over: str) -> None:
        self.probability, self.over = probability, over

    def factors(self, like: torch.Tensor) -> torch.Tensor:
        """Factors for a tensor [N, ...], of a shape that broadcasts with it."""
        shape = list(like.shape)
        if self.over == "sample":
            shape[1:] = [1] * (like.ndim - 1)
        elif self.over == "channel":
            shape[1:-1] = [1] * (like.ndim - 2)
        keep = 1 - self.probability
        return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(keep) / keep

    def on_output(self, module: nn.Module) -> None:
        """Multiply what `module` returns."""

        def hook(called: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            return output * self.factors(output) if called.training else output

        module.register_forward_hook(hook)

    def on_input(self, module: nn.Module) -> None:
        """Multiply what `module` receives."""

        def hook(called: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            if not called.training:
                return inputs
            return (inputs[0] * self.factors(inputs[0]), *inputs[1:])

        module.register_forward_pre_hook(hook)


def drop_paths(branches: Iterable[nn.Module], probability: float) -> list[Dropping]:
    """Let each branch be left out per sample with `probability`; none for 0."""
    if not probability:
        return []
    drops = []
    for branch in branches:
        drop = Dropping(probability, "sample")
        drop.on_output(branch)
        drops.append(drop)
    return drops
