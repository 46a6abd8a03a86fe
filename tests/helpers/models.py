"""Models built from a config in one call, and weights under V-JEPA 2's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.models.build import build_wrapper, load_pretrained
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

_OWN_QUERY = re.compile(r"^((?:predictor_)?blocks\.\d+\.)attention\.query\.(weight|bias)$")


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """The model of a run, and the messages of a run about it."""

    wrapper: AnticipativeWrapperHeatmap
    random_weights: bool
    notes: list[str]


def build_model(config: TrainingConfig) -> BuiltModel:
    """Encoder, predictor and wrapper with the weights of `load_pretrained`, on the CPU, everything frozen."""
    shared = load_pretrained(config)
    wrapper = build_wrapper(config, shared, seed=config.seed)
    random_weights = config.model_kwargs.checkpoint == RANDOM_WEIGHTS
    return BuiltModel(wrapper=wrapper, random_weights=random_weights, notes=shared.notes)


def to_upstream(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of from_upstream; heatmap weights keep their names."""
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        if match := _OWN_QUERY.match(key):
            parts = [state[f"{match[1]}attention.{name}.{match[2]}"] for name in ("query", "key", "value")]
            result[f"{match[1]}attn.qkv.{match[2]}"] = torch.cat(parts, dim=0)
        elif not re.search(r"\.attention\.(key|value)\.", key):
            result[key.replace(".attention.proj.", ".attn.proj.")] = value
    return result
