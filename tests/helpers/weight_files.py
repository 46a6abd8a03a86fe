"""Weight files of one tiny model in every public format, written from the same tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from gazetools.gazemodels.gazelle.backbone import transformers_key_table
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX
from tests.helpers.random_checkpoints import tiny_config

Tensors = dict[str, torch.Tensor]

TINY = tiny_config().model_copy(update={"name": "gazelle_test"})
"""Its name is a released one where the fixture `a_released_tiny_model` is used."""
BOXES = [[(0.1, 0.1, 0.5, 0.5), None]]


def decoder_of(whole: Tensors) -> Tensors:
    """A weight file in the form of the released .pt."""
    return {key: value for key, value in whole.items() if not key.startswith("backbone.")}


def hub_of(whole: Tensors) -> Tensors:
    """The backbone under the names of torch.hub."""
    return {k.removeprefix(BACKBONE_PREFIX): v for k, v in whole.items() if k.startswith(BACKBONE_PREFIX)}


def transformers_of(whole: Tensors, *, nested: bool) -> Tensors:
    """The backbone under the names of transformers; `nested`: the older names, else the current ones."""
    hub, table = hub_of(whole), transformers_key_table(TINY.backbone, nested_attention=nested)
    return {
        key: (hub[source] if third is None else hub[source].chunk(3)[third]).clone()
        for key, (source, third) in table.items()
    }


def write_pt(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def write_st(path: Path, tensors: Tensors) -> Path:
    save_file(tensors, path)
    return path


def write_folder(folder: Path, whole: Tensors, *, shards: int = 1, nested: bool = True, **config: object) -> Path:
    """A folder as transformers saves it, with one file or shards; `config` replaces entries of its config.json."""
    folder.mkdir()
    settings = {"model_type": "dinov2", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({**settings, "patch_size": 14, **config}))
    tensors = transformers_of(whole, nested=nested)
    if shards == 1:
        write_st(folder / "model.safetensors", tensors)
        return folder
    where = {key: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, key in enumerate(tensors)}
    for name in set(where.values()):
        write_st(folder / name, {k: v for k, v in tensors.items() if where[k] == name})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def heatmaps(**files: Path) -> torch.Tensor:
    """Output of `gazelle_test`, loaded from `files`, for one random picture with a box and without one."""
    images = np.random.default_rng(1).integers(0, 256, (1, 60, 80, 3), dtype=np.uint8)
    return load_model("gazelle_test", offline=True, **files)(images, BOXES).heatmap


def edit(tensors: Tensors, **changes: torch.Tensor | None) -> Tensors:
    """`tensors` with keys (their dots written __) replaced, or removed where None."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    edited = {key: value for key, value in tensors.items() if key not in named}
    return edited | {key: value for key, value in named.items() if value is not None}
