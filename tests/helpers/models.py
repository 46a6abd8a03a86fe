"""Models built from a config in one call."""

from __future__ import annotations

from dataclasses import dataclass

from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.models.build import build_wrapper, load_pretrained
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap


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
