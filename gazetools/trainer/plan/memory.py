"""Memory of a run's weights, gradients and optimizer states in each process, by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from gazetools.trainer.models.build import HEATMAP_PREFIXES
from gazetools.trainer.plan.arms import LearnerSpec
from gazetools.trainer.processes.exchange import BUCKET_BYTES

_AUTO_BYTES = 2**30
"""Optimizer state from which `shard_optimizer: auto` shards: below, sending weights costs more than memory is worth."""
_BUCKETS = 2  # of gradients or weights on the way at the same time


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes in one process. Activations come on top; `train --dry-run` measures them."""

    processes: int
    sharded: bool  # whether processes hold parts of the optimizers' states
    weights: int  # the encoder's, all probes' and all predictors'; what equal predictors do not train counts once
    gradients: int
    optimizer: int  # two AdamW moments; of the process with the most
    buckets: int
    total: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def plan_memory(model: Mapping[str, Any], *, processes: int, shard: Literal["auto", "off", "on"]) -> MemoryPlan:
    """What each of `processes` processes holds of the models that `describe_model` describes.

    Weights and gradients are whole in every process. States are sharded where `shard_optimizer` says so.
    """
    whole = model["bytes"]["optimizer"]
    sharded = processes > 1 and (shard == "on" or (shard == "auto" and whole >= _AUTO_BYTES))
    optimizer = -(-whole // processes) if sharded else whole
    weights, gradients = model["bytes"]["weights"], model["bytes"]["gradients"]
    buckets = min(_BUCKETS * BUCKET_BYTES, gradients) if processes > 1 else 0
    return MemoryPlan(
        processes=processes,
        sharded=sharded,
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        buckets=buckets,
        total=weights + gradients + optimizer + buckets,
    )


def held_values(specs: Sequence[LearnerSpec], predictors: Mapping[str, nn.Module | None]) -> int:
    """Numbers that a process holds for the predictors of all trunks, as `learn.frozen` shares them.

    `predictors` has the predictor of every arm, with gradients where it trains. What trains counts per trunk, the
    checkpoint's other weights once for the run. Heatmap weights that do not train count once per seed and settings
    that they are drawn from; a few that begin at the same value whatever they are drawn from are counted too often.
    """
    held: dict[tuple[object, str], int] = {}
    for spec in {spec.trunk: spec for spec in specs}.values():
        predictor = predictors[spec.arm]
        if predictor is None:
            continue
        drawn = (spec.seed, spec.config.model_kwargs.pretrain_kwargs.predictor.model_dump_json())
        for name, parameter in predictor.named_parameters():
            holder: object = None
            if parameter.requires_grad:
                holder = spec.trunk
            elif name.startswith(HEATMAP_PREFIXES):
                holder = drawn
            held[holder, name] = parameter.numel()
    return sum(held.values())
