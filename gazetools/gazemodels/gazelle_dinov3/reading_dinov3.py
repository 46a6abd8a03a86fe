"""The tensors of a gazelle-dinov3 file: which ones there must be, and the checked parts as backbone and decoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gazetools.gazemodels.families import other_family
from gazetools.gazemodels.gazelle.checkpoints import WeightFile
from gazetools.gazemodels.gazelle.decoder import GazeDecoder, decoder_shapes
from gazetools.gazemodels.gazelle.matching import WeightProblems
from gazetools.gazemodels.gazelle_dinov3.hgnet import Hgnet
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import (
    DINOV3_MODELS,
    STRIDE,
    Dinov3GazeConfig,
    HgnetShape,
    VitShape,
)
from gazetools.gazemodels.vit.image import ImageTower, ImageTowerShape
from gazetools.gazemodels.vit.names import from_hub, to_hub
from gazetools.schemas.errors import CheckpointError

BACKBONE = "backbone."
"""Prefix of the backbone's tensors in a checkpoint."""
_PREFIX = {"hub": "backbone.dinov3.", "small": "backbone.dinov3._model."}
_BIAS, _MASK = ".attn.qkv.bias", ".attn.qkv.bias_mask"
_UNUSED = ("num_batches_tracked", "mask_token")
"""Ends of the names of tensors that have no effect on the numbers."""


def dinov3_shapes(config: Dinov3GazeConfig) -> dict[str, tuple[int, ...]]:
    """Key names and shapes of a whole checkpoint, in the order of upstream's state dict."""
    decoder = decoder_shapes(config)
    position = {"pos_embed": decoder.pop("pos_embed")}
    shape = config.backbone.shape
    if isinstance(shape, VitShape):
        backbone = {_PREFIX[shape.layout] + key: size for key, size in _vit_shapes(shape).items()}
    else:
        backbone = {BACKBONE + key: size for key, size in _hgnet_shapes(shape).items()}
    return {**position, **backbone, **decoder}


def build_dinov3(config: Dinov3GazeConfig, file: WeightFile) -> tuple[ImageTower | Hgnet, GazeDecoder]:
    """Backbone and decoder with the tensors of `file`, float32 on the CPU.

    Raises CheckpointError for weights of another family, without the backbone, of another size, or in which tensors are
    missing, unexpected, mis-shaped or not finite.
    """
    tensors = _checked(config, file)
    decoder_tensors = {key: value.float() for key, value in tensors.items() if not key.startswith(BACKBONE)}
    shape = config.backbone.shape
    with torch.device("meta"):
        decoder = GazeDecoder(config)
        backbone = Hgnet(shape) if isinstance(shape, HgnetShape) else ImageTower(_tower_shape(shape))
    decoder.load_state_dict(decoder_tensors, strict=True, assign=True)
    if isinstance(backbone, Hgnet):
        wanted = backbone.state_dict()
        own = {key: tensors[BACKBONE + key] for key in wanted}
        own = {key: value if key.endswith("num_batches_tracked") else value.float() for key, value in own.items()}
        backbone.load_state_dict(own, strict=True, assign=True)
        return backbone.for_inference(), decoder
    assert isinstance(shape, VitShape)
    prefix = _PREFIX[shape.layout]
    own = {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}
    backbone.load_state_dict(from_hub(own, key_bias=shape.layout == "small"), strict=True, assign=True)
    return backbone.eval().requires_grad_(False), decoder


