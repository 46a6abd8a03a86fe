"""Gaze-LLE weight files with seeded random numbers: the official shapes for end-to-end runs, tiny ones for fast tests.

python tests/helpers/random_checkpoints.py --model gazelle_dinov2_vitb14_inout --seed 0 -o FILE.safetensors
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from gazetools.gazemodels.gazelle.backbone import hub_shapes
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS, BackboneConfig, GazelleConfig, released_config
from gazetools.gazemodels.gazelle.decoder import decoder_shapes, sincos_position_embedding
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX
from gazetools.io.atomic import atomic_path

_GAINS = {
    # Larger than 1 where a token must depend on other tokens: sharp attention, a head token of large magnitude.
    "attn.qkv.weight": 2.0,
    "head_token.weight": 3.0,
    "heatmap_head.1.weight": 0.5,
    "inout_head.3.weight": 0.6,
    "pos_embed": 0.5,
}


def random_model_tensors(config: GazelleConfig, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a whole model, float32 on the CPU: decoder keys and `backbone.model.*` as upstream saves them.

    Weights have variance gain^2 / fan_in with gains such that heatmaps and in/out scores spread over 0..1 without
    saturating and change with the image and with the head prompt. They predict nothing. Equal seeds give equal tensors.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    shapes = decoder_shapes(config)
    order = ["pos_embed", *(BACKBONE_PREFIX + key for key in hub_shapes(config.backbone)), *list(shapes)[1:]]
    all_shapes = {**shapes, **{BACKBONE_PREFIX + key: shape for key, shape in hub_shapes(config.backbone).items()}}
    for key in order:
        tensors[key] = _random(key, all_shapes[key], generator)
    tensors["pos_embed"] = sincos_position_embedding(config.dim, config.grid)
    return tensors


def tiny_config(
    *, inout: bool = True, in_size: tuple[int, int] = (56, 56), out_size: tuple[int, int] = (64, 64)
) -> GazelleConfig:
    """A model that takes about a millisecond per frame and has the same parts as the released ones."""
    return GazelleConfig(
        name="gazelle_random_tiny" + ("_inout" if inout else ""),
        backbone=BackboneConfig(name="dinov2_random_tiny", embed_dim=48, depth=2, num_heads=4, native_grid=7),
        inout=inout,
        dim=32,
        num_layers=2,
        in_size=in_size,
        out_size=out_size,
    )


def _random(key: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    gain = next((value for suffix, value in _GAINS.items() if key.endswith(suffix)), 1.0)
    if key.endswith(("norm1.weight", "norm2.weight", "norm.weight")):
        return 1.0 + 0.1 * noise
    if key.endswith("gamma"):
        return 0.5 + 0.1 * noise
    if key.endswith("bias"):
        return 0.1 * noise
    if key.endswith("token.weight") or key.endswith(("cls_token", "mask_token", "pos_embed")):
        return gain * noise
    # The transposed convolution has its input channels first and 2x2 outputs per token.
    fan_in = shape[0] if key.endswith("heatmap_head.0.weight") else math.prod(shape[1:])
    return noise * (gain / math.sqrt(fan_in))


def write_official_gazelle(path: Path, *, model: str, seed: int = 0) -> Path:
    """One file with decoder and backbone of a released model's shapes, upstream's key names and no metadata."""
    with atomic_path(path) as temp:
        save_file(random_model_tensors(released_config(model), seed), temp)
    return path


def write_tiny_gazelle(
    path: Path,
    *,
    inout: bool = True,
    in_size: tuple[int, int] = (56, 56),
    out_size: tuple[int, int] = (64, 64),
    seed: int = 0,
) -> Path:
    """A self-describing model of about 0.5 MB that `load_model(path)` takes."""
    config = tiny_config(inout=inout, in_size=in_size, out_size=out_size)
    with atomic_path(path) as temp:
        save_file(random_model_tensors(config, seed), temp, metadata=config.to_metadata())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*RELEASED_MODELS, "tiny"], default="gazelle_dinov2_vitb14_inout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="a .safetensors file")
    arguments = parser.parse_args()
    if arguments.model == "tiny":
        path = write_tiny_gazelle(arguments.out, seed=arguments.seed)
    else:
        path = write_official_gazelle(arguments.out, model=arguments.model, seed=arguments.seed)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB of random weights, seed {arguments.seed}", file=sys.stderr)


if __name__ == "__main__":
    main()
