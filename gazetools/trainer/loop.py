"""The training and validation loop: every clip is decoded and encoded once, then every arm learns from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gazetools.progress import Progress
from gazetools.schemas.errors import DataFileError, FaultError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.arms.learner import Learner, Trunk
from gazetools.trainer.arms.sources import sources_of
from gazetools.trainer.data.clips import Batch, ClipDataset, Unreadable
from gazetools.trainer.data.order import epoch_order
from gazetools.trainer.distributed.world import World, add_trees
from gazetools.trainer.encoding import encode_batch, encode_future
from gazetools.trainer.feed import load, training_steps, validation_batches
from gazetools.trainer.interruption import Interruption
from gazetools.trainer.metrics import MetricSet
from gazetools.trainer.predictions import PredictionLog

_VALIDATION_EPOCH = 2**31  # an order that no training epoch has


@dataclass(kw_only=True)
class Position:
    """Where a run stands; all of it is saved."""

    epoch: int = 0
    step_in_epoch: int = 0
    global_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per finished epoch."""
    final: dict[str, Any] | None = None
    """What the chosen weights gave at the end of the run."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One pass over a split."""

    values: dict[str, dict[str, float]]
    """Learner -> metrics."""
    counts: dict[str, int]
    """Of the data: unreadable clips, missing heatmaps and the like."""
    logs: dict[str, list[PredictionLog]]
    """Learner -> predictions, one entry per process; on the leading process, and only where asked for."""


