"""Low-rank changes of linear layers (Hu et al. 2021): trained in their place, merged into them when written."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from gazetools.schemas.finetune_model import LoraSettings


class LoraLinear(nn.Module):
    """x W^T + b + (alpha / rank) x A^T B^T. W and b are frozen; B starts at zero, so that nothing changes at first."""

    def __init__(self, linear: nn.Linear, settings: LoraSettings) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = settings.alpha / settings.rank
        self.down = nn.Parameter(torch.empty(settings.rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, settings.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out]."""
        return self.linear(x) + F.linear(F.linear(x, self.down), self.up) * self.scale

    @torch.no_grad()
    def merged_weight(self) -> torch.Tensor:
        """W + (alpha / rank) B A: the weight of one linear layer with the same output."""
        return self.linear.weight + self.scale * (self.up @ self.down)


def add_lora(blocks: nn.Module, settings: LoraSettings) -> int:
    """Replace linear layers below `blocks` by adapted ones; returns their number."""
    count = 0
    for name, module in list(blocks.named_modules()):
        for child_name, child in list(module.named_children()):
            inside = f"{name}.{child_name}"
            if type(child) is nn.Linear and (settings.layers == "all" or ".attention." in f".{inside}."):
                setattr(module, child_name, LoraLinear(child, settings))
                count += 1
    return count


def merged_state(tower: nn.Module) -> dict[str, torch.Tensor]:
    """The tower's tensors as if its layers had never been adapted: names and shapes of the plain tower."""
    merged = {
        f"{name}.weight" if name else "weight": module.merged_weight()
        for name, module in tower.named_modules()
        if isinstance(module, LoraLinear)
    }
    state: dict[str, torch.Tensor] = {}
    for name, tensor in tower.state_dict().items():
        plain = name.replace(".linear.", ".") if _adapted(name, merged) else name
        if name.endswith((".down", ".up")) and name.rpartition(".")[0] + ".weight" in merged:
            continue
        state[plain] = merged.get(plain, tensor)
    return state


def _adapted(name: str, merged: dict[str, torch.Tensor]) -> bool:
    layer = name.partition(".linear.")[0]
    return ".linear." in name and f"{layer}.weight" in merged
