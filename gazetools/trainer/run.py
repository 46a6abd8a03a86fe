"""`train_once`: the main path of a training. All is checked, wired and reported here; the work is done elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gazetools.io.folders import remove_if_empty
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.feature_cache import FeatureCache
from gazetools.trainer.folder.checkpoints import FoundCheckpoint
from gazetools.trainer.folder.records import write_metrics, write_steps
from gazetools.trainer.learn.averaging import shown
from gazetools.trainer.learn.forward import open_feature_cache
from gazetools.trainer.learn.learner import build_trunks
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.losses import build_loss
from gazetools.trainer.logs.guarded import GuardedLog
from gazetools.trainer.logs.tensorboard import open_tensorboard
from gazetools.trainer.logs.wandb import open_wandb
from gazetools.trainer.measure.final import (
    end_early,
    final_evaluation,
    flat_values,
    measure,
    note_best,
    split_key,
    training_values,
    without_failed,
)
from gazetools.trainer.measure.step_cost import measure_step, study_table
from gazetools.trainer.measure.submission import write_submissions
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.outcome import TrainResult, finished_final, result_of
from gazetools.trainer.plan.ignored import notes_of
from gazetools.trainer.plan.settle import RunPlan, settle
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.launch import accept_warnings
from gazetools.trainer.processes.world import World, joined_world
from gazetools.trainer.resume import find_state, load_best, load_given_weights, save_best_weights, save_state
from gazetools.trainer.talk import Talk


def train_once(
    config: TrainingConfig,
    *,
    resume: bool | None = None,
    dry_run: bool = False,
    processes: int | None = None,
    measured: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train (or, with `val_only`, evaluate) once what `config` describes and write its run folder.

    The arguments and errors are those of `gazetools.trainer.study.train`.
    """
    settings = with_checkpoint_sizes(config)
    resume = settings.resume_checkpoint if resume is None else resume
    if settings.experiment.optimization.class_weights is not None:
        build_loss(settings.experiment.optimization)  # refuses a loss that cannot be weighed
    with Interruption() as interruption:
        plan = settle(settings, resume=resume, dry_run=dry_run, progress=progress)
        with joined_world(plan.device.type) as world:
            say_to = (progress or NoProgress()) if world.leads else NoProgress()
            talk = Talk(say_to, notes_of(settings, plan.device))
            talk.plan(plan)
            if dry_run:
                count = processes or world.size
                result = result_of("dry_run", plan, None, checkpoint=None, notes=talk.notes, processes=count)
                wanted = measured and not (settings.val_only or settings.test_only)  # what only measures takes no step
                return with_costs(result, plan, talk, processes=count) if wanted else result
            interruption.arm()
            accept_warnings()
            found = None
            if resume and not settings.val_only:
                found = find_state(plan, processes=world.size, note=talk.note)
            return _Run(plan, talk, world, interruption).go(found)


def with_costs(result: TrainResult, plan: RunPlan, talk: Talk, *, processes: int) -> TrainResult:
    """The result of a dry run with the costs of a step, and of 3, 5 and 8 trainings."""
    cost = measure_step(plan, processes=processes)
    if not cost.fits:
        talk.note(
            f"A step needs about {cost.memory_bytes / 2**30:.1f} GiB, more than {plan.device} has: halve batch_size "
            "and double accumulation_steps, or use fewer arms."
        )
    people = len({clip.segment.group for clip in plan.data.validation[0].clips})
    return dataclasses.replace(result, step=cost.as_dict(), planning=study_table(cost, clusters=people))


