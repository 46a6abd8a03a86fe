"""Time and memory of a training step, measured on synthetic clips before a run begins, and what a study can find."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gazetools.metrics.verdicts import Planning
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.schemas.training_data import TOKEN_SOURCE
from gazetools.trainer.data.batch import SHUFFLED, Batch
from gazetools.trainer.learn.feed import explained_out_of_memory
from gazetools.trainer.learn.forward import Forward, encode_future
from gazetools.trainer.learn.schedules import steps_per_epoch
from gazetools.trainer.learn.trunk import build_trunks
from gazetools.trainer.measure.peak_memory import forget_peak, peak_bytes
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.checks import future_frame_count
from gazetools.trainer.plan.arms import shuffled_source
from gazetools.trainer.plan.checks import available_memory
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.processes.world import World

_PLANNED_TRAININGS = (3, 5, 8)
_LARGEST_GAIN = 64.0
_LONG_SECONDS = 20.0
"""A first step that takes longer than this is not repeated."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What one optimizer step costs in this process, decoding and loading apart."""

    seconds: float
    encoder_seconds: float
    """Part of it in the frozen encoder, which clips with cached features need once."""
    memory_bytes: int
    """Weights, optimizer and activations together: allocated on CUDA, of the whole process on the CPU."""
    memory_bytes_per_clip: int
    """Growth with the batch: the activations of one more clip, before rounding of the allocator."""
    clips: int
    measured_clips: int
    """Fewer on the CPU, where the rest is extrapolated."""
    encoded_once: int
    """Training clips with views whose features are cached: each is encoded once for all epochs and trainings; 0: every
    step encodes its clips."""
    seconds_per_training: float
    """All steps of all epochs in so many processes, without measuring; of cached clips without the encoder."""
    steps: int
    fits: bool
    """Whether the memory is there."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure_step(plan: RunPlan, *, processes: int) -> StepCost:
    """Run single optimizer steps on random clips with random weights of the run's sizes.

    On the CPU steps of one and two clips are measured; time and memory grow with the clips from there. Where the first
    step alone takes long, as a large encoder on a CPU, it is the only one. Raises FaultError where memory runs out.
    """
    config = _with_random_weights(plan.config)
    optimization = config.experiment.optimization
    clips = optimization.batch_size * optimization.accumulation_steps
    bench = _Bench(plan, config)
    measured = optimization.batch_size if plan.device.type == "cuda" else min(2, optimization.batch_size)
    with explained_out_of_memory("in a step on random clips", measured):
        one, memory = bench.step(1)  # allocates, and compiles what is compiled at first use
        if sum(one) > _LONG_SECONDS:
            measured = 1
        else:
            one, memory = bench.step(1)
        most, more_memory = bench.step(measured) if measured > 1 else (one, memory)
    per_clip = [max(m - o, 0.0) / (measured - 1) if measured > 1 else o for o, m in zip(one, most, strict=True)]
    encoder, rest = (max(o + (clips - 1) * own, m) for o, m, own in zip(one, most, per_clip, strict=True))
    growth = max(more_memory - memory, 0) // max(measured - 1, 1)
    needed = memory + (optimization.batch_size - 1) * growth
    steps = optimization.num_epochs * steps_per_epoch(config, len(plan.data.train.clips), processes)
    once = _encoded_once(plan)
    return StepCost(
        seconds=encoder + rest,
        encoder_seconds=encoder,
        memory_bytes=needed,
        memory_bytes_per_clip=growth,
        clips=clips,
        measured_clips=measured,
        encoded_once=once,
        seconds_per_training=(rest if once else encoder + rest) * steps,
        steps=steps,
        fits=needed <= available_memory(plan.device),
    )


def _encoded_once(plan: RunPlan) -> int:
    """Number of training clips, views counted, that the encoder sees once for all epochs; 0 without a cache."""
    data = plan.config.experiment.data
    if data.feature_cache is None or not data.training_clips_repeat:
        return 0
    return len(plan.data.train.clips) * (data.train_views or 1)


def _with_random_weights(config: TrainingConfig) -> TrainingConfig:
    """The config without a checkpoint: its size decides about time and memory, reading it would take longer."""
    return config.model_copy(
        update={"model_kwargs": config.model_kwargs.model_copy(update={"checkpoint": RANDOM_WEIGHTS})}
    )


class _Bench:
    """The models of a run with random weights, and single steps of them."""

    def __init__(self, plan: RunPlan, config: TrainingConfig) -> None:
        self.plan = plan
        shared = load_pretrained(config)
        self.trunks = build_trunks(
            plan.learners, shared, plan.data.labels.counts, len(plan.data.train.clips),
            world=World(), class_counts=plan.data.class_counts(),
        )  # fmt: skip
        self.learners = [learner for trunk in self.trunks for learner in trunk.learners]
        for trunk in self.trunks:
            trunk.wrapper.to(plan.device)
        for learner in self.learners:
            learner.probe.to(plan.device)
        self.forward = Forward(config, self.trunks, plan.device)
        self.dataset = plan.dataset(plan.data.train, training=True)

    def step(self, clips: int) -> tuple[tuple[float, float], int]:
        """((seconds in the encoder, in the rest), peak of memory) of one step of all learners on random clips."""
        batch = _random_batch(self.plan, clips)
        forget_peak(self.plan.device)
        began = self._now()
        for learner in self.learners:
            learner.start_step(1)
        seen = self.forward.encode(batch, self.dataset)
        encoded = self._now()
        with self.forward.autocast():
            future = encode_future(self.trunks[0].wrapper, batch, self.plan.device)
            for trunk in self.trunks:
                made = trunk.anticipate(seen.tokens, batch.anticipation_seconds, seen.sources, training=True)
                jepa = trunk.jepa(made, seen.tokens, future)
                for learner in trunk.learners:
                    learner.learn(made.tokens, seen.labels, jepa)
        for learner in self.learners:
            learner.end_step(clips)
            learner.update_average()
        return (encoded - began, self._now() - encoded), peak_bytes(self.plan.device)

    def _now(self) -> float:
        if self.plan.device.type == "cuda":
            torch.cuda.synchronize(self.plan.device)
        return time.perf_counter()


def _random_batch(plan: RunPlan, clips: int) -> Batch:
    data = plan.config.experiment.data
    side = data.heatmap_resolution or data.resolution
    random = torch.Generator().manual_seed(0)
    names = {spec.source for spec in plan.learners if spec.source is not None}
    names |= {f"{SHUFFLED}{source}" for spec in plan.learners if (source := shuffled_source(spec)) is not None}
    tokens = next(
        (spec.config.experiment.data.gaze_tokens for spec in plan.learners if spec.source == TOKEN_SOURCE), None
    )

    def shape_of(name: str) -> tuple[int, int]:
        if tokens is None or tokens.size is None or name.removeprefix(SHUFFLED) != TOKEN_SOURCE:
            return side, side
        return tokens.size[0], tokens.size[0] * tokens.size[1]

    shape = (clips, 3, data.frames_per_clip, data.resolution, data.resolution)
    losses = plan.config.experiment.optimization.losses
    wants_future = losses.jepa > 0 and future_frame_count(plan.config) > 0
    return Batch(
        clips=list(range(clips)),
        video=torch.randn(shape, generator=random),
        anticipation_seconds=torch.full((clips,), data.anticipation_time_sec[0], dtype=torch.float64),
        labels={task: torch.zeros(clips, dtype=torch.int64) for task in plan.data.labels.counts},
        counts={},
        heatmaps={name: torch.rand((clips, data.frames_per_clip, *shape_of(name)), generator=random) for name in names},
        future=torch.randn(shape, generator=random) if wants_future else None,
        future_known=torch.ones(clips, dtype=torch.bool) if wants_future else None,
    )


def study_table(cost: StepCost, *, clusters: int) -> list[dict[str, Any]]:
    """Per number of trainings its steps' seconds and the gain that is found with a power of 80 %.

    Cached clips are encoded once for all trainings. The gain is in units of the standard deviation of the paired
    difference between trainings, which only a study can tell, and supposes that people differ little;
    docs/statistics.md has the whole table.
    """
    once = cost.encoded_once * cost.encoder_seconds / cost.clips
    rows = []
    for trainings in _PLANNED_TRAININGS:
        seconds = once + trainings * cost.seconds_per_training
        rows.append({"trainings": trainings, "seconds": seconds, "gain_in_seed_sd": _found_gain(trainings, clusters)})
    return rows


def _found_gain(trainings: int, clusters: int) -> float:
    """Smallest gain in seed sds that so many trainings find with a power of 80 %, by doubling and bisection.

    The search begins low: far above the gain the power's tail probabilities are no numbers any more.
    """

    def finds(gain: float) -> bool:
        planning = Planning(gain=gain, seed_sd=1.0, var_clusters=0.0, df_clusters=max(1.0, clusters - 1.0))
        return planning.power(trainings) >= 0.8

    high = 0.25
    while not finds(high) and high < _LARGEST_GAIN:
        high *= 2
    low = high / 2
    for _ in range(30):
        gain = (low + high) / 2
        low, high = (low, gain) if finds(gain) else (gain, high)
    return round(high, 2)
