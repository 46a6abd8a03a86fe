"""Recognise PaGE's weight files, find out which size they are, and check every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazetools.gazemodels.gazelle.checkpoints import (
    WEIGHT_SUFFIXES,
    WeightFile,
    keys_of_file,
    read_weight_file,
    read_weight_folder,
    shorten,
    weights_in_folder,
)
from gazetools.gazemodels.gazelle.matching import describe_tensors
from gazetools.gazemodels.page.config import PAGE_MODELS, PageConfig, page_config_from_metadata
from gazetools.gazemodels.page.names import TOWERS, canonical, in_one_layout, is_page_key, model_shapes
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import CheckpointError, UsageError

_ACTIVATIONS = ("gelu", "silu")


def is_page_place(path: Path) -> bool:
    """Whether a file or folder has weights of PaGE, by the names of its tensors; False where they can't be read."""
    place = weights_in_folder(path) if path.is_dir() else path
    if place is None or place.suffix.lower() not in (*WEIGHT_SUFFIXES, ".json") or not place.is_file():
        return False
    try:
        keys: Iterable[str] = read_json(place).get("weight_map", {}) if place.suffix == ".json" else keys_of_file(place)
    except (UsageError, AttributeError):  # loading reports it
        return False
    return any(map(is_page_key, keys))


def read_page_weights(path: Path) -> WeightFile:
    """Tensors of a file, or of a folder as the hub has it (whole or in shards), under canonical keys.

    Raises CheckpointError for files that can't be read, missing shards, and weights of another kind.
    """
    file = read_weight_folder(path) if path.is_dir() else read_weight_file(path)
    if not any(map(is_page_key, file.tensors)):
        if any(key.startswith("scene_head_interaction_layers.") for key in file.tensors):
            raise CheckpointError(
                f"{path} has PaGE's decoder alone, without its two towers (training that froze them saves this).",
                hint="Save the whole state dict: model.state_dict() instead of get_page_state_dict().",
                path=str(path),
            )
        raise CheckpointError(
            f"{path} has no weights of PaGE (scene_branch_backbone.*, head_branch_backbone.*); it has "
            f"{describe_tensors(file.tensors)}.",
            hint="Name the model that the file belongs to with --model, or give a file of PaGE.",
            path=str(path),
        )
    return WeightFile(file.path, in_one_layout(file.tensors, path=str(path)), file.metadata, file.sha256)


def config_of(file: WeightFile) -> PageConfig:
    """The shape of the model in a file: its own description, else the released size that has its towers.

    A config.json next to the file decides the towers' activation where it names one (`hidden_act`).
    Raises CheckpointError for towers of two sizes, or of no released size.
    """
    config = page_config_from_metadata(file.metadata, path=str(file.path)) or _released_size(file)
    named = _activation_of(file.path)
    if named is None:
        return config
    return config.model_copy(update={"tower": config.tower.model_copy(update={"hidden_act": named})})


def checked_tensors(file: WeightFile, config: PageConfig) -> dict[str, Tensor]:
    """float32 tensors under canonical keys; CheckpointError lists what is missing, unexpected, mis-shaped, not finite.

    The towers' mask tokens, which only pre-training uses, may be absent, and are left out.
    """
    expected = model_shapes(config)
    groups: dict[str, list[str]] = {
        "missing": [k for k in expected if k not in file.tensors and not k.endswith(".embeddings.mask_token")],
        "unexpected": [key for key in file.tensors if key not in expected],
        "mis-shaped": [],
        "with NaN or infinity": [],
    }
    for key, shape in expected.items():
        tensor = file.tensors.get(key)
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            groups["mis-shaped"].append(f"{key} is {list(tensor.shape)}, not {list(shape)}")
        elif not tensor.is_floating_point():
            groups["mis-shaped"].append(f"{key} is {str(tensor.dtype).removeprefix('torch.')}, not floating")
        elif not bool(torch.isfinite(tensor).all()):
            groups["with NaN or infinity"].append(key)
    if any(groups.values()):
        lists = "; ".join(f"{len(keys)} {name}: {shorten(keys)}" for name, keys in groups.items() if keys)
        raise CheckpointError(
            f"The weights {file.path} do not fit {config.name}. Tensors {lists}.",
            hint="Get the file again and compare its size and sha256, or name the size that it belongs to.",
            path=str(file.path),
            **{name.replace("-", "_").split()[0]: keys[:1000] for name, keys in groups.items() if keys},
        )
    return {key: value.float() for key, value in file.tensors.items() if not key.endswith(".mask_token")}


def _released_size(file: WeightFile) -> PageConfig:
    found = {tower: _size_of_tower(file.tensors, tower) for tower in TOWERS}
    (width, gated), other = found["scene"], found["head"]
    if (width, gated) != other:
        raise CheckpointError(
            f"{file.path} mixes towers: the scene's is {_words(width, gated)}, the head's {_words(*other)}.",
            hint="PaGE's towers have one size; give the file of one model.",
            path=str(file.path),
        )
    for config in PAGE_MODELS.values():
        if (config.tower.hidden_size, config.tower.use_gated_mlp) == (width, gated):
            return config
    raise CheckpointError(
        f"{file.path} has towers that are {_words(width, gated)}, of which no PaGE size is known.",
        hint=f"Known: {', '.join(f'{n} ({_words(*_size(c))})' for n, c in PAGE_MODELS.items())}.",
        path=str(file.path),
    )


def _size(config: PageConfig) -> tuple[int, bool]:
    return config.tower.hidden_size, config.tower.use_gated_mlp


def _size_of_tower(tensors: Mapping[str, Tensor], tower: str) -> tuple[int, bool]:
    """(width, gated); width 0 where the tower has no class token."""
    prefix = canonical(f"{tower}_branch_backbone.model.")
    token = tensors.get(f"{prefix}embeddings.cls_token")
    gated = any(key.startswith(prefix) and ".mlp.gate_proj." in key for key in tensors)
    return 0 if token is None else int(token.shape[-1]), gated


def _words(width: int, gated: bool) -> str:
    return f"{width} channels wide, {'gated' if gated else 'not gated'}" if width else "not there"


def _activation_of(weights: Path) -> str | None:
    """`hidden_act` of config.json next to the weights, at its top or in a part of it; None where nothing names it."""
    place = (weights if weights.is_dir() else weights.parent) / "config.json"
    if not place.is_file():
        return None
    content: Any = read_json(place)
    parts = [content, *content.values()] if isinstance(content, dict) else []
    named = {part["hidden_act"] for part in parts if isinstance(part, dict) and "hidden_act" in part}
    if not named:
        return None
    if len(named) > 1 or not named <= set(_ACTIVATIONS):
        raise CheckpointError(
            f"{place} names the activation {' and '.join(map(repr, sorted(map(str, named))))} (hidden_act).",
            hint=f"Both towers have one of {', '.join(_ACTIVATIONS)}.",
            path=str(place),
        )
    return str(named.pop())
