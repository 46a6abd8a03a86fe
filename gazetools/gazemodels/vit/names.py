"""Key names of tower weights: those of facebookresearch's hubs and of transformers, to those of this package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_HUB = (  # facebookresearch/dinov2 and dinov3: models/vision_transformer.py, layers/block.py
    (r"^patch_embed\.proj\.", "patch_embed."),
    (r"^storage_tokens$", "registers"),
    (r"^rope_embed\.periods$", "periods"),
    (r"\.attn\.proj\.", ".attention.proj."),
    (r"\.ls([12])\.gamma$", r".scale\1.gamma"),
    (r"\.mlp\.w1\.", ".mlp.gate."),
    (r"\.mlp\.w2\.", ".mlp.value."),
    (r"\.mlp\.w3\.", ".mlp.out."),
)
_TRANSFORMERS_DINOV3 = (  # transformers 4.56 to 5.23: models/dinov3_vit/modeling_dinov3_vit.py
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "registers"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed."),
    (r"^(?:model\.)?layer\.", "blocks."),
    (r"\.attention\.q_proj\.", ".attention.query."),
    (r"\.attention\.k_proj\.", ".attention.key."),
    (r"\.attention\.v_proj\.", ".attention.value."),
    (r"\.attention\.o_proj\.", ".attention.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".scale\1.gamma"),
)
_MLP = {"gate_proj": ("gate", "gate"), "up_proj": ("value", "fc1"), "down_proj": ("out", "fc2")}
"""transformers' name -> name in a gated MLP, name in a plain one."""
_TO_HUB = (
    (r"^patch_embed\.", "patch_embed.proj."),
    (r"\.attention\.proj\.", ".attn.proj."),
    (r"\.scale([12])\.gamma$", r".ls\1.gamma"),
    (r"^registers$", "storage_tokens"),
    (r"^periods$", "rope_embed.periods"),
    (r"\.mlp\.gate\.", ".mlp.w1."),
    (r"\.mlp\.value\.", ".mlp.w2."),
    (r"\.mlp\.out\.", ".mlp.w3."),
)
_QUERY = re.compile(r"^(.*)\.attention\.query\.(weight|bias)$")
_KEY_VALUE = re.compile(r"^.*\.attention\.(?:key|value)\.(?:weight|bias)$")
_QKV = re.compile(r"^(.*)\.attn\.qkv\.(weight|bias)$")


def from_hub(tensors: Mapping[str, Tensor], *, key_bias: bool = True) -> dict[str, Tensor]:
    """Weights by the names of Meta's hub models (and of gazelle-dinov3's own ViTs) -> names of an `ImageTower`.

    Fused qkv tensors are split. With `key_bias` False the bias of keys, zero by its stored `bias_mask`, is left out.
    `bias_mask` tensors are applied: queries' and values' biases are multiplied by them.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key.endswith(".attn.qkv.bias_mask") or key == "mask_token":
            continue
        if match := _QKV.match(key):
            value = tensor
            mask = tensors.get(f"{match[1]}.attn.qkv.bias_mask")
            if match[2] == "bias" and mask is not None:
                # Where the mask is 0 the stored bias may be NaN, which a product would keep.
                value = torch.where(mask == 0, torch.zeros_like(tensor), tensor * mask)
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                if key_bias or (name, match[2]) != ("key", "bias"):
                    found[f"{match[1]}.attention.{name}.{match[2]}"] = part
        else:
            found[_renamed(key, _HUB)] = tensor
    return found


def to_hub(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an `ImageTower` -> the names of Meta's hub, with queries, keys and values in one tensor.

    Where keys have no bias (DINOv3) its part is zero.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if match := _QUERY.match(key):
            names = [f"{match[1]}.attention.{name}.{match[2]}" for name in ("query", "key", "value")]
            parts = [tensors[name] if name in tensors else torch.zeros_like(tensor) for name in names]
            found[f"{match[1]}.attn.qkv.{match[2]}"] = torch.cat(parts)
        elif not _KEY_VALUE.match(key):
            found[_renamed(key, _TO_HUB)] = tensor
    return found


def from_transformers_dinov3(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of transformers' DINOv3ViTModel -> names of an `ImageTower`; periods are not stored there."""
    return {name: tensors[key] for key, name in renamed_dinov3(tensors).items()}


def renamed_dinov3(keys: Iterable[str]) -> dict[str, str]:
    """Names in transformers' DINOv3ViTModel -> names of an `ImageTower`; the mask token has none."""
    keys = list(keys)
    gated = any(".mlp.gate_proj." in key for key in keys)
    found: dict[str, str] = {}
    for key in keys:
        if key == "embeddings.mask_token":
            continue
        name = _renamed(key, _TRANSFORMERS_DINOV3)
        for theirs, (in_gated, in_plain) in _MLP.items():
            name = name.replace(f".mlp.{theirs}.", f".mlp.{in_gated if gated else in_plain}.")
        found[key] = name
    return found


def _renamed(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in table:
        key = re.sub(pattern, ours, key)
    return key
