"""Gaze-LLE weight files with seeded random numbers: the official shapes for end-to-end runs, tiny ones for fast tests.

python tests/helpers/random_checkpoints.py --model gazelle_dinov2_vitb14_inout --seed 0 -o FILE.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file

from gazetools.gazemodels.gazelle.config import RELEASED_MODELS, released_config
from gazetools.gazemodels.gazelle.random_init import random_model_tensors, tiny_config, write_model
from gazetools.io.atomic import atomic_path


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
    return write_model(path, tiny_config(inout=inout, in_size=in_size, out_size=out_size), seed=seed)


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
