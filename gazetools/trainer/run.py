"""`train`: everything is checked, wired and reported here; the work is done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.trainer.folder.checkpoints import FoundCheckpoint
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.records import write_metrics, write_steps
from gazetools.trainer.learn.build import build_trunks
from gazetools.trainer.learn.encoding import open_feature_cache
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.logs.tensorboard import TensorboardLog
from gazetools.trainer.logs.wandb import WandbLog
from gazetools.trainer.measure.final import (
    final_evaluation,
    flat_values,
    measure,
    note_best,
    split_key,
    training_values,
)
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.outcome import is_finished, result_of
from gazetools.trainer.plan.checks import notes_of
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.ignored import ignored_note
from gazetools.trainer.plan.settle import RunPlan, settle
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.launch import accept_warnings
from gazetools.trainer.processes.world import World, joined_world
from gazetools.trainer.result import TrainResult
from gazetools.trainer.resume import find_state, load_best, load_given_weights
from gazetools.trainer.saving import save_best_weights, save_state
from gazetools.trainer.talk import Talk

Logs = Sequence[WandbLog | TensorboardLog]


def train(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    resume: bool | None = None,
    dry_run: bool = False,
    processes: int | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train (or, with `val_only`, evaluate) what a config describes and write the run folder.

    Args:
        config: YAML file or mapping.
        overrides: `key.path=value` texts.
        resume: go on from the run folder's last checkpoint; None takes `resume_checkpoint` of the config.
        dry_run: check everything and describe the run without training or writing.
        processes: of a dry run: how many the run will have, by which its steps are counted; None: those there are.
        progress: bars and messages.

    Raises UsageError (2), EnvironmentLacksError (3) before any heavy work, FaultError (4) for a loss that is not
    finite or a full disk. SIGINT, SIGTERM and SIGUSR1 save the state and give a result with status `interrupted`.

    >>> train("configs/tiny.yaml", overrides=["experiment.optimization.num_epochs=1"]).status  # doctest: +SKIP
    'done'
    """
    settings = with_checkpoint_sizes(load_config(config, overrides))
    resume = settings.resume_checkpoint if resume is None else resume
    with Interruption() as interruption:
        plan = settle(settings, resume=resume, dry_run=dry_run)
        with joined_world(plan.device.type) as world:
            notes = [*notes_of(settings), *filter(None, [ignored_note(settings, plan.device)])]
            talk = Talk((progress or NoProgress()) if world.leads else NoProgress(), notes)
            talk.plan(plan)
            if dry_run:
                count = processes or world.size
                return result_of("dry_run", plan, None, checkpoint=None, notes=talk.notes, processes=count)
            interruption.arm()
            accept_warnings()
            found = None
            if resume and not settings.val_only:
                found = find_state(plan.checkpoints, settings, plan.data, processes=world.size, note=talk.note)
            return _Run(plan, talk, world, interruption).go(found)