def vit_tensors(shape: VitShape, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, with their prefix, from the state dict of an `ImageTower` of that shape.

    Masks of biases, which are 1 but for the keys, and what only pre-training uses are left to the original file.
    """
    tensors = {_PREFIX[shape.layout] + key: value for key, value in to_hub(state).items()}
    return {key: value for key, value in tensors.items() if not key.endswith("periods")}


def _checked(config: Dinov3GazeConfig, file: WeightFile) -> dict[str, torch.Tensor]:
    """The tensors of the file, with every bias of queries, keys and values multiplied by its mask."""
    path = str(file.path)
    if other := other_family(file.tensors, "gazelle-dinov3"):
        raise CheckpointError(f"{path} {other[0]}.", hint=other[1], path=path)
    if "heatmap_head.0.weight" in file.tensors and not any(key.startswith(BACKBONE) for key in file.tensors):
        raise CheckpointError(
            f"{path} is a decoder without its backbone (no tensor {BACKBONE}*), as old files of gazelle-dinov3 are.",
            hint="Take a file that has the backbone: those of the release tag `weights` have it. A backbone from "
            "elsewhere is not accepted, because gazelle-dinov3 trains it together with the decoder.",
            path=path,
        )
    tensors = _masked(file.tensors)
    expected = dinov3_shapes(config)
    problems = WeightProblems()
    counted = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    problems.compare(counted, {key: size for key, size in expected.items() if not key.endswith("num_batches_tracked")})
    if groups := problems.found():
        fits = _released_name(file)
        lists = problems.in_words()
        raise CheckpointError(
            f"{path} does not fit {config.name} on {config.backbone.name}, input {config.in_size}. "
            + (f"It has the shapes of {fits}. " if fits else "It has the shapes of no released model. ")
            + f"Tensors {lists}.",
            hint=f"Give --model {fits}." if fits else "Name the model that the file belongs to.",
            **groups,
        )
    for key in expected:  # only num_batches_tracked can still be missing
        tensors.setdefault(key, torch.zeros((), dtype=torch.int64))
    return tensors


def _masked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` with biases multiplied by their masks: the part of the keys may hold anything, also NaN."""
    result = dict(tensors)
    for key, mask in tensors.items():
        bias = tensors.get(key.removesuffix(_MASK) + _BIAS)
        if key.endswith(_MASK) and bias is not None and bias.shape == mask.shape:
            result[key.removesuffix(_MASK) + _BIAS] = torch.where(mask == 0, torch.zeros_like(bias), bias * mask)
    return result


def _released_name(file: WeightFile) -> str | None:
    """The released model that has exactly the tensors of the file."""
    found = {key: tuple(value.shape) for key, value in file.tensors.items() if not key.endswith(_UNUSED)}
    for name, config in DINOV3_MODELS.items():
        if found == {key: size for key, size in dinov3_shapes(config).items() if not key.endswith(_UNUSED)}:
            return name
    return None


def _tower_shape(shape: VitShape) -> ImageTowerShape:
    hub = shape.layout == "hub"
    return ImageTowerShape(
        width=shape.width,
        depth=shape.depth,
        num_heads=shape.num_heads,
        hidden=shape.hidden,
        patch_size=STRIDE,
        registers=shape.registers if hub else 0,
        positions="rotary",
        gated=shape.gated,
        activation="silu" if shape.gated else "gelu",
        layer_scale=hub,
        final_norm=hub,
        key_bias=not hub,
        eps=1e-5 if hub else 1e-6,
    )


def _vit_shapes(shape: VitShape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tower, without prefix (facebookresearch/dinov3's hub; gazelle-dinov3's own ViT)."""
    c, hidden, hub = shape.width, shape.hidden, shape.layout == "hub"
    patches = {"patch_embed.proj.weight": (c, 3, STRIDE, STRIDE), "patch_embed.proj.bias": (c,)}
    periods = {"rope_embed.periods": (c // shape.num_heads // 4,)}
    sizes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, c)}
    sizes |= {"storage_tokens": (1, shape.registers, c), "mask_token": (1, c)} if hub else {}
    sizes |= {**patches, **(periods if hub else {})}
    for layer in range(shape.depth):
        block: dict[str, tuple[int, ...]] = _pair("norm1", c) | _pair("attn.qkv", 3 * c, c)
        block |= {"attn.qkv.bias_mask": (3 * c,)} if hub else {}
        block |= _pair("attn.proj", c, c)
        block |= {"ls1.gamma": (c,)} if hub else {}
        block |= _pair("norm2", c)
        if shape.gated:
            block |= _pair("mlp.w1", hidden, c) | _pair("mlp.w2", hidden, c) | _pair("mlp.w3", c, hidden)
        else:
            block |= _pair("mlp.fc1", hidden, c) | _pair("mlp.fc2", c, hidden)
        block |= {"ls2.gamma": (c,)} if hub else {}
        sizes |= {f"blocks.{layer}.{key}": size for key, size in block.items()}
    return sizes | (_pair("norm", c) if hub else periods)


def _pair(name: str, *size: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a layer."""
    return {f"{name}.weight": size, f"{name}.bias": size[:1]}


def _hgnet_shapes(shape: HgnetShape) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in Hgnet(shape).state_dict().items()}
