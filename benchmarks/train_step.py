"""Cost of one training step: seconds, throughput, share of the device's peak arithmetic, peak memory.

    python benchmarks/train_step.py [--config configs/eval/vitg-384/ek100-heatmap.yaml] [--batch-size 2] [--steps 10]
                                    [--peak-tflops 989] [key.path=value ...]

The encoder, predictor and probe of the config train with random weights on random clips in page-locked memory; decoding
is not measured. Operations are counted by gazetools.trainer.plan.describe: the forward pass of all parts, and the
backward pass of the trained parts (twice the forward pass; once for parts through which gradients only pass). `mfu` is
their share of --peak-tflops, the device's figure (989: bfloat16 of an H100 or H200, dense). Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from gazetools.progress import NoProgress
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.batch import Batch
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.trunk import build_trunks
from gazetools.trainer.models.build import load_pretrained, trained_part
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.checks import choose_device
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.describe import describe_model
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.world import World

EK100 = {"verb": 97, "noun": 300, "action": 3806}
WARM_UP = 3
PASSES = {"probe": 1, "heatmap": 2, "predictor": 3, "all_but_encoder": 3}
"""Trained part -> operations of the predictor in a step, as a multiple of its forward pass."""


class Nothing:
    """A training set of which only the length is used."""

    features = None
    epoch = 0

    def __len__(self) -> int:
        return 10_000


def random_batch(config: TrainingConfig, device: torch.device) -> Batch:
    """A batch of random clips, as the loader returns it."""
    data, count = config.experiment.data, config.experiment.optimization.batch_size
    side = data.heatmap_resolution or data.resolution
    maps = torch.rand(count, data.frames_per_clip, side, side)
    batch = Batch(
        clips=list(range(count)),
        video=torch.randn(count, 3, data.frames_per_clip, data.resolution, data.resolution),
        heatmaps={"heatmap": maps},
        anticipation_seconds=torch.ones(count, dtype=torch.float64),
        labels={task: torch.randint(0, classes, (count,)) for task, classes in EK100.items()},
        counts={},
        unreadable=[],
        feature_keys=[None] * count,
        features=[None] * count,
    )
    return batch.pin_memory() if device.type == "cuda" else batch


def gflops(config: TrainingConfig, model: dict[str, Any]) -> float:
    """GFLOPs per clip in a training step of all models."""
    arms = model["arms"]
    total = float(model["forward_gflops_per_clip"]["encoder"])
    for spec in plan_learners(config):
        costs = arms[spec.arm]["forward_gflops_per_clip"]
        total += costs.get("predictor", 0) * PASSES[trained_part(spec.config)] + 3 * costs["probe"]
    return total


def measure(loop: Loop, batch: Batch, steps: int, device: torch.device) -> list[float]:
    """Seconds of every step after the first few."""
    seconds = []
    for step in range(WARM_UP + steps):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        loop._train_step([batch])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - began)
    loop.read_numbers()
    return seconds


def main() -> None:
    """Run the benchmark and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/eval/vitg-384/ek100-heatmap.yaml")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--peak-tflops", type=float, default=None)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    size = f"experiment.optimization.batch_size={options.batch_size}"
    config = load_config(options.config, ["model_kwargs.checkpoint=random", size, *options.overrides])
    device = choose_device(config)
    with torch.device(device):
        shared = load_pretrained(config)
    trunks = build_trunks(plan_learners(config), shared, EK100, len(Nothing()), world=World())
    loop = Loop(
        config=config, trunks=trunks, train_set=Nothing(), device=device,  # type: ignore[arg-type]
        progress=NoProgress(), interruption=Interruption(), world=World(),
    )  # fmt: skip
    seconds = statistics.median(measure(loop, random_batch(config, device), options.steps, device))
    model = describe_model(config, EK100)
    operations = gflops(config, model) * 1e9 * options.batch_size
    found: dict[str, Any] = {
        "config": options.config,
        "overrides": options.overrides,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": torch.__version__,
        "batch_size": options.batch_size,
        "seconds_per_step": seconds,
        "clips_per_second": options.batch_size / seconds,
        "tflops_per_step": operations / 1e12,
        "tflops_per_second": operations / 1e12 / seconds,
        "mfu": operations / 1e12 / seconds / options.peak_tflops if options.peak_tflops else None,
        "peak_memory_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