class Loop:
    """The trunks and learners of a run and their data.

    Args:
        trunks: share one encoder.
        save: saves the state; called in every process, between steps and before a fault is raised.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        trunks: Sequence[Trunk],
        train_set: ClipDataset,
        device: torch.device,
        progress: Progress,
        interruption: Interruption,
        world: World,
        save: Callable[[], object] = lambda: None,
    ) -> None:
        self.config = config
        self.trunks = list(trunks)
        self.learners = [learner for trunk in trunks for learner in trunk.learners]
        self.train_set = train_set
        self.device = device
        self.progress = progress
        self.interruption = interruption
        self.world = world
        self.save = save
        self.position = Position()
        self.counts: dict[str, int] = {}
        self.steps_per_epoch = math.ceil(len(train_set) / (self._clips_per_step() * world.size))
        for trunk in self.trunks:
            trunk.wrapper.to(device)
            for learner in trunk.learners:
                learner.probe.to(device)

    def _clips_per_step(self) -> int:
        settings = self.config.experiment.optimization
        return settings.batch_size * settings.accumulation_steps

    def train_epoch(self) -> bool:
        """Train the rest of the position's epoch; False where a signal stopped it (the state is then consistent)."""
        position, settings = self.position, self.config.experiment.optimization
        if position.step_in_epoch == 0:
            self.counts = {}
            for learner in self.learners:
                learner.start_epoch()
        self.train_set.epoch = position.epoch
        steps = training_steps(
            epoch_order(len(self.train_set), seed=self.config.seed, epoch=position.epoch),
            batch_size=settings.batch_size,
            accumulation=settings.accumulation_steps,
            world=self.world,
            skip_steps=position.step_in_epoch,
        )
        task = f"epoch {position.epoch + 1}/{settings.num_epochs} train"
        self.progress.start(task, self.steps_per_epoch, unit="steps")
        self.progress.advance(task, position.step_in_epoch)
        batches = self._load(self.train_set, [batch for step in steps for batch in step])
        try:
            if self._stop_requested():
                return False
            for _ in steps:
                self._train_step([next(batches) for _ in range(settings.accumulation_steps)])
                self.progress.advance(task)
                self._tell(task)
                if self._stop_requested():
                    return False
                if position.step_in_epoch % self.config.checkpoint_every == 0 and self._within_epoch():
                    self.save()
        finally:
            self.progress.finish(task)
        return True

    def _within_epoch(self) -> bool:
        return self.position.step_in_epoch < self.steps_per_epoch

    def _train_step(self, batches: Sequence[Batch]) -> None:
        """One optimizer step of every learner; stops before it where its numbers are not finite."""
        position, step = self.position, self.position.global_step + 1
        for batch in batches:
            self._count(batch, self.counts)
        total = int(self.world.sum([self.counts.get("unreadable", 0)])[0])
        self._check_unreadable(total, [clip for batch in batches for clip in batch.unreadable])
        own_clips = [clip for batch in batches for clip in batch.clips]
        clips = int(self.world.sum([len(own_clips)])[0])
        if clips:
            alive = [learner for learner in self.learners if learner.failed is None]
            for learner in alive:
                learner.start_step(step)
            try:
                for batch in batches:
                    self._learn(batch)
            except torch.OutOfMemoryError as error:
                raise FaultError(
                    f"Out of memory in step {step} with batches of {len(batches[0].clips)} clips: {str(error)[:200]}",
                    hint="Halve experiment.optimization.batch_size and double accumulation_steps (the same gradient), "
                    "or set use_activation_checkpointing under pretrain_kwargs.predictor, dtype: bfloat16 under "
                    "encoder, or fewer arms.",
                ) from error
            for learner in alive:
                trouble = learner.end_step(self.world, clips)
                if trouble is not None:
                    self._drop(learner, trouble, own_clips)
        # A step without readable clips counts, so that schedules and order stay the same.
        position.global_step += 1
        position.step_in_epoch += 1

    def _learn(self, batch: Batch) -> None:
        if not batch.clips:
            return
        tokens, sources, labels = self._encoded(batch, self.train_set)
        with self._autocast():
            future = encode_future(self.trunks[0].wrapper, batch, self.device)
            for trunk in self.trunks:
                if not trunk.alive:
                    continue
                # Steps are computed from float64 times on the CPU, without waiting for the device.
                context = trunk.context(tokens, batch.anticipation_seconds, sources, training=True)
                jepa = trunk.jepa(context, future)
                for learner in trunk.alive:
                    learner.learn(context, labels, jepa)

    def _drop(self, learner: Learner, trouble: str, clips: list[int]) -> None:
        """Take a learner out of the run by name; the run ends where it was the last."""
        where = f"at step {self.position.global_step + 1} (epoch {self.position.epoch + 1}, clips {clips})"
        hint = "Lower experiment.optimization.multihead_kwargs.*.lr, or look at these clips."
        if sum(other.failed is None for other in self.learners) > 1:
            learner.failed = f"{trouble} {where}: not finite"
            self.progress.say(f"DROPPED {learner.name}: {learner.failed}. The others go on. {hint}")
            return
        self.save()
        raise FaultError(
            f"{learner.name}: {trouble} {where}: not finite. Stopped before the weights changed; the state before "
            "this step is saved.",
            hint=hint,
            clips=clips,
        )

    def validate(self, dataset: ClipDataset, *, log: bool = False) -> Measured | None:
        """Every learner's metrics over every clip of `dataset` exactly once; None where a signal stopped it."""
        settings = self.config.experiment
        order = epoch_order(len(dataset), seed=self.config.seed, epoch=_VALIDATION_EPOCH)
        chosen = validation_batches(order, batch_size=settings.optimization.batch_size, world=self.world)
        task = f"epoch {self.position.epoch + 1} {dataset.split.name} ({dataset.split.anchor.name})"
        metrics = {learner.name: MetricSet(learner.num_classes) for learner in self.learners if not learner.failed}
        logs = {name: PredictionLog(top=settings.evaluation.save_top) for name in metrics} if log else {}
        counts: dict[str, int] = {}
        unreadable: list[Unreadable] = []
        self.progress.start(task, len(chosen), unit="steps")
        try:
            with torch.no_grad():
                for batch in self._load(dataset, chosen):
                    self._count(batch, counts)
                    unreadable += batch.unreadable
                    if batch.clips:
                        self._judge(batch, dataset, metrics, logs)
                    self.progress.advance(task)
                    if self.world.size == 1 and self.interruption.requested():
                        return None
        finally:
            self.progress.finish(task)
        if self._stop_requested():
            return None
        parts = self.world.gather({name: m.state() for name, m in metrics.items()} | {"": counts})
        counts = add_trees([part.pop("") for part in parts])
        self._check_unreadable(counts.get("unreadable", 0), unreadable)
        for name, metric in metrics.items():
            metric.restore(add_trees([part[name] for part in parts]))
        gathered = self.world.gather(logs)
        return Measured(
            values={name: metric.values() for name, metric in metrics.items()},
            counts=counts,
            logs={name: [part[name] for part in gathered] for name in logs},
        )

    def _judge(
        self,
        batch: Batch,
        dataset: ClipDataset,
        metrics: Mapping[str, MetricSet],
        logs: Mapping[str, PredictionLog],
    ) -> None:
        tokens, sources, labels = self._encoded(batch, dataset)
        with self._autocast():
            for trunk in self.trunks:
                if not trunk.alive:
                    continue
                context = trunk.context(tokens, batch.anticipation_seconds, sources, training=False)
                for learner in trunk.alive:
                    learner.probe.eval()
                    logits, loss = learner.judge(context, labels)
                    metrics[learner.name].update(float(loss), logits, labels)
                    if logs:
                        logs[learner.name].add(batch.clips, logits, labels)

    def _encoded(self, batch: Batch, dataset: ClipDataset) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The one encoder pass of a batch, and what the arms need beside it, on the device."""
        with self._autocast():
            tokens = encode_batch(self.trunks[0].wrapper, batch, self.device, dataset.features)
        wanted = any(trunk.wrapper.takes_heatmap for trunk in self.trunks)
        sources = {n: m.to(self.device, non_blocking=True) for n, m in sources_of(batch).items()} if wanted else {}
        labels = {task: values.to(self.device) for task, values in batch.labels.items()}
        return tokens, sources, labels

    def _autocast(self) -> torch.autocast:
        enabled = self.config.experiment.optimization.use_bfloat16 and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _load(self, dataset: ClipDataset, chosen: list[list[int]]) -> Any:
        data = self.config.experiment.data
        return load(dataset, chosen, workers=data.num_workers, seed=self.config.seed)

    def _stop_requested(self) -> bool:
        return self.world.any(self.interruption.requested())

    def _tell(self, task: str) -> None:
        step = self.position.step_in_epoch
        if step % self.config.log_every == 0:
            losses = {x.name: x.step_losses[-1] for x in self.learners if x.step_losses and x.failed is None}
            shown = ", ".join(f"{n} {v:.4f}" if len(self.learners) > 1 else f"{v:.4f}" for n, v in losses.items())
            if shown:
                self.progress.say(f"{task}: step {step} loss {shown}")

    def _count(self, batch: Batch, counts: dict[str, int]) -> None:
        self._add(counts, {**batch.counts, "unreadable": len(batch.unreadable)})
        for clip in batch.unreadable:
            self.progress.say(f"Unreadable clip: video {clip.video_id!r}, CSV line {clip.row}: {clip.reason}")

    @staticmethod
    def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
        for name, value in more.items():
            counts[name] = counts.get(name, 0) + value

    def _check_unreadable(self, total: int, own: Sequence[Unreadable]) -> None:
        """Stop, in every process, where more clips than allowed could not be read."""
        allowed = self.config.experiment.data.max_unreadable_clips
        if total <= allowed:
            return
        found = [clip for part in self.world.gather(list(own)) for clip in part]
        last = found[-1] if found else None
        which = f"; the last: video {last.video_id!r}, CSV line {last.row}: {last.reason}" if last else ""
        self.save()
        raise DataFileError(
            f"{total} clip(s) could not be read, {allowed} allowed{which}",
            hint="Repair the file, or raise experiment.data.max_unreadable_clips.",
        )

    def state(self) -> dict[str, Any] | None:
        """Plain values and tensors: everything that a resumed run needs to go on exactly; None but in the leader.

        Every process must call it.
        """
        own = {
            "rng": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "dropout": {trunk.name: trunk.generator.get_state() for trunk in self.trunks},
            "metrics": {learner.name: learner.metrics.state() for learner in self.learners},
            "counts": self.counts,
        }
        parts = self.world.gather(own)
        if not self.world.leads:
            return None
        learners = {learner.name: learner.state() for learner in self.learners}
        for name, metrics in add_trees([part.pop("metrics") for part in parts]).items():
            learners[name]["metrics"] = metrics
        return {
            "predictors": {trunk.name: trunk.predictor_weights() for trunk in self.trunks},
            "learners": learners,
            "position": vars(self.position).copy(),
            "counts": add_trees([part.pop("counts") for part in parts]),
            "processes": parts,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`, in every process."""
        for trunk in self.trunks:
            trunk.load_predictor(state["predictors"][trunk.name])
        for learner in self.learners:
            learner.restore(state["learners"][learner.name], leads=self.world.leads)
        self.position = Position(**state["position"])
        self.counts = dict(state["counts"]) if self.world.leads else {}
        own = state["processes"][self.world.rank]
        torch.set_rng_state(own["rng"])
        if own["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], self.device)
        for trunk in self.trunks:
            trunk.generator.set_state(own["dropout"][trunk.name])
