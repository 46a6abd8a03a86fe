"""V-JEPA 2 in transformers' layout (hub name or save_pretrained folder): sizes for the config, and weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazetools.io.json_files import read_json
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.models.blocks import NORM_EPS
from gazetools.trainer.models.sizes import ENCODER_SIZES, encoder_size, replace_settings

CONFIG_NAME, WEIGHTS_NAME, SHARDS_NAME = "config.json", "model.safetensors", "model.safetensors.index.json"

_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_FILE_SUFFIXES = (".pt", ".pth", ".pth.tar", ".bin", ".safetensors")

# transformers' key of config.json -> key of pretrain_kwargs.encoder and .predictor.
_ENCODER_KEYS = {
    "hidden_size": "embed_dim",
    "num_hidden_layers": "depth",
    "num_attention_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "patch_size": "patch_size",
    "tubelet_size": "tubelet_size",
}
_PREDICTOR_KEYS = {
    "pred_hidden_size": "predictor_embed_dim",
    "pred_num_hidden_layers": "depth",
    "pred_num_attention_heads": "num_heads",
    "pred_num_mask_tokens": "num_mask_tokens",
}
_FIXED = {"in_chans": 3, "hidden_act": "gelu", "layer_norm_eps": NORM_EPS, "qkv_bias": True, "pred_mlp_ratio": 4.0}
"""Values for which this package's blocks are built."""

_PREFIXES = {
    "encoder.embeddings.patch_embeddings.": ("encoder", "patch_embed."),
    "encoder.layer.": ("encoder", "blocks."),
    "encoder.layernorm.": ("encoder", "norm."),
    "predictor.embeddings.predictor_embeddings.": ("predictor", "predictor_embed."),
    "predictor.layer.": ("predictor", "predictor_blocks."),
    "predictor.layernorm.": ("predictor", "predictor_norm."),
    "predictor.proj.": ("predictor", "predictor_proj."),
}
_MASK_TOKENS = "predictor.embeddings.mask_tokens"
_CLASSIFIER_PARTS = ("pooler.", "classifier.")
"""Prefixes that VJEPA2ForVideoClassification has in addition to the model, which is under `vjepa2.`; not read."""


def transformers_folder(checkpoint: str) -> Path | None:
    """The folder of `model_kwargs.checkpoint`; None where it names a file or random weights.

    A name such as `facebook/vjepa2-vitl-fpc64-256` is looked up in the local cache of the Hugging Face hub; nothing is
    downloaded. Raises EnvironmentLacksError, with the command that downloads it, where the cache lacks it.
    """
    path = Path(checkpoint)
    if path.is_dir():
        return path
    named = _HUB_NAME.match(checkpoint) and not checkpoint.endswith(_FILE_SUFFIXES)
    if checkpoint == RANDOM_WEIGHTS or path.exists() or not named:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        raise EnvironmentLacksError(
            f"model_kwargs.checkpoint = {checkpoint} is a name on the hub, but huggingface_hub is not installed.",
            hint="pip install 'gazetools[transformers]', or give the folder of the downloaded model.",
        ) from None
    config = try_to_load_from_cache(checkpoint, CONFIG_NAME)
    folder = Path(config).parent if isinstance(config, str) else None
    if folder is None or not any((folder / name).exists() for name in (WEIGHTS_NAME, SHARDS_NAME)):
        raise EnvironmentLacksError(
            f"model_kwargs.checkpoint = {checkpoint} is no local file or folder, and the local Hugging Face cache has "
            "no such model.",
            hint=f"Get it with: hf download {checkpoint}",
        )
    return folder


