"""Time and memory of a training step, measured on synthetic clips before a run begins, and what a study can find."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gazetools.metrics.verdicts import Planning
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.data.batch import SHUFFLED, Batch
from gazetools.trainer.learn.forward import Forward, encode_future
from gazetools.trainer.learn.learner import Trunk, build_trunks
from gazetools.trainer.learn.schedules import steps_per_epoch
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.checks import future_frame_count
from gazetools.trainer.plan.arms import shuffled_source
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.processes.world import World

_PLANNED_TRAININGS = (3, 5, 8)


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What one optimizer step costs in this process, decoding and loading apart."""

    seconds: float
    memory_bytes: int  # weights, optimizer and activations together: allocated on CUDA, of the whole process on the CPU
    clips: int
    measured_clips: int  # fewer on the CPU, where the rest is extrapolated
    seconds_per_training: float  # all steps of all epochs in so many processes, without measuring
    steps: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure_step(plan: RunPlan, *, processes: int) -> StepCost:
    """Run single optimizer steps on random clips with random weights of the run's sizes.

    On the CPU steps of one and two clips are measured; time and memory grow with the clips from there.
    """
    config = _with_random_weights(plan.config)
    optimization = config.experiment.optimization
    clips = optimization.batch_size * optimization.accumulation_steps
    shared = load_pretrained(config)
    trunks = build_trunks(
        [*plan.learners], shared, plan.data.labels.counts, len(plan.data.train.clips), world=World(),
        class_counts=plan.data.class_counts(),
    )  # fmt: skip
    for trunk in trunks:
        trunk.wrapper.to(plan.device)
        for learner in trunk.learners:
            learner.probe.to(plan.device)
    forward = Forward(config, trunks, plan.device)
    on_cuda = plan.device.type == "cuda"
    measured = optimization.batch_size if on_cuda else min(2, optimization.batch_size)
    _step(plan, trunks, forward, 1)  # allocates, and compiles what is compiled at first use
    one, memory = _step(plan, trunks, forward, 1), _peak_bytes(plan.device)
    most = _step(plan, trunks, forward, measured) if measured > 1 else one
    more = (_peak_bytes(plan.device) - memory) / max(measured - 1, 1)
    per_clip = (most - one) / (measured - 1) if measured > 1 else one
    seconds = max(one + (clips - 1) * max(per_clip, 0.0), most)
    steps = optimization.num_epochs * steps_per_epoch(config, len(plan.data.train.clips), processes)
    return StepCost(
        seconds=seconds,
        memory_bytes=int(memory + (optimization.batch_size - 1) * more),
        clips=clips,
        measured_clips=measured,
        seconds_per_training=seconds * steps,
        steps=steps,
    )


def _peak_bytes(device: torch.device) -> int:
    """The most memory that was in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _with_random_weights(config: TrainingConfig) -> TrainingConfig:
    """The config without a checkpoint: its size decides about time and memory, reading it would take longer."""
    return config.model_copy(
        update={"model_kwargs": config.model_kwargs.model_copy(update={"checkpoint": RANDOM_WEIGHTS})}
    )


def _step(plan: RunPlan, trunks: list[Trunk], forward: Forward, clips: int) -> float:
    """Seconds of one step of all learners on `clips` random clips."""
    batch = _random_batch(plan, clips)
    dataset = plan.dataset(plan.data.train, training=True)
    began = time.perf_counter()
    for trunk in trunks:
        for learner in trunk.learners:
            learner.start_step(1)
    seen = forward.encode(batch, dataset)
    with forward.autocast():
        future = encode_future(trunks[0].wrapper, batch, plan.device)
        for trunk in trunks:
            context = trunk.context(seen.tokens, batch.anticipation_seconds, seen.sources, training=True)
            jepa = trunk.jepa(context, future)
            for learner in trunk.learners:
                learner.learn(context, seen.labels, jepa)
    for trunk in trunks:
        for learner in trunk.learners:
            learner.end_step(World(), clips)
    if plan.device.type == "cuda":
        torch.cuda.synchronize(plan.device)
    return time.perf_counter() - began


def _random_batch(plan: RunPlan, clips: int) -> Batch:
    data = plan.config.experiment.data
    side = data.heatmap_resolution or data.resolution
    random = torch.Generator().manual_seed(0)
    names = {spec.source for spec in plan.learners if spec.source is not None}
    names |= {f"{SHUFFLED}{source}" for spec in plan.learners if (source := shuffled_source(spec)) is not None}
    shape = (clips, 3, data.frames_per_clip, data.resolution, data.resolution)
    losses = plan.config.experiment.optimization.losses
    wants_future = losses.jepa > 0 and future_frame_count(plan.config) > 0
    return Batch(
        clips=list(range(clips)),
        video=torch.randn(shape, generator=random),
        anticipation_seconds=torch.full((clips,), data.anticipation_time_sec[0], dtype=torch.float64),
        labels={task: torch.zeros(clips, dtype=torch.int64) for task in plan.data.labels.counts},
        counts={},
        heatmaps={name: torch.rand((clips, data.frames_per_clip, side, side), generator=random) for name in names},
        future=torch.randn(shape, generator=random) if wants_future else None,
        future_known=torch.ones(clips, dtype=torch.bool) if wants_future else None,
    )


def study_table(cost: StepCost, *, clusters: int) -> list[dict[str, Any]]:
    """Per number of trainings its steps' seconds and the gain that is found with a power of 80 %.

    The gain is in units of the standard deviation of the paired difference between trainings, which only a study can
    tell, and supposes that people differ little; docs/statistics.md has the whole table.
    """
    rows = []
    for trainings in _PLANNED_TRAININGS:
        seconds = trainings * cost.seconds_per_training
        rows.append({"trainings": trainings, "seconds": seconds, "gain_in_seed_sd": _found_gain(trainings, clusters)})
    return rows


def _found_gain(trainings: int, clusters: int) -> float:
    """Smallest gain in seed sds that so many trainings find with a power of 80 %, by bisection."""
    low, high = 0.0, 64.0
    for _ in range(30):
        gain = (low + high) / 2
        planning = Planning(gain=gain, seed_sd=1.0, var_clusters=0.0, df_clusters=max(1.0, clusters - 1.0))
        low, high = (low, gain) if planning.power(trainings) >= 0.8 else (gain, high)
    return round(high, 2)
