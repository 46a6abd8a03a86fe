"""gazelle-dinov3 weight files with seeded random numbers: official and tiny shapes, training checkpoints.

python tests/helpers/random_dinov3.py --model gazelle_dinov3_vits16_inout --seed 0 -o FILE.pt
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch

from gazetools.gazemodels.gazelle.decoder import sincos_position_embedding
from gazetools.gazemodels.gazelle_dinov3.reading_dinov3 import dinov3_shapes
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import (
    DINOV3_MODELS,
    Dinov3Backbone,
    Dinov3GazeConfig,
    HgnetShape,
    HgnetStage,
    VitShape,
)
from gazetools.gazemodels.vit.rotary import image_periods

Tensors = dict[str, torch.Tensor]

TINY_VIT = Dinov3GazeConfig(
    name="tiny_vit",
    backbone=Dinov3Backbone(
        name="tiny", vit=VitShape(layout="hub", width=16, depth=2, num_heads=2, hidden=32, registers=4)
    ),
    inout=True,
    dim=16,
    num_layers=1,
    in_size=(64, 64),
    out_size=(7, 7),
)
TINY_CNN = TINY_VIT.model_copy(
    update={
        "name": "tiny_cnn",
        "backbone": Dinov3Backbone(
            name="tiny",
            hgnet=HgnetShape(
                stem=8,
                stages=(
                    HgnetStage(inner=8, out=16),
                    HgnetStage(inner=8, out=24),
                    HgnetStage(inner=8, out=16, blocks=2, kernel=5, light=True),
                    HgnetStage(inner=8, out=32, light=True),
                ),
            ),
        ),
    }
)


def random_dinov3_tensors(config: Dinov3GazeConfig, seed: int) -> Tensors:
    """A whole state dict by upstream's names; features vary with the picture, keys' biases are set and masked."""
    generator = torch.Generator().manual_seed(seed)
    return {key: _random(key, shape, config, generator) for key, shape in dinov3_shapes(config).items()}


def _random(key: str, shape: tuple[int, ...], config: Dinov3GazeConfig, generator: torch.Generator) -> torch.Tensor:
    if key == "pos_embed":
        return sincos_position_embedding(config.dim, config.grid)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if key.endswith("periods"):
        return image_periods(4 * shape[0]).bfloat16().float()  # as Meta's files round them
    if key.endswith("bias_mask"):
        return torch.ones(3, shape[0] // 3).index_fill(0, torch.tensor(1), 0.0).flatten()
    noise = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return 0.5 + noise.abs()
    if key.endswith(("norm1.weight", "norm2.weight", "norm.weight", "bn.weight", "lab.scale")):
        return 1.0 + 0.1 * noise
    if key.endswith("gamma"):
        return 0.5 + 0.1 * noise
    if key.endswith(("bias", "running_mean")):
        return 0.1 * noise
    if key.endswith(("token.weight", "cls_token", "mask_token", "storage_tokens")):
        return (3.0 if "head" in key else 1.0) * noise
    fan_in = shape[0] if key.endswith("heatmap_head.0.weight") else math.prod(shape[1:])
    return noise * (2.0 if key.endswith("qkv.weight") else 1.4) / math.sqrt(fan_in)


def write_training_checkpoint(path: Path, tensors: Tensors) -> Path:
    """A .pt as upstream's training scripts write it: the state dict among arguments, optimizer and random states."""
    content = {
        "epoch": 3,
        "model": tensors,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": np.float64(1e-4)}]},
        "scheduler": None,
        "args": argparse.Namespace(model="m", data=Path("/data")),
        "rng_state": {"torch": torch.get_rng_state(), "numpy": np.random.RandomState(0).get_state()},
        "best_min_l2": np.float32(0.04),
    }
    torch.save(content, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(DINOV3_MODELS), default="gazelle_dinov3_vits16_inout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="a .pt file")
    arguments = parser.parse_args()
    write_training_checkpoint(arguments.out, random_dinov3_tensors(DINOV3_MODELS[arguments.model], arguments.seed))
    print(f"{arguments.out}: {arguments.model}, seed {arguments.seed}", file=sys.stderr)


if __name__ == "__main__":
    main()
