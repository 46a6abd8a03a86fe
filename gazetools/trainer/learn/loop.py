"""The training loop: every clip is decoded and encoded once, then every arm learns from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from gazetools.trainer.learn.feed import Loaders, count_batch, explained_out_of_memory, training_steps
from gazetools.trainer.learn.forward import Forward, encode_future
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.schedules import steps_per_epoch
from gazetools.trainer.learn.trunk import Trunk
from gazetools.trainer.learn.unread import Unread
from gazetools.trainer.learn.window import StepStart, Trouble, Window
from gazetools.trainer.processes.exchange import agree, send_tensors, sum_tensors
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
    saved: Callable[[], object] = lambda: None  # waits until what was saved is on the disk, and raises its error
    save_failed: Callable[[], bool] = lambda: False  # whether `saved` would raise an error here, without waiting
    stepped: Callable[[], object] = lambda: None  # called in every process after every step

    def __post_init__(self) -> None:
        self.learners = [learner for trunk in self.trunks for learner in trunk.learners]
        self.position = Position()
        self.counts: dict[str, int] = {}
        self.window = Window()
        self.loaders = Loaders(self.config, self.device)
        self._stops = False
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
        batches = self.loaders.load(self.train_set, [batch for step in steps for batch in step])
        try:
            if self.stop_requested():
                return False
            for _ in steps:
                self._train_step([next(batches) for _ in range(settings.accumulation_steps)])
                self.progress.advance(task)
                step, last = position.step_in_epoch, position.step_in_epoch == self.steps_per_epoch
                stops = self._stops or (self.world.size == 1 and self.interruption.requested())
                if stops or last or position.global_step % self.config.log_every == 0:
                    self.read_numbers()
                    self._say_losses(task)
                self.stepped()
                if stops:
                    return False
                if step % self.config.checkpoint_every == 0 and not last:
                    self.save()
        finally:
            self.progress.finish(task)
        return True

    def _train_step(self, batches: Sequence[Batch]) -> None:
        """Take one optimizer step with every learner that was not dropped.

        Processes exchange one message of numbers, and buckets of gradients. Nothing waits for the device: the numbers
        of a learner are read by `read_numbers`, and a step that is not finite changes no weights from then on.
        """
        position, step = self.position, self.position.global_step + 1
        start = self.window.begin(vars(position), self.counts, self.trunks)
        for batch in batches:
            count_batch(batch, self.counts, self.progress.say)
        start.clips = [clip for batch in batches for clip in batch.clips]
        alive = [learner for learner in self.learners if learner.learns]
        parameters = [p for learner in alive for p in learner.parameters]
        for learner in alive:
            learner.start_step(step)
        own = [self.counts.get("unreadable", 0), len(start.clips), self.interruption.requested(), self.save_failed()]
        with explained_out_of_memory(f"in step {step}", len(batches[0].clips)):
            for batch in batches:
                self._learn(batch)
            agreed = agree(self.world, list(map(int, own)), parameters)
            unreadable, clips, stopping, broken = agreed.sums
            if broken:
                self.saved()
            if unreadable > self.config.experiment.data.max_unreadable_clips:
                self._return_to(self.window.leave())
                self.refuse_unreadable(unreadable, [clip for batch in batches for clip in batch.unreadable])
            if clips:
                trained = [p for p, there in zip(parameters, agreed.anywhere, strict=True) if there]
                start.unread = self._apply(alive, trained, clips)
            else:  # it counts, so that schedules and order stay the same
                start.skipped = alive
        position.global_step += 1
        position.step_in_epoch += 1
        self._stops = stopping > 0 and self.world.size > 1

    def _apply(
        self, alive: Sequence[Learner], trained: Sequence[torch.nn.Parameter], clips: int
    ) -> list[tuple[Learner, Unread]]:
        """Sum losses and gradients over processes, step every learner, and send weights that only their owner has."""
        losses: Sequence[torch.Tensor | None] = [None] * len(alive)
        if self.world.size > 1:
            for parameter in trained:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            # Losses travel with the gradients: a message of their own would be one more.
            summed = torch.stack([learner.step_loss(self.device) for learner in alive]).float()
            sum_tensors(self.world, [summed, *(p.grad for p in trained if p.grad is not None)])
            losses = list(summed)
        unread = [(learner, learner.end_step(clips, loss)) for learner, loss in zip(alive, losses, strict=True)]
        owned: list[list[torch.Tensor]] = [[] for _ in range(self.world.size)]
        for learner in alive:
            for parameter, owner in zip(learner.parameters, learner.shard.ranks or [], strict=False):
                if parameter.grad is not None:
                    owned[owner].append(parameter.data)
        send_tensors(self.world, owned)
        for learner in alive:
            learner.update_average()
        return unread

    def _return_to(self, start: StepStart) -> None:
        """Be where a step began; weights are not touched."""
        self.position.global_step, self.position.step_in_epoch = start.global_step, start.step_in_epoch
        self.counts = start.counts
        start.restore_dropout(self.trunks)

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
                made = trunk.anticipate(seen.tokens, batch.anticipation_seconds, seen.sources, training=True)
                jepa = trunk.jepa(made, seen.tokens, future)
                for learner in trunk.learning:
                    learner.learn(made.tokens, seen.labels, jepa)

    def read_numbers(self) -> None:
        """Read what steps left on the device, waiting for it once, and drop learners whose numbers are not finite.

        Raises FaultError where no learner is left; the run is then where the failed step began.
        """
        for trouble in self.window.read():
            self._drop(trouble)

    def _drop(self, trouble: Trouble) -> None:
        step, clips = trouble.start.global_step + 1, trouble.start.clips
        where = f"at step {step} (epoch {self.position.epoch + 1}, clips {clips})"
        if sum(learner.failed is None for learner in self.learners) == 1:
            self._return_to(trouble.start)  # its weights have not changed since
        state = "Stopped before the weights changed; the state before this step is saved."
        hint = f"{_LOWER_RATE}, or look at these clips."
        self.drop(trouble.learner, f"{trouble.text} {where}: not finite", state=state, hint=hint, clips=clips)

    def drop(
        self, learner: Learner, trouble: str, *, state: str, hint: str = f"{_LOWER_RATE}.", **details: object
    ) -> None:
        """Take a learner out of the run. Raises FaultError where it is the last one; `state` says what is left then."""
        if sum(other.failed is None for other in self.learners) > 1:
            learner.failed = trouble
            self.progress.say(f"DROPPED {learner.name}: {learner.failed}. The others go on. {hint}")
            return
        self.save()
        self.saved()
        raise FaultError(f"{learner.name}: {trouble}. {state}", hint=hint, **details)

    def refuse_unreadable(self, total: int, own: Sequence[Unreadable]) -> None:
        """In every process save and raise DataFileError where `total`, over all processes, is more than allowed."""
        allowed = self.config.experiment.data.max_unreadable_clips
        if total > allowed:
            found = [clip for part in self.world.gather(list(own)) for clip in part]
            last = found[-1] if found else None
            which = f"; the last: video {last.video_id!r}, CSV line {last.row}: {last.reason}" if last else ""
            self.save()
            self.saved()
            raise DataFileError(
                f"{total} clip(s) could not be read, {allowed} allowed{which}",
                hint="Repair the file, or raise experiment.data.max_unreadable_clips.",
            )

    def stop_requested(self) -> bool:
        """Whether a signal came to any process. Every process must call it."""
        return self.world.any(self.interruption.requested())

    def _say_losses(self, task: str) -> None:
        step = self.position.step_in_epoch
        if self.position.global_step % self.config.log_every == 0:
            last = {x.name: x.step_losses[-1] for x in self.learners if x.step_losses and x.learns}
            losses = {name: loss for name, loss in last.items() if loss is not None}
            shown = ", ".join(f"{n} {v:.4f}" if len(self.learners) > 1 else f"{v:.4f}" for n, v in losses.items())
            if shown:
                self.progress.say(f"{task}: step {step} loss {shown}")

    @property
    def over(self) -> bool:
        """Whether nothing is left to train: all epochs are done, or every model has ended early."""
        epochs = self.config.experiment.optimization.num_epochs
        return self.position.epoch >= epochs or not any(learner.learns for learner in self.learners)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs; of processes that do not lead, weights and optimizers alone.

        Every process must call it.
        """
        self.read_numbers()
        own = {
            "rng": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "dropout": {trunk.name: trunk.generator.get_state() for trunk in self.trunks},
            "metrics": {learner.name: learner.metrics.state() for learner in self.learners},
            "counts": self.counts,
        }
        parts = self.world.gather(own)
        with shown((learner.average for learner in self.learners), average=False):
            learners = {learner.name: learner.state() for learner in self.learners}
            predictors = {trunk.name: trunk.predictor_weights() for trunk in self.trunks}
        for name, metrics in add_trees([part.pop("metrics") for part in parts]).items():
            learners[name]["metrics"] = metrics if self.world.leads else None
        if not self.world.leads:
            return {"predictors": predictors, "learners": learners}
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
        parts = state["processes"]
        if self.world.rank >= len(parts):  # there were fewer processes: this one draws by its own seed
            return
        own = parts[self.world.rank]
        torch.set_rng_state(own["rng"])
        if own["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], self.device)
        for trunk in self.trunks:
            trunk.generator.set_state(own["dropout"][trunk.name])
