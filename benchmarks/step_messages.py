"""Messages and bytes of a training step on many processes, with torch's fake process group: nothing is sent.

The real functions of `gazetools.trainer.processes.exchange` run on models without memory (meta device); calls of
torch.distributed are counted. "before" is what 0.2.0 sent: three gathers and, per model, two gathers and a reduction.

    python benchmarks/step_messages.py --processes 64
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.models.build import build_encoder, build_predictor, build_probe, choose_trained
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.processes.exchange import agree, send_tensors, sum_tensors
from gazetools.trainer.processes.owners import Owners
from gazetools.trainer.processes.world import World

CLASSES = {"verb": 97, "noun": 300, "action": 3806}
"""EPIC-KITCHENS-100: classes of training."""
NUMBERS = 4  # of a step: unreadable clips, clips, stops, failed checkpoints


class Counter:
    """Counts calls and bytes of torch.distributed in this process."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        for name, place in (("all_gather", 1), ("all_reduce", 0), ("broadcast", 0)):
            self._watch(name, place)

    def _watch(self, name: str, place: int) -> None:
        true = getattr(distributed, name)

        def counted(*arguments: Any, **settings: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            self.bytes[name] = self.bytes.get(name, 0) + arguments[place].nbytes
            return true(*arguments, **settings)

        setattr(distributed, name, counted)

    def take(self) -> dict[str, Any]:
        """What was counted since the last call."""
        found = {"messages": sum(self.calls.values()), "calls": dict(self.calls), "bytes": dict(self.bytes)}
        self.calls.clear()
        self.bytes.clear()
        return found


def parameters_of(config: TrainingConfig) -> list[torch.nn.Parameter]:
    """What one model trains: a probe, and the heatmap part of a predictor; without memory."""
    with torch.device("meta"):
        encoder = build_encoder(config.model_kwargs.pretrain_kwargs.encoder)
        probe = build_probe(config, CLASSES, encoder.embed_dim)
        predictor = build_predictor(config, encoder.embed_dim, {}).requires_grad_(False)
    trained = choose_trained(predictor, "heatmap")
    found = [*probe.parameters(), *(p for group in trained.values() for p in group)]
    for parameter in found:
        parameter.grad = torch.empty_like(parameter)
    return found


def sent_per_rank(found: dict[str, Any], processes: int) -> float:
    """GB that the network card of a process sends, with the usual rings."""
    share = (processes - 1) / processes
    weights = {"all_reduce": 2 * share, "all_gather": processes - 1, "broadcast": share}
    return sum(weights[name] * count for name, count in found["bytes"].items()) / 1e9


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--config", default="configs/eval/vitl/ek100-heatmap.yaml")
    options = parser.parse_args()
    distributed.init_process_group("fake", rank=0, world_size=options.processes, store=FakeStore())
    world, counter = World(rank=0, size=options.processes), Counter()
    config = load_config(options.config, ["model_kwargs.checkpoint=random"])
    rows = []
    for models in (1, 20, 80):
        everything = [parameters_of(config) for _ in range(models)]
        parameters = [p for own in everything for p in own]
        gradients = [p.grad for p in parameters if p.grad is not None]
        agree(world, [0] * NUMBERS, parameters)
        sum_tensors(world, [torch.empty(models, device="meta"), *gradients])
        whole = counter.take()
        owners, owned = Owners(options.processes), [[] for _ in range(options.processes)]
        for own in everything:
            for parameter, rank in zip(own, owners.assign([p.numel() for p in own]), strict=True):
                owned[rank].append(parameter.data)
        send_tensors(world, owned)
        weights = counter.take()
        rows.append(
            {
                "models": models,
                "trained_parameters": sum(p.numel() for p in parameters),
                "before": {"gathers_of_numbers": 3 + 2 * models, "reductions": models},
                "now": whole,
                "sharded_in_addition": weights,
                "gb_sent_per_process": round(sent_per_rank(whole, options.processes), 3),
                "gb_sent_per_process_sharded": round(
                    sent_per_rank(whole, options.processes) + sent_per_rank(weights, options.processes), 3
                ),
                "largest_share_of_states": round(
                    owners.largest_share * options.processes / sum(p.numel() for p in parameters), 4
                ),
            }
        )
    distributed.destroy_process_group()
    print(json.dumps({"processes": options.processes, "config": options.config, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
