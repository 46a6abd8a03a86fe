"""The original gazelle-dinov3 network from a working copy, with our tensors: for benchmarks and comparisons by hand."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import DINOV3_MODELS, VitShape


class _TimmBlock(nn.Module):
    """timm 1.0.20's Block as this network uses it, where timm is not installed."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, mlp_ratio * dim), nn.Linear(mlp_ratio * dim, dim)
        self._heads = num_heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.attn.qkv(self.norm1(x)).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


def _resize(maps_nhw: torch.Tensor, size: tuple[int, int], antialias: bool) -> torch.Tensor:
    """torchvision's resize, where torchvision is not installed."""
    return F.interpolate(maps_nhw.unsqueeze(1), size=size, mode="bilinear", antialias=antialias).squeeze(1)


def upstream_network(name: str, tensors: dict[str, torch.Tensor], clone: Path, dinov3: Path | None) -> nn.Module:
    """The network of `name`, by the code in `clone` (hub models: and in `dinov3`), with `tensors` loaded strictly."""
    functional = _module("torchvision.transforms.functional", resize=_resize)
    transforms = _module("torchvision.transforms", functional=functional)
    _stand_in("torchvision", transforms=transforms)
    sys.modules.setdefault("torchvision.transforms", transforms)
    sys.modules.setdefault("torchvision.transforms.functional", functional)
    _stand_in("torchvision.transforms.v2", RandomPhotometricDistort=dict)
    _stand_in("timm")
    _stand_in("timm.models")
    _stand_in("timm.models.vision_transformer", Block=_TimmBlock)
    sys.path[:0] = [str(clone), *([str(dinov3)] if dinov3 else [])]
    backbones, models = (importlib.import_module(f"gazelle.{part}") for part in ("backbone", "model"))
    config = DINOV3_MODELS[name]
    network = models.GazeLLE(
        _backbone(backbones, config.backbone.name, config.backbone.vit, dinov3),
        inout=config.inout,
        in_size=config.in_size,
        out_size=config.out_size,
    )
    network.load_state_dict(tensors, strict=True)
    return network.eval().requires_grad_(False)


def _backbone(backbones: Any, name: str, vit: VitShape | None, dinov3: Path | None) -> Any:
    if vit is None:
        return backbones.HGNetv2Backbone(model_name=name, return_idx=[2], pretrained=False)
    made = backbones.DinoV3Backbone.__new__(backbones.DinoV3Backbone)
    nn.Module.__init__(made)
    if vit.layout == "small":
        made.dinov3 = backbones.VisionTransformer(
            embed_dim=vit.width, num_heads=vit.num_heads, return_layers=[3, 7, 11]
        )
        return made
    hub = importlib.import_module("dinov3.hub.backbones")
    made.dinov3 = getattr(hub, name)(pretrained=False)
    return made


def _module(name: str, **attributes: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(attributes)
    return module


def _stand_in(name: str, **attributes: Any) -> None:
    """Put a module in the place of one that is not installed."""
    sys.modules.setdefault(name, _module(name, **attributes))
