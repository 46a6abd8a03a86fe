"""The DINOv2 backbone: a tower with the hub's weights, and its position embedding resampled at load time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from gazetools.gazemodels.gazelle.config import BackboneConfig
from gazetools.gazemodels.vit.image import ImageTower, ImageTowerShape
from gazetools.gazemodels.vit.names import from_hub


def resample_position_embedding(
    stored_1nc: torch.Tensor, config: BackboneConfig, grid_hw: tuple[int, int]
) -> torch.Tensor:
    """The position embedding for a grid of patches, as facebookresearch/dinov2 computes it at run time.

    Bicubic with the scale factor (n + 0.1) / native per side and no antialiasing
    (`dinov2/models/vision_transformer.py`, interpolate_pos_encoding). transformers and timm resample to the size
    itself, timm with antialiasing, which moves the features by up to 0.16. From float32 [1, 1 + native * native, C],
    class token first, to [1, 1 + rows * columns, C].
    """
    native = config.native_grid
    if tuple(grid_hw) == (native, native):
        return stored_1nc
    grid_1chw = stored_1nc[:, 1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
    target: dict[str, Any] = {"size": tuple(grid_hw)}
    if config.interpolate_offset:
        target = {"scale_factor": tuple((n + config.interpolate_offset) / native for n in grid_hw)}
    resampled = F.interpolate(grid_1chw, mode="bicubic", antialias=config.interpolate_antialias, **target)
    if tuple(resampled.shape[-2:]) != tuple(grid_hw):
        raise AssertionError(f"position embedding became {tuple(resampled.shape[-2:])}, wanted {tuple(grid_hw)}")
    return torch.cat((stored_1nc[:, :1], resampled.flatten(2).transpose(1, 2)), dim=1)


def build_backbone(
    config: BackboneConfig, in_size: tuple[int, int], hub_tensors: dict[str, torch.Tensor]
) -> ImageTower:
    """A tower for inputs of `in_size` (height, width) that takes over tensors with the hub's key names.

    All must be there but the mask token. No weight is initialised or copied.
    """
    grid_hw = (in_size[0] // config.patch_size, in_size[1] // config.patch_size)
    shape = ImageTowerShape(
        width=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        hidden=config.embed_dim * config.mlp_ratio,
        patch_size=config.patch_size,
        learned_grid_hw=grid_hw,
        eps=config.layer_norm_eps,
    )
    with torch.device("meta"):
        tower = ImageTower(shape)
    resampled = resample_position_embedding(hub_tensors["pos_embed"], config, grid_hw)
    tower.load_state_dict(from_hub(hub_tensors | {"pos_embed": resampled}), strict=True, assign=True)
    return tower.eval().requires_grad_(False)


def hub_shapes(config: BackboneConfig) -> dict[str, tuple[int, ...]]:
    """Key names and shapes of a DINOv2 hub file, in its order (facebookresearch/dinov2, torch.hub state dict)."""
    c, hidden, patch = config.embed_dim, config.embed_dim * config.mlp_ratio, config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, c),
        "pos_embed": (1, 1 + config.native_grid**2, c),
        "mask_token": (1, c),
        "patch_embed.proj.weight": (c, 3, patch, patch),
        "patch_embed.proj.bias": (c,),
    }
    for layer in range(config.depth):
        block = {
            "norm1.weight": (c,),
            "norm1.bias": (c,),
            "attn.qkv.weight": (3 * c, c),
            "attn.qkv.bias": (3 * c,),
            "attn.proj.weight": (c, c),
            "attn.proj.bias": (c,),
            "ls1.gamma": (c,),
            "norm2.weight": (c,),
            "norm2.bias": (c,),
            "mlp.fc1.weight": (hidden, c),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (c, hidden),
            "mlp.fc2.bias": (c,),
            "ls2.gamma": (c,),
        }
        shapes.update({f"blocks.{layer}.{key}": shape for key, shape in block.items()})
    shapes.update({"norm.weight": (c,), "norm.bias": (c,)})
    return shapes


def transformers_key_table(config: BackboneConfig, *, nested_attention: bool) -> dict[str, tuple[str, int | None]]:
    """transformers' key -> (hub key, third of a fused qkv tensor or None).

    With `nested_attention`, as on disk and before transformers 5: `attention.attention.query`, not `attention.q_proj`.
    """
    table: dict[str, tuple[str, int | None]] = {
        "embeddings.cls_token": ("cls_token", None),
        "embeddings.mask_token": ("mask_token", None),
        "embeddings.position_embeddings": ("pos_embed", None),
        "embeddings.patch_embeddings.projection.weight": ("patch_embed.proj.weight", None),
        "embeddings.patch_embeddings.projection.bias": ("patch_embed.proj.bias", None),
        "layernorm.weight": ("norm.weight", None),
        "layernorm.bias": ("norm.bias", None),
    }
    if nested_attention:
        parts, output = [f"attention.attention.{name}" for name in ("query", "key", "value")], "attention.output.dense"
    else:
        parts, output = [f"attention.{name}_proj" for name in "qkv"], "attention.o_proj"
    same = [f"{m}.{p}" for m in ("norm1", "norm2", "mlp.fc1", "mlp.fc2") for p in ("weight", "bias")]
    for layer in range(config.depth):
        ours, theirs = f"blocks.{layer}.", f"encoder.layer.{layer}."
        table.update({theirs + key: (ours + key, None) for key in same})
        for p in ("weight", "bias"):
            table[f"{theirs}{output}.{p}"] = (f"{ours}attn.proj.{p}", None)
            table.update({f"{theirs}{part}.{p}": (f"{ours}attn.qkv.{p}", third) for third, part in enumerate(parts)})
        for n in (1, 2):
            table[f"{theirs}layer_scale{n}.lambda1"] = (f"{ours}ls{n}.gamma", None)
    return table
