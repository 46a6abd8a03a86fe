"""Messages of the optimizers of many models on two gloo processes: this package's, ZeroRedundancyOptimizer, FSDP2.

The models are probes with the released number of blocks, and so of tensors, but few channels: messages do not depend on
the width. Every way gets the same gradients, summed already except with FSDP2, which sums them itself. Counted are the
calls of process groups, with the bytes that they carry (of a gather or scatter the larger side), and the share of all
states that the fullest of eight processes holds with the released sizes of ViT-g. Prints one JSON document.

    python benchmarks/sharded_optimizers.py --models 80
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, multiprocessing, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.utils._python_dispatch import TorchDispatchMode

from gazetools.schemas.training_optimization import OptimizationSettings
from gazetools.trainer.learn.shards import OptimizerShard
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.processes.exchange import send_tensors, sum_tensors
from gazetools.trainer.processes.owners import Owners
from gazetools.trainer.processes.world import World

PROCESSES = 2
WIDTH, HEADS, BLOCKS = 32, 2, 4
CLASSES = {"verb": 97, "noun": 300, "action": 3806}
Step = Callable[[], None]


class Messages(TorchDispatchMode):
    """Counts the calls of process groups in this thread, and the bytes of the tensors that they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional") and func._opname != "wait_tensor":
            self.calls[func._opname] = self.calls.get(func._opname, 0) + 1
            self.bytes += max(sum(tensor.nbytes for tensor in _tensors(one)) for one in args)
        return func(*args, **(kwargs or {}))


def _tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [tensor for one in tree for tensor in _tensors(one)] if isinstance(tree, list | tuple) else []


def largest_share(models: int, *, together: bool, processes: int = 8) -> float:
    """Share of the states that one process holds at most, in units of an equal one.

    `together`: models are placed one after the other as `Owners` does; else each by itself, as ZeroRedundancyOptimizer
    does by the same rule.
    """
    with torch.device("meta"):
        probe = AttentiveClassifier(num_classes=CLASSES, embed_dim=1408, num_heads=16, depth=BLOCKS)
    sizes = [parameter.numel() for parameter in probe.parameters()]
    owners = Owners(processes)
    if not together:
        owners.assign(sizes)
        return owners.largest_share * processes / sum(sizes)
    for _ in range(models):
        owners.assign(sizes)
    return owners.largest_share * processes / (models * sum(sizes))


def models(count: int) -> list[nn.Module]:
    """Probes with random weights."""
    torch.manual_seed(0)
    return [
        AttentiveClassifier(num_classes=CLASSES, embed_dim=WIDTH, num_heads=HEADS, depth=BLOCKS) for _ in range(count)
    ]


def with_gradients(probes: list[nn.Module]) -> list[nn.Parameter]:
    """All parameters, each with a gradient."""
    found = [parameter for probe in probes for parameter in probe.parameters()]
    for parameter in found:
        parameter.grad = torch.ones_like(parameter)
    return found


def own_way(probes: list[nn.Module], world: World) -> Step:
    """OptimizerShard of every model, and one exchange for all of them."""
    parameters, owners = with_gradients(probes), Owners(world.size)
    shards = [
        OptimizerShard({"probe": list(probe.parameters())}, OptimizationSettings(), owners=owners, rank=world.rank)
        for probe in probes
    ]

    def step() -> None:
        sum_tensors(world, [parameter.grad for parameter in parameters if parameter.grad is not None])
        owned: list[list[torch.Tensor]] = [[] for _ in range(world.size)]
        for probe, shard in zip(probes, shards, strict=True):
            shard.optimizer.step()
            for parameter, rank in zip(probe.parameters(), shard.ranks or [], strict=True):
                owned[rank].append(parameter.data)
        send_tensors(world, owned)

    return step


def zero_way(probes: list[nn.Module], world: World, *, buckets: bool) -> Step:
    """A ZeroRedundancyOptimizer of every model; gradients are summed as in `own_way`."""
    optimizers = [
        ZeroRedundancyOptimizer(
            probe.parameters(), optimizer_class=torch.optim.AdamW, parameters_as_bucket_view=buckets, fused=True
        )
        for probe in probes
    ]
    parameters = with_gradients(probes)

    def step() -> None:
        sum_tensors(world, [parameter.grad for parameter in parameters if parameter.grad is not None])
        for optimizer in optimizers:
            optimizer.step()

    return step


def fsdp_way(probes: list[nn.Module], world: World) -> Step:
    """FSDP2 around every model as a whole: the fewest messages that it can send; a gradient's norm needs one more."""
    mesh = init_device_mesh("cpu", (world.size,))
    for probe in probes:
        fully_shard(probe, mesh=mesh)
    optimizers = [torch.optim.AdamW(probe.parameters(), fused=True) for probe in probes]
    tokens = torch.randn(1, 4, WIDTH)

    def step() -> None:
        for probe, optimizer in zip(probes, optimizers, strict=True):
            torch.stack([scores.sum() for scores in probe(tokens).values()]).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    return step


def work(rank: int, port: int, count: int, results: Any) -> None:
    """One process: every way takes a step, then one that is counted."""
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    world = World(rank=rank, size=PROCESSES)
    ways: dict[str, Callable[[list[nn.Module]], Step]] = {
        "gazetools": lambda probes: own_way(probes, world),
        "ZeroRedundancyOptimizer": lambda probes: zero_way(probes, world, buckets=False),
        "ZeroRedundancyOptimizer, parameters_as_bucket_view": lambda probes: zero_way(probes, world, buckets=True),
        "FSDP2": lambda probes: fsdp_way(probes, world),
    }
    rows: dict[str, Any] = {}
    for name, make in ways.items():
        step = make(models(count))
        step()
        distributed.barrier()
        messages, began = Messages(), time.perf_counter()
        with messages:
            step()
        rows[name] = {
            "messages": sum(messages.calls.values()),
            "calls": messages.calls,
            "bytes": messages.bytes,
            "seconds": round(time.perf_counter() - began, 2),
        }
    if rank == 0:
        results.put(rows)
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    """Run both processes and print what the first one counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=80)
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=work, args=(rank, port, options.models, results)) for rank in range(PROCESSES)]
    for process in processes:
        process.start()
    rows = results.get()
    for process in processes:
        process.join()
    own = list(models(1)[0].parameters())
    document = {
        "models": options.models,
        "tensors_per_model": len(own),
        "processes": PROCESSES,
        "bytes_of_weights": 4 * options.models * sum(parameter.numel() for parameter in own),
        "largest_share_of_8": {
            "gazetools": round(largest_share(options.models, together=True), 3),
            "ZeroRedundancyOptimizer": round(largest_share(options.models, together=False), 3),
        },
        "ways": rows,
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
