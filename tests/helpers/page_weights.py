"""Seeded random weights of PaGE in the published layouts, of any shape.

python tests/helpers/page_weights.py --model page_vits --depth 2 --seed 0 -o FILE.safetensors
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from gazetools.gazemodels.page.config import PAGE_MODELS, PageConfig, PageTowerConfig
from gazetools.gazemodels.page.names import model_shapes

TINY_PAGE = PageConfig(
    name="page_test",
    tower=PageTowerConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
    scene_in_size=(64, 64),
    head_in_size=(48, 48),
    dim=32,
    num_heads=4,
    interaction_layers=2,
    out_size=(16, 16),
)
"""Small enough for tests; grid 4x4, head crop 3x3 patches."""


def shallow(name: str, *, depth: int) -> PageConfig:
    """A released size with fewer layers in its towers, under a name of its own."""
    config = PAGE_MODELS[name]
    tower = config.tower.model_copy(update={"num_hidden_layers": depth})
    return config.model_copy(update={"name": f"{name}_depth{depth}", "tower": tower})


def page_tensors(config: PageConfig, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Canonical key -> random tensor; of such a size that maps differ from person to person and frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for key, shape in model_shapes(config).items():
        value = torch.randn(shape, generator=generator)
        if key.endswith(("norm.weight", "norm1.weight", "norm2.weight", "norm_q.weight", "norm_kv.weight", "lambda1")):
            value = 1 + 0.1 * value
        elif key.endswith(("_token", "_tokens")):
            value = 0.5 * value
        elif value.ndim > 1:
            fan_in = shape[0] if key == "heatmap_head.0.weight" else math.prod(shape[1:])
            value = value * (3.0 if key == "heatmap_head.1.weight" else 1.3) / math.sqrt(fan_in)
        else:
            value = 0.05 * value
        found[key] = value
    return found


def write_page_file(
    path: Path, config: PageConfig, *, seed: int = 0, describe: bool = True, drop: str = "mask_token"
) -> Path:
    """A .safetensors file; with `describe` it carries its shape, else the names alone tell it, as in released files."""
    tensors = {key: value for key, value in page_tensors(config, seed=seed).items() if not key.endswith(drop)}
    save_file(tensors, path, config.to_metadata() if describe else None)
    return path


def write_page_shards(folder: Path, config: PageConfig, *, seed: int = 0, shards: int = 3) -> Path:
    """A folder as the hub has it for large models: numbered shards and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = page_tensors(config, seed=seed)
    names = [f"model-{number + 1:05d}-of-{shards:05d}.safetensors" for number in range(shards)]
    place = {key: names[number % shards] for number, key in enumerate(tensors)}
    for name in names:
        save_file({key: tensors[key] for key in tensors if place[key] == name}, folder / name, config.to_metadata())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(PAGE_MODELS), default="page_vits")
    parser.add_argument("--depth", type=int, help="layers of each tower (default: the size's own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="a .safetensors file")
    given = parser.parse_args()
    config = PAGE_MODELS[given.model] if given.depth is None else shallow(given.model, depth=given.depth)
    print(f"{write_page_file(given.out, config, seed=given.seed)}: random weights of {config.name}, seed {given.seed}")


if __name__ == "__main__":
    main()