class _Run:
    """The work of one call of train."""

    def __init__(self, plan: RunPlan, talk: Talk, world: World, interruption: Interruption) -> None:
        self.plan = plan
        self.talk = talk
        self.world = world
        self.loop = self._loop(interruption)
        self.checkpoint: str | None = None

    def go(self, found: FoundCheckpoint | None) -> TrainResult:
        """Begin where the last checkpoint ends, train or measure, and leave a result."""
        plan, config = self.plan, self.plan.config
        self._begin(found)
        if is_finished(plan, self.loop):
            return self._result("done")
        logs: list[WandbLog | TensorboardLog] = []
        if self.world.leads:
            write_json_atomic(RunFolder(plan.folder).config, plan.dumped_config())
            logs.append(WandbLog(config, plan.folder, self.talk.progress.say))
            logs.append(TensorboardLog(config, plan.folder, self.talk.progress.say))
        try:
            if config.val_only:
                return self._measure_only(logs)
            return self._measure_best(logs) if self._epochs(logs) else self._finish("interrupted")
        finally:
            for log in logs:
                log.finish()

    def _begin(self, found: FoundCheckpoint | None) -> None:
        """With the state that was found, with given weights, or anew."""
        plan, given = self.plan, self.plan.weights or self.plan.config.classifier_checkpoint
        if found is not None:
            self.loop.restore(found.state)
            found.state.clear()  # not needed any more, and as large as the run
            self.checkpoint = str(found.path)
            self.talk.note(f"Resumed from {found.path} at step {self.loop.position.global_step}.")
        elif given is not None:
            self.talk.note(load_given_weights(self.loop, Path(given), plan.config, plan.data))
        elif plan.config.resume_checkpoint:
            self.talk.note("Nothing to resume: starting anew.")

    def _loop(self, interruption: Interruption) -> Loop:
        plan, config = self.plan, self.plan.config
        shared = load_pretrained(config)
        self.talk.keep(shared.notes)
        self.features = open_feature_cache(config, shared.encoder, plan.device, self.world, note=self.talk.note)
        trunks = build_trunks(
            config, shared, plan.data.labels.counts, len(plan.data.train.clips), world=self.world
        )  # fmt: skip
        return Loop(
            config,
            trunks=trunks,
            train_set=plan.dataset(plan.data.train, training=True, features=self.features),
            device=plan.device,
            progress=self.talk.progress,
            interruption=interruption,
            world=self.world,
            save=self._save,
        )

    def _epochs(self, logs: Logs) -> bool:
        """Train and measure the epochs that are left; False where a signal came (the state is saved then)."""
        loop, position, folder = self.loop, self.loop.position, RunFolder(self.plan.folder)
        measured_sets = [
            self.plan.dataset(split, training=False, features=self.features) for split in self.plan.each_epoch
        ]
        while position.epoch < self.plan.config.experiment.optimization.num_epochs:
            trained = loop.train_epoch()
            if self.world.leads:
                losses = {learner.name: learner.step_losses for learner in loop.learners}
                write_steps(folder, position.epoch, position.global_step, losses)
            values = training_values(loop)
            measured = measure(loop, measured_sets) if trained else None
            if measured is None:
                self._save()
                return False
            entry: dict[str, Any] = {"epoch": position.epoch + 1, "step": position.global_step, **values, **measured}
            position.history.append(entry)
            save_best_weights(loop, self.plan, note_best(loop, entry, measured_sets[0]))
            position.epoch += 1
            position.step_in_epoch = 0
            self._save()
            if self.world.leads:
                write_metrics(folder, position.history)
            for log in logs:
                log.log(entry, position.global_step)
            self.talk.epoch(entry)
            self.talk.table(loop, entry, split_key(measured_sets[0]))
        return True

    def _measure_best(self, logs: Logs) -> TrainResult:
        """Every split once more with the chosen weights, clip by clip."""
        load_best(self.loop, self.plan.checkpoints)
        final = self._final()
        if final is None:
            return self._finish("interrupted")
        for log in logs:
            log.log(flat_values(self.loop, final, start="final_"), self.loop.position.global_step)
        return self._finish("done")

    def _measure_only(self, logs: Logs) -> TrainResult:
        """`val_only`: validation and the horizons with the weights that were given."""
        final, position = self._final(), self.loop.position
        if final is None:
            return self._finish("interrupted")
        entry: dict[str, Any] = {"epoch": position.epoch, "step": position.global_step}
        entry |= flat_values(self.loop, final)
        position.history = [entry]
        for log in logs:
            log.log(entry, position.global_step)
        self.talk.epoch(entry)
        return self._finish("done")

    def _final(self) -> dict[str, dict[str, Any]] | None:
        plan = self.plan
        splits = [*plan.data.validation, *plan.horizons.values()] if plan.config.val_only else plan.at_the_end
        datasets = [plan.dataset(split, training=False, features=self.features) for split in splits]
        final = final_evaluation(self.loop, datasets, RunFolder(plan.folder), plan.data.labels, train=plan.data.train)
        self.loop.position.final = final
        return final

    def _save(self) -> None:
        self.checkpoint = save_state(self.loop, self.plan) or self.checkpoint

    def _finish(self, status: Literal["done", "interrupted"]) -> TrainResult:
        result = self._result(status)
        if self.world.leads:
            write_json_atomic(RunFolder(self.plan.folder).result, result.as_dict())
        self.world.barrier()
        return result

    def _result(self, status: Literal["done", "interrupted"]) -> TrainResult:
        return result_of(
            status, self.plan, self.loop, checkpoint=self.checkpoint, notes=self.talk.notes, processes=self.world.size
        )
