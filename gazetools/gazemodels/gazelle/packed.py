"""Linear layers whose weights oneDNN keeps in its own blocked layout: faster on CPUs with AVX-512, not on others."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

PackKind = Literal["auto", "on", "off"]

_LEAST_FEATURES = 256
"""Least number of input and output features; narrower layers gain nothing."""
_TOKENS = 1025
"""Number of rows that the layout is chosen for: the tokens of one 448x448 frame. Other numbers work too."""


class PackedLinear(nn.Module):
    """`nn.Linear` for inference on the CPU; the packed weight takes the place of the original."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _TOKENS)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in_features] -> [..., out_features]."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return out


def pays(kind: PackKind, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether to pack; `auto` decides by the kind of CPU, so that equal machines compute equal numbers.

    oneDNN reached 74 % of the peak on AVX-512 (AMD Zen 5), torch's MKL 42 %; on AVX2 (AMD Zen 3) oneDNN is the slower
    one, 3.94 against 3.77 CPU seconds per vitb14 frame (`benchmarks/gazelle_model.py --pack on off --threads 1`).
    """
    if kind == "off" or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    bfloat16_works = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if dtype != torch.float32 and not bfloat16_works:
        return False
    return kind == "on" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def pack_linears(module: nn.Module) -> int:
    """Replace the wide `nn.Linear`s in `module` by packed ones and return their number."""
    packed = 0
    for name, child in module.named_children():
        if type(child) is nn.Linear and min(child.in_features, child.out_features) >= _LEAST_FEATURES:
            setattr(module, name, PackedLinear(child))
            packed += 1
        else:
            packed += pack_linears(child)
    return packed
