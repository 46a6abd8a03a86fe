"""Key names of PaGE's weights: the three published layouts to one, their shapes, and from there to our modules."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gazetools.gazemodels.families import is_page_key
from gazetools.gazemodels.page.config import PageConfig, PageTowerConfig
from gazetools.gazemodels.vit.names import from_transformers_dinov3, renamed_dinov3
from gazetools.gazemodels.vit.rotary import image_periods
from gazetools.schemas.errors import CheckpointError

TOWERS = ("scene", "head")
_TOWER_KEY = re.compile(r"^(scene|head)_branch_backbone\.(?:backbone\.)?model\.(.*)$")
_BLOCK = (  # timm's names, as OctopusWen/PaGE page/rope_self_attention.py has them
    (r"\.attn\.proj\.", ".attention.proj."),
    (r"\.mlp\.fc1_g\.", ".mlp.gate."),
    (r"\.mlp\.fc1_x\.", ".mlp.value."),
    (r"\.mlp\.fc2\.", ".mlp.out."),
    (r"\.attn\.q\.", ".attention.query."),
    (r"\.attn\.k\.", ".attention.key."),
    (r"\.attn\.v\.", ".attention.value."),
    (r"^(scene|head)_self_attn_layers\.", r"\1_blocks."),
    (r"^scene_head_interaction_layers\.", "interactions."),
    (r"\.cross_attn_scene\.", ".scene_from_head."),
    (r"\.cross_attn_head\.", ".head_from_scene."),
    (r"\.vit_block_(scene|head)\.", r".\1_block."),
    (r"^(scene|head)_proj\.1\.", r"\1_proj."),
    (r"^inout_head\.0\.", "inout.0."),
    (r"^inout_head\.3\.", "inout.2."),
)


def canonical(key: str) -> str:
    """The key in the layout of the hub's files.

    Three are published: the hub's `X_branch_backbone.model.{embeddings,model.layer.N,norm}.*`, the repository's own
    state dict with `.backbone.model.` in place of `.model.`, and either of them with `layer.N` in place of
    `model.layer.N`, as transformers 4.56 names the layers.
    """
    match = _TOWER_KEY.match(key)
    if match is None:
        return key
    rest = "model." + match[2] if match[2].startswith("layer.") else match[2]
    return f"{match[1]}_branch_backbone.model.{rest}"


def in_one_layout(tensors: Mapping[str, Tensor], *, path: str) -> dict[str, Tensor]:
    """The tensors under canonical keys; CheckpointError where two keys of a file mean one tensor."""
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if canonical(key) in found:
            raise CheckpointError(
                f"{path} has {canonical(key)} twice, in two layouts (also as {key}).",
                hint="Save the weights of one model alone.",
                path=path,
            )
        found[canonical(key)] = tensor
    return found


def tower_shapes(tower: PageTowerConfig) -> dict[str, tuple[int, ...]]:
    """Key (behind `X_branch_backbone.model.`) -> shape of one tower."""
    width, hidden, patch = tower.hidden_size, tower.intermediate_size, tower.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, 1, width),
        "embeddings.register_tokens": (1, tower.num_register_tokens, width),
        "embeddings.patch_embeddings.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.bias": (width,),
    }
    for number in range(tower.num_hidden_layers):
        layer: dict[str, tuple[int, ...]] = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
        }
        layer |= {"layer_scale1.lambda1": (width,), "layer_scale2.lambda1": (width,)}
        at: dict[str, tuple[int, ...]] = {f"attention.{name}_proj.weight": (width, width) for name in "kvqo"}
        at |= {f"attention.{name}_proj.bias": (width,) for name in "vqo"}  # keys have no bias
        ups = ("gate", "up") if tower.use_gated_mlp else ("up",)
        mlp: dict[str, tuple[int, ...]] = {f"mlp.{name}_proj.weight": (hidden, width) for name in ups}
        mlp |= {f"mlp.{name}_proj.bias": (hidden,) for name in ups}
        mlp |= {"mlp.down_proj.weight": (width, hidden), "mlp.down_proj.bias": (width,)}
        shapes |= {f"model.layer.{number}.{key}": shape for key, shape in {**layer, **at, **mlp}.items()}
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


def decoder_shapes(config: PageConfig) -> dict[str, tuple[int, ...]]:
    """Key -> shape of the decoder."""
    dim, width = config.dim, config.tower.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    for stream in TOWERS:
        shapes |= {f"{stream}_inout_token": (1, 1, dim)} if config.inout else {}
        shapes |= {f"{stream}_register_tokens": (1, config.registers, dim)} if config.registers else {}
        shapes |= {f"{stream}_proj.1.weight": (dim, width, 1, 1), f"{stream}_proj.1.bias": (dim,)}
        for number in range(config.scene_self_layers if stream == "scene" else config.head_self_layers):
            shapes |= _block_shapes(f"{stream}_self_attn_layers.{number}.", dim)
    for number in range(config.interaction_layers):
        prefix = f"scene_head_interaction_layers.{number}."
        for stream in TOWERS:
            cross = f"{prefix}cross_attn_{stream}."
            shapes |= {f"{cross}{norm}.{p}": (dim,) for norm in ("norm_q", "norm_kv") for p in ("weight", "bias")}
            shapes |= {f"{cross}attn.{name}.weight": (dim, dim) for name in ("q", "k", "v", "proj")}
            shapes |= {f"{cross}attn.proj.bias": (dim,)}
            shapes |= _block_shapes(f"{prefix}vit_block_{stream}.", dim)
    shapes |= {"heatmap_head.0.weight": (dim, dim, 2, 2), "heatmap_head.0.bias": (dim,)}
    shapes |= {"heatmap_head.1.weight": (1, dim, 1, 1)}
    if config.inout:
        shapes |= {"inout_head.0.weight": (128, 2 * dim), "inout_head.0.bias": (128,)}
        shapes |= {"inout_head.3.weight": (1, 128), "inout_head.3.bias": (1,)}
    return shapes


def model_shapes(config: PageConfig) -> dict[str, tuple[int, ...]]:
    """Canonical key -> shape of a whole file."""
    tower = tower_shapes(config.tower)
    towers = {f"{each}_branch_backbone.model.{key}": shape for each in TOWERS for key, shape in tower.items()}
    return {**decoder_shapes(config), **towers}


def _block_shapes(prefix: str, dim: int) -> dict[str, tuple[int, ...]]:
    hidden = 4 * dim
    shapes: dict[str, tuple[int, ...]] = {
        **{f"norm{number}.{parameter}": (dim,) for number in (1, 2) for parameter in ("weight", "bias")},
        "attn.qkv.weight": (3 * dim, dim),
        "attn.proj.weight": (dim, dim),
        "attn.proj.bias": (dim,),
        **{f"mlp.{name}.weight": (hidden, dim) for name in ("fc1_g", "fc1_x")},
        **{f"mlp.{name}.bias": (hidden,) for name in ("fc1_g", "fc1_x")},
        "mlp.fc2.weight": (dim, hidden),
        "mlp.fc2.bias": (dim,),
    }
    return {prefix + key: shape for key, shape in shapes.items()}


def tower_state(tensors: Mapping[str, Tensor], tower: str, config: PageTowerConfig) -> dict[str, Tensor]:
    """Canonical tensors -> state dict of the `ImageTower` called `tower` (`scene` or `head`)."""
    prefix = f"{tower}_branch_backbone.model."
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    periods = image_periods(config.hidden_size // config.num_attention_heads, config.rope_theta)
    return {**from_transformers_dinov3(own), "periods": periods}


def decoder_state(tensors: Mapping[str, Tensor], config: PageConfig) -> dict[str, Tensor]:
    """Canonical tensors -> state dict of the `PageDecoder`."""
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if is_page_key(key) or key.endswith("_token") or key.endswith("_tokens") or key.startswith("heatmap_head."):
            continue
        name = _decoder_name(key)
        if name.endswith(".attn.qkv.weight"):
            for part, value in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[name.replace(".attn.qkv.", f".attention.{part}.")] = value
        else:
            found[name] = tensor.flatten(1) if name.endswith("_proj.weight") else tensor
    for stream in TOWERS:
        front = [tensors[f"{stream}_inout_token"]] if config.inout else []
        front += [tensors[f"{stream}_register_tokens"]] if config.registers else []
        found[f"{stream}_front"] = torch.cat(front, dim=1) if front else torch.zeros(1, 0, config.dim)
    found |= _heatmap_product(tensors)
    return found


def canonical_tensors(
    config: PageConfig,
    decoder: Mapping[str, Tensor],
    heatmap_head: Mapping[str, Tensor],
    towers: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """The tensors of a file, by canonical keys, from the state dicts of the modules: what `decoder_state` undoes.

    `heatmap_head` has both convolutions of the heatmap (`0.weight`, `0.bias`, `1.weight`), of which `PageDecoder` keeps
    the product. Mask tokens, which only pre-training uses, are left out.
    """
    tensors: dict[str, Tensor] = {}
    for key, shape in decoder_shapes(config).items():
        stream = key.split("_")[0]
        if key.startswith("heatmap_head."):
            tensors[key] = heatmap_head[key.removeprefix("heatmap_head.")]
        elif key.endswith("_inout_token"):
            tensors[key] = decoder[f"{stream}_front"][:, :1]
        elif key.endswith("_register_tokens"):
            tensors[key] = decoder[f"{stream}_front"][:, -config.registers :]
        elif ".attn.qkv." in key:
            name = _decoder_name(key)
            parts = [decoder[name.replace(".attn.qkv.", f".attention.{part}.")] for part in ("query", "key", "value")]
            tensors[key] = torch.cat(parts)
        else:
            tensors[key] = decoder[_decoder_name(key)].reshape(shape)
    for stream in TOWERS:
        for key, name in renamed_dinov3(tower_shapes(config.tower)).items():
            tensors[f"{stream}_branch_backbone.model.{key}"] = towers[stream][name]
    return tensors


def _decoder_name(key: str) -> str:
    """Our name of a decoder's tensor; of a fused one with `.attn.qkv.` left in it."""
    for pattern, ours in _BLOCK:
        key = re.sub(pattern, ours, key)
    return key


def _heatmap_product(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ConvTranspose2d(D, D, 2, stride 2), then Conv2d(D, 1, 1), as one linear layer with 4 outputs (row-major)."""
    up = tensors["heatmap_head.0.weight"].double()  # [in, out, 2, 2]
    score = tensors["heatmap_head.1.weight"].double().flatten()
    weight = torch.einsum("iokl,o->kli", up, score).flatten(0, 1)
    bias = (tensors["heatmap_head.0.bias"].double() @ score).expand(4)
    return {"heatmap.weight": weight.float().contiguous(), "heatmap.bias": bias.float().contiguous()}
