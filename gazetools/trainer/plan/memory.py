"""Memory of a run's weights, gradients and optimizer states in each process, by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gazetools.trainer.processes.exchange import BUCKET_BYTES

_AUTO_BYTES = 2**30
"""Optimizer state from which `shard_optimizer: auto` shards: below, sending weights costs more than memory is worth."""
_BUCKETS = 2  # of gradients or weights on the way at the same time


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes in one process. Activations come on top; `train --dry-run` measures them."""

    processes: int
    sharded: bool  # whether processes hold parts of the optimizers' states
    weights: int  # the encoder's and all predictors' and probes'
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