def with_checkpoint_sizes(config: TrainingConfig) -> TrainingConfig:
    """The config with the sizes of config.json in a transformers checkpoint; unchanged for other checkpoints.

    Raises UsageError where a key that the config sets contradicts them, CheckpointError for a model that this package
    cannot build.
    """
    folder = transformers_folder(config.model_kwargs.checkpoint)
    if folder is None:
        return config
    facts = _read_facts(folder)
    pretrain = config.model_kwargs.pretrain_kwargs
    tables = {"encoder": _ENCODER_KEYS, "predictor": _PREDICTOR_KEYS}
    found = {part: {own: facts[key] for key, own in keys.items() if key in facts} for part, keys in tables.items()}
    if "model_name" not in pretrain.encoder.model_fields_set:
        names = [name for name, size in ENCODER_SIZES.items() if vars(size).items() <= found["encoder"].items()]
        found["encoder"] |= {"model_name": names[0]} if names else {}
    problems = []
    for part, values in found.items():
        settings = getattr(pretrain, part)
        explicit = {key: getattr(settings, key) for key in values if key in settings.model_fields_set}
        if part == "encoder" and "model_name" in settings.model_fields_set:
            explicit = {**vars(encoder_size(settings)), **explicit}
        problems += [
            f"model_kwargs.pretrain_kwargs.{part}.{key} is {value}, the checkpoint's is {values[key]}."
            for key, value in explicit.items()
            if value is not None and value != values.get(key, value)
        ]
    if problems:
        raise UsageError(
            f"The config does not fit {folder / CONFIG_NAME}: {' '.join(problems)}",
            hint="Remove these keys: they come from the checkpoint.",
            problems=problems,
        )
    return replace_settings(config, **found)


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(
            f"The checkpoint folder {folder} has no {CONFIG_NAME}.",
            hint="Pass a folder that transformers' save_pretrained wrote, a hub name, or Meta's .pt file.",
        )
    facts = read_json(path)
    if facts.get("model_type") != "vjepa2":
        raise CheckpointError(f"{path} describes a model of type {facts.get('model_type')!r}; vjepa2 is needed.")
    other = [
        f"{key} = {facts[key]!r} (needed: {value!r})" for key, value in _FIXED.items() if facts.get(key, value) != value
    ]
    if other:
        raise CheckpointError(f"{path} describes a model that cannot be built here: {', '.join(other)}.")
    return facts


def read_folder(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Weights of `encoder` and `predictor` by this package's names.

    Raises EnvironmentLacksError where the folder has no safetensors, CheckpointError where they cannot be read.
    """
    weights: dict[str, dict[str, Tensor]] = {"encoder": {}, "predictor": {}}
    for key, value in _read_tensors(folder).items():
        name = key.removeprefix("vjepa2.")
        if name.startswith(_CLASSIFIER_PARTS):
            continue
        if name == _MASK_TOKENS:
            weights["predictor"] |= {f"mask_tokens.{i}": token for i, token in enumerate(value)}
            continue
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            raise CheckpointError(f"{folder} holds the tensor {key!r}, which is no part of a V-JEPA 2 model.")
        part, own = _PREFIXES[prefix]
        weights[part][own + name.removeprefix(prefix)] = value
    return weights


def to_folder_names(weights: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Weights of `encoder` and `predictor` by this package's names -> those of VJEPA2Model, as `read_folder` reads."""
    theirs = {(part, own): prefix for prefix, (part, own) in _PREFIXES.items()}
    found: dict[str, Tensor] = {}
    tokens: dict[int, Tensor] = {}
    for part, tensors in weights.items():
        for name, value in tensors.items():
            if name.startswith("mask_tokens."):
                tokens[int(name.rpartition(".")[2])] = value
                continue
            own = next(own for (owner, own) in theirs if owner == part and name.startswith(own))
            found[theirs[part, own] + name.removeprefix(own)] = value
    return found | {_MASK_TOKENS: torch.stack([tokens[number] for number in sorted(tokens)])}


def _read_tensors(folder: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    names = [WEIGHTS_NAME]
    if not (folder / WEIGHTS_NAME).exists() and (folder / SHARDS_NAME).exists():
        listed = read_json(folder / SHARDS_NAME).get("weight_map", {})
        names = sorted(set(listed.values()))
        if not names or any(Path(name).name != name for name in names):
            raise CheckpointError(f"{folder / SHARDS_NAME} lists no files next to it: {json.dumps(names)[:200]}.")
    tensors: dict[str, Tensor] = {}
    for name in names:
        if not (folder / name).is_file():
            raise EnvironmentLacksError(
                f"The checkpoint folder {folder} has no {name}.",
                hint="Download the whole model again (hf download NAME), or save it with save_pretrained; weights "
                "must be safetensors.",
            )
        try:
            tensors |= load_file(folder / name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error}.", hint="Download it again.") from None
    return tensors