class _Run:
    """The work of one call of `train`."""

    def __init__(self, plan: RunPlan, talk: Talk, world: World, interruption: Interruption) -> None:
        self.plan, self.talk, self.world = plan, talk, world
        config, data = plan.config, plan.data
        shared = load_pretrained(config)
        talk.keep(shared.notes)
        self.features = open_feature_cache(config, shared.encoder, plan.device, world, note=talk.note)
        if data.gone_videos and self.features is not None:
            self._require_features(self.features, data.gone_videos)
        self.loop = Loop(
            config=config,
            trunks=build_trunks(
                plan.learners,
                shared,
                data.labels.counts,
                len(data.train.clips),
                world=world,
                class_counts=data.class_counts(),
            ),
            train_set=plan.dataset(data.train, training=True, features=self.features),
            device=plan.device,
            progress=talk.progress,
            interruption=interruption,
            world=world,
            save=self._save,
        )
        self.logs: list[GuardedLog] = []
        self.checkpoint: str | None = None
        self.submissions: list[dict[str, Any]] = []

    def _require_features(self, features: FeatureCache, gone_videos: int) -> None:
        try:
            features.require_features(gone_videos)
        except UsageError:
            remove_if_empty(self.plan.folder.path)
            raise

    def go(self, found: FoundCheckpoint | None) -> TrainResult:
        """Begin where the last checkpoint ends, train or measure, and leave a result."""
        plan, say = self.plan, self.talk.progress.say
        self._begin(found)
        final = finished_final(plan, self.loop)
        if final is not None:
            self.loop.position.final = final
            return self._result("done")
        if self.world.leads:
            write_json_atomic(plan.folder.config, plan.dumped_config())
            self.logs.append(GuardedLog("W&B", partial(open_wandb, plan.config, plan.folder), say))
            self.logs.append(GuardedLog("TensorBoard", partial(open_tensorboard, plan.config, plan.folder), say))
        try:
            done = self._measure_only() if plan.config.val_only else self._train_epochs() and self._measure_best()
            result = self._result("done" if done else "interrupted")
            if self.world.leads:
                write_json_atomic(plan.folder.result, result.as_dict())
            self.world.barrier()
            return result
        finally:
            for log in self.logs:
                log.finish()

    def _begin(self, found: FoundCheckpoint | None) -> None:
        """Load the state that was found, or given weights, or keep the initial ones."""
        plan, given = self.plan, self.plan.weights or self.plan.config.classifier_checkpoint
        if found is not None:
            self.loop.restore(found.state)
            found.state.clear()  # not needed any more, and as large as the run
            self.checkpoint = str(found.path)
            self.talk.note(f"Resumed from {found.path} at step {self.loop.position.global_step}.")
        elif given is not None:
            self.talk.note(load_given_weights(self.loop, plan, Path(given)))
        elif plan.config.resume_checkpoint:
            self.talk.note("Nothing to resume: starting from the beginning.")

    def _train_epochs(self) -> bool:
        """Train and measure the epochs that are left; False where a signal came (the state is saved then)."""
        loop, position, folder = self.loop, self.loop.position, self.plan.folder
        measured_sets = [
            self.plan.dataset(split, training=False, features=self.features) for split in self.plan.each_epoch
        ]
        while not loop.over:
            trained = loop.train_epoch()
            if self.world.leads:
                losses = {learner.name: learner.step_losses for learner in loop.learners}
                write_steps(folder, position.epoch, position.global_step, losses)
            entry = self._measured_epoch(measured_sets) if trained else None
            if entry is None:
                self._save()
                return False
            for text in end_early(loop, entry, measured_sets[0]):
                self.talk.note(text)
            position.epoch += 1
            position.step_in_epoch = 0
            self._save()
            if self.world.leads:
                write_metrics(folder, position.history)
            self._log(entry)
            self.talk.epoch(entry)
            self.talk.table(loop, entry, split_key(measured_sets[0]))
        return True

    def _measured_epoch(self, measured_sets: Sequence[ClipDataset]) -> dict[str, Any] | None:
        """The entry of an epoch, measured with averaged weights where there are any; None where a signal came.

        The best weights are saved with it.
        """
        loop, position = self.loop, self.loop.position
        values = training_values(loop)
        with shown((learner.average for learner in loop.learners), average=True):
            measured = measure(loop, measured_sets)
            if measured is None:
                return None
            values = without_failed(loop, values)
            entry: dict[str, Any] = {"epoch": position.epoch + 1, "step": position.global_step, **values, **measured}
            position.history.append(entry)
            save_best_weights(loop, self.plan, note_best(loop, entry, measured_sets[0]))
        return entry

    def _measure_best(self) -> bool:
        """Measure every split with the chosen weights, clip by clip; False where a signal came."""
        load_best(self.loop, self.plan)
        final = self._measure_final()
        if final is not None:
            self._log(flat_values(self.loop, final, start="final_"))
        return final is not None

    def _measure_only(self) -> bool:
        """`val_only`: measure validation and the horizons with the weights that were given; False after a signal."""
        final, position = self._measure_final(), self.loop.position
        if final is None:
            return False
        entry: dict[str, Any] = {"epoch": position.epoch, "step": position.global_step}
        entry |= flat_values(self.loop, final)
        position.history = [entry]
        self._log(entry)
        self.talk.epoch(entry)
        return True

    def _measure_final(self) -> dict[str, dict[str, Any]] | None:
        plan = self.plan
        datasets = [plan.dataset(split, training=False, features=self.features) for split in plan.at_the_end]
        self.loop.position.final = final_evaluation(self.loop, datasets, plan)
        if self.loop.position.final is not None and self.world.leads:
            self.submissions = write_submissions(self.loop, plan)
            for one in self.submissions:
                text = f"Wrote {one['file']}: {one['actions']} actions, predicted by {one['model']}"
                if one["by_frequency"]:
                    text += f"; not observed: {one['by_frequency']}, whose scores are the frequencies of training"
                self.talk.note(f"{text}.")
        return self.loop.position.final

    def _log(self, values: dict[str, Any]) -> None:
        for log in self.logs:
            log.log(values, self.loop.position.global_step)

    def _save(self) -> None:
        self.checkpoint = save_state(self.loop, self.plan) or self.checkpoint

    def _result(self, status: Literal["done", "interrupted"]) -> TrainResult:
        result = result_of(
            status, self.plan, self.loop, checkpoint=self.checkpoint, notes=self.talk.notes, processes=self.world.size
        )
        return dataclasses.replace(result, submissions=self.submissions)
