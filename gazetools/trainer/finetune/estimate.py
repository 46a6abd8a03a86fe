"""What a training will take, measured on a few of its heads before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from gazetools.schemas.finetune import FinetuneConfig
from gazetools.trainer.finetune.batches import BatchMaker
from gazetools.trainer.finetune.gaze_network import GazeNetwork
from gazetools.trainer.finetune.labelled import LabelledHead
from gazetools.trainer.finetune.learner import GazeLearner, StepPlace
from gazetools.trainer.measure.peak_memory import forget_peak, peak_bytes
from gazetools.trainer.plan.checks import available_memory
from gazetools.trainer.processes.world import World

_FEW = 4


def estimated_cost(
    config: FinetuneConfig, network: GazeNetwork, heads: Sequence[LabelledHead], device: torch.device, *, processes: int
) -> dict[str, Any]:
    """Time and memory of a step, and time of all steps, from steps of one and of a few heads.

    They change the network's weights in memory. Figures are those of this machine at this moment; kept features make a
    training faster than it says. Raises VideoError for a picture that can't be read.
    """
    learner = GazeLearner(network, config.learning, device=device, world=World(), seed=config.seed)
    maker = BatchMaker(heads, network, config.augment, seed=config.seed, teacher=learner.teacher)
    own = -(-min(config.learning.batch_size, len(heads)) // processes)
    part = -(-own // config.learning.parts)
    few = min(_FEW, part)
    network.train()
    began = time.perf_counter()
    batches = {count: maker.make(range(count), 0) for count in dict.fromkeys((1, few))}
    reading = (time.perf_counter() - began) / sum(batches)
    place = StepPlace(epoch=0, step_in_epoch=0, step=0, steps=1, epochs=config.learning.epochs)
    learner.step([batches[1]], place)  # allocates the optimizer's moments
    seconds, memory = {}, {}
    for count, batch in batches.items():
        forget_peak(device)
        began = time.perf_counter()
        learner.step([batch], place)
        seconds[count], memory[count] = time.perf_counter() - began, peak_bytes(device)
    others = max(few - 1, 1)
    per_head = (seconds[few] - seconds[1]) / others if few > 1 else seconds[1]
    growth = max(memory[few] - memory[1], 0) // others
    step = seconds[1] + max(per_head, 0.0) * (own - 1)
    # Workers read while the processes compute; without any, both add up.
    loading = reading * own / max(config.data.workers, 1)
    step = step + loading if config.data.workers == 0 else max(step, loading)
    steps = config.learning.epochs * -(-len(heads) // config.learning.batch_size)
    needed = memory[1] + growth * (part - 1)
    return {
        "seconds_per_step": step,
        "reading_seconds_per_head": reading,
        "seconds_per_training": step * steps,
        "memory_bytes": needed,
        "fits": needed <= available_memory(device),
        "measured_heads": few,
        "processes": processes,
    }
