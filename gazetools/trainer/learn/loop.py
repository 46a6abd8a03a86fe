"""The training loop: every clip is decoded and encoded once, then every arm learns from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gazetools.progress import Progress
from gazetools.schemas.errors import DataFileError, FaultError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.batch import Batch, Unreadable
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.order import epoch_order
from gazetools.trainer.learn.averaging import shown
from gazetools.trainer.learn.feed import count_batch, explained_out_of_memory, load, training_steps
from gazetools.trainer.learn.forward import Forward, encode_future
from gazetools.trainer.learn.learner import Learner, Trunk
from gazetools.trainer.learn.schedules import steps_per_epoch
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.world import World, add_trees

_LOWER_RATE = "Lower experiment.optimization.multihead_kwargs.*.lr"


@dataclass(kw_only=True)
class Position:
    """Progress of a run; all of it is saved."""

    epoch: int = 0
    step_in_epoch: int = 0
    global_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch
    final: dict[str, Any] | None = None  # measurements with the chosen weights at the end of the run


@dataclass(kw_only=True, eq=False, repr=False)
class Loop:
    """The trunks and learners of a run and their data."""

    config: TrainingConfig
    trunks: Sequence[Trunk]  # predictors that share one encoder, with their learners
    train_set: ClipDataset
    device: torch.device
    progress: Progress
    interruption: Interruption
    world: World
    save: Callable[[], object] = lambda: None  # called in every process, between steps and before a fault

    def __post_init__(self) -> None:
        self.learners = [learner for trunk in self.trunks for learner in trunk.learners]
        self.position = Position()
        self.counts: dict[str, int] = {}
        self.forward = Forward(self.config, self.trunks, self.device)
        self.steps_per_epoch = steps_per_epoch(self.config, len(self.train_set), self.world.size)
        for trunk in self.trunks:
            trunk.wrapper.to(self.device)
            for learner in trunk.learners:
                learner.probe.to(self.device)

    def train_epoch(self) -> bool:
        """Train the rest of the current epoch; False where a signal stopped it (the state is consistent then)."""
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
        batches = self.load(self.train_set, [batch for step in steps for batch in step])
        try:
            if self.stop_requested():
                return False
            for _ in steps:
                self._train_step([next(batches) for _ in range(settings.accumulation_steps)])
                self.progress.advance(task)
                self._say_losses(task)
                if self.stop_requested():
                    return False
                step = position.step_in_epoch
                if step % self.config.checkpoint_every == 0 and step < self.steps_per_epoch:
                    self.save()
        finally:
            self.progress.finish(task)
        return True

    def _train_step(self, batches: Sequence[Batch]) -> None:
        """Take one optimizer step with every learner; drop a learner whose numbers are not finite."""
        position, step = self.position, self.position.global_step + 1
        for batch in batches:
            count_batch(batch, self.counts, self.progress.say)
        total = int(self.world.sum([self.counts.get("unreadable", 0)])[0])
        self.refuse_unreadable(total, [clip for batch in batches for clip in batch.unreadable])
        own_clips = [clip for batch in batches for clip in batch.clips]
        clips = int(self.world.sum([len(own_clips)])[0])
        if clips:
            alive = [learner for learner in self.learners if learner.learns]
            for learner in alive:
                learner.start_step(step)
            with explained_out_of_memory(f"in step {step}", len(batches[0].clips)):
                for batch in batches:
                    self._learn(batch)
                troubles = [learner.end_step(self.world, clips) for learner in alive]
            for learner, trouble in zip(alive, troubles, strict=True):
                if trouble is not None:
                    self._drop(learner, trouble, own_clips)
        # A step without readable clips counts, so that schedules and order stay the same.
        position.global_step += 1
        position.step_in_epoch += 1

    def _learn(self, batch: Batch) -> None:
        if not batch.clips:
            return
        seen = self.forward.encode(batch, self.train_set)
        with self.forward.autocast():
            future = encode_future(self.trunks[0].wrapper, batch, self.device)
            for trunk in self.trunks:
                if not trunk.learning:
                    continue
                # Steps are computed from float64 times on the CPU, without waiting for the device.
                context = trunk.context(seen.tokens, batch.anticipation_seconds, seen.sources, training=True)
                jepa = trunk.jepa(context, future)
                for learner in trunk.learning:
                    learner.learn(context, seen.labels, jepa)

    def _drop(self, learner: Learner, trouble: str, clips: list[int]) -> None:
        where = f"at step {self.position.global_step + 1} (epoch {self.position.epoch + 1}, clips {clips})"
        state = "Stopped before the weights changed; the state before this step is saved."
        self.drop(
            learner,
            f"{trouble} {where}: not finite",
            state=state,
            hint=f"{_LOWER_RATE}, or look at these clips.",
            clips=clips,
        )

    def drop(
        self, learner: Learner, trouble: str, *, state: str, hint: str = f"{_LOWER_RATE}.", clips: Sequence[int] = ()
    ) -> None:
        """Take a learner out of the run. Raises FaultError where it is the last one; `state` says what is left then."""
        if sum(other.failed is None for other in self.learners) > 1:
            learner.failed = trouble
            self.progress.say(f"DROPPED {learner.name}: {learner.failed}. The others go on. {hint}")
            return
        self.save()
        raise FaultError(f"{learner.name}: {trouble}. {state}", hint=hint, clips=list(clips))

    def refuse_unreadable(self, total: int, own: Sequence[Unreadable]) -> None:
        """In every process save and raise DataFileError where `total`, over all processes, is more than allowed."""
        allowed = self.config.experiment.data.max_unreadable_clips
        if total > allowed:
            found = [clip for part in self.world.gather(list(own)) for clip in part]
            last = found[-1] if found else None
            which = f"; the last: video {last.video_id!r}, CSV line {last.row}: {last.reason}" if last else ""
            self.save()
            raise DataFileError(
                f"{total} clip(s) could not be read, {allowed} allowed{which}",
                hint="Repair the file, or raise experiment.data.max_unreadable_clips.",
            )

    def load(self, dataset: ClipDataset, chosen: list[list[int]]) -> Iterator[Batch]:
        """The batches `chosen` of a split, in order."""
        data = self.config.experiment.data
        pinned = data.pin_memory and self.device.type == "cuda"  # elsewhere there is nothing to copy to
        return load(dataset, chosen, workers=data.num_workers, seed=self.config.seed, pin_memory=pinned)

    def stop_requested(self) -> bool:
        """Whether a signal came to any process. Every process must call it."""
        return self.world.any(self.interruption.requested())

    def _say_losses(self, task: str) -> None:
        step = self.position.step_in_epoch
        if step % self.config.log_every == 0:
            losses = {x.name: x.step_losses[-1] for x in self.learners if x.step_losses and x.learns}
            shown = ", ".join(f"{n} {v:.4f}" if len(self.learners) > 1 else f"{v:.4f}" for n, v in losses.items())
            if shown:
                self.progress.say(f"{task}: step {step} loss {shown}")

    @property
    def over(self) -> bool:
        """Whether nothing is left to train: all epochs are done, or every model has ended early."""
        epochs = self.config.experiment.optimization.num_epochs
        return self.position.epoch >= epochs or not any(learner.learns for learner in self.learners)

    def state(self) -> dict[str, Any] | None:
        """All that a resumed run needs, for the leading process (others: None). Every process must call it."""
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
        with shown((learner.average for learner in self.learners), average=False):
            learners = {learner.name: learner.state() for learner in self.learners}
            predictors = {trunk.name: trunk.predictor_weights() for trunk in self.trunks}
        for name, metrics in add_trees([part.pop("metrics") for part in parts]).items():
            learners[name]["metrics"] = metrics
        return {
            "predictors": predictors,
            "learners": learners,
            "position": vars(self.position).copy(),
            "counts": add_trees([part.pop("counts") for part in parts]),
            "processes": parts,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned. Every process must call it."""
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
