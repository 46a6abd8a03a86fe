"""`train_once`: the main path of a training. All is checked, wired and reported here; the work is done elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from gazetools.io.folders import no_empty_folder_left
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import ExitCode, GazetoolsError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.costs import with_costs
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.split import SplitPlan
from gazetools.trainer.folder.checkpoints import FoundCheckpoint
from gazetools.trainer.folder.records import write_metrics, write_steps
from gazetools.trainer.folder.writing import CheckpointWriter
from gazetools.trainer.given_weights import load_best, load_given_weights
from gazetools.trainer.learn.averaging import shown
from gazetools.trainer.learn.forward import open_feature_cache
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.losses import build_loss
from gazetools.trainer.learn.trunk import build_trunks
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
from gazetools.trainer.measure.steps import step_lines
from gazetools.trainer.measure.submission import write_submissions
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.outcome import TrainResult, finished_final, result_of
from gazetools.trainer.plan.ignored import notes_of
from gazetools.trainer.plan.settle import RunPlan, settle
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.processes.launch import accept_warnings
from gazetools.trainer.processes.one_run import only_run_in
from gazetools.trainer.processes.world import World, joined_world, process_count
from gazetools.trainer.publish import Publisher, needs_publishing
from gazetools.trainer.resume import (
    differing_keys,
    find_state,
    save_best_weights,
    save_state,
)
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
    folder = Path(settings.folder) / settings.tag if settings.tag else Path(settings.folder)
    with Interruption() as interruption, no_empty_folder_left(folder):
        count = processes or process_count()
        plan = settle(settings, resume=resume, dry_run=dry_run, progress=progress, processes=count)
        with joined_world(plan.device.type) as world:
            say_to = (progress or NoProgress()) if world.leads else NoProgress()
            talk = Talk(say_to, notes_of(settings, plan.device))
            talk.plan(plan)
            if dry_run:
                result = result_of("dry_run", plan, None, checkpoint=None, notes=talk.notes, processes=count)
                wanted = measured and not (settings.val_only or settings.test_only)  # what only measures takes no step
                return with_costs(result, plan, talk, processes=count) if wanted else result
            with only_run_in(plan.folder.path, world):
                interruption.arm()
                accept_warnings()
                found = None
                if resume and not settings.val_only:
                    found = find_state(plan, world=world, note=talk.note)
                return _Run(plan, talk, world, interruption).go(found)


class _Run:
    """The work of one call of `train`."""

    def __init__(self, plan: RunPlan, talk: Talk, world: World, interruption: Interruption) -> None:
        self.plan, self.talk, self.world = plan, talk, world
        config, data = plan.config, plan.data
        shared = load_pretrained(config)
        talk.keep(shared.notes)
        self.writer = CheckpointWriter(plan.folder.checkpoints, world)
        self.features = open_feature_cache(config, shared.encoder, plan.device, world, note=talk.note)
        if data.gone_videos and self.features is not None:
            self.features.require_features(data.gone_videos)
        self._datasets: dict[tuple[int, bool], ClipDataset] = {}
        self.loop = Loop(
            config=config,
            trunks=build_trunks(
                plan.learners,
                shared,
                data.labels.counts,
                len(data.train.clips),
                world=world,
                sharded=plan.memory.sharded,
                class_counts=data.class_counts(),
            ),
            train_set=self._dataset(data.train, training=True),
            device=plan.device,
            progress=talk.progress,
            interruption=interruption,
            world=world,
            save=self._save,
            saved=self.writer.wait,
            save_failed=self.writer.failed,
            stepped=self._stepped,
        )
        self.publisher = Publisher(plan, self.loop, talk.progress.say)
        self.checkpoint: str | None = None
        self.submissions: list[dict[str, Any]] = []

    def go(self, found: FoundCheckpoint | None) -> TrainResult:
        """Begin where the last checkpoint ends, train or measure, and leave a result."""
        plan = self.plan
        self._begin(found)
        final = finished_final(plan, self.loop)
        if final is not None:
            self.loop.position.final = final
            if self.world.leads and needs_publishing(plan):
                self._publish_finished(final)
            return self._result("done")
        if self.world.leads:
            new = found is None and self._is_another_config()
            write_json_atomic(plan.folder.config, plan.dumped_config())
            self.publisher.open(new=new)
        code = int(ExitCode.FAULT)
        try:
            done = self._measure_only() if plan.config.val_only else self._train_epochs() and self._measure_best()
            self.writer.wait()
            result = self._result("done" if done else "interrupted")
            if self.world.leads:
                write_json_atomic(plan.folder.result, result.as_dict())
                if done and not plan.config.val_only:
                    self.publisher.report()
            self.world.barrier()
            code = int(result.exit_code)
            return result
        except (GazetoolsError, KeyboardInterrupt) as error:
            code = int(error.exit_code if isinstance(error, GazetoolsError) else ExitCode.INTERRUPTED)
            raise
        finally:
            self.loop.loaders.close()
            self.writer.close()
            self.publisher.finish(code)

    def _is_another_config(self) -> bool:
        """Whether the folder was begun, without a checkpoint, with a config that this run would not go on with."""
        path = self.plan.folder.config
        return path.is_file() and bool(differing_keys(read_json(path), self.plan.dumped_config()))

    def _publish_finished(self, final: dict[str, Any]) -> None:
        """Send what W&B lacks of a training that is finished."""
        self.publisher.open(new=False)
        self.publisher.final(final)
        self.publisher.report()
        self.publisher.finish(int(ExitCode.OK))

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

    def _dataset(self, split: SplitPlan, *, training: bool = False) -> ClipDataset:
        """The one dataset of a split, which loader workers know from its first use to the end of the run."""
        key = (id(split), training)
        if key not in self._datasets:
            self._datasets[key] = self.plan.dataset(split, training=training, features=self.features)
        return self._datasets[key]

    def _train_epochs(self) -> bool:
        """Train and measure the epochs that are left; False where a signal came (the state is saved then)."""
        loop, position, folder = self.loop, self.loop.position, self.plan.folder
        measured_sets = [self._dataset(split) for split in self.plan.each_epoch]
        loop.loaders.add([loop.train_set, *measured_sets, *map(self._dataset, self.plan.at_the_end)])
        while not loop.over:
            trained = loop.train_epoch()
            lines = step_lines(loop) if self.world.leads else []
            if self.world.leads:
                write_steps(folder, position.epoch, lines)
            entry = self._measured_epoch(measured_sets) if trained else None
            if entry is None:
                self._save()
                return False
            for text in end_early(loop, entry, measured_sets[0]):
                self.talk.note(text)
            position.epoch += 1
            position.step_in_epoch = 0
            self.publisher.epoch(entry, lines[-1] if lines else None)
            self._save()
            if self.world.leads:
                write_metrics(folder, position.history)
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
            self.publisher.final(final)
        return final is not None

    def _measure_only(self) -> bool:
        """`val_only`: measure validation and the horizons with the weights that were given; False after a signal."""
        final, position = self._measure_final(), self.loop.position
        if final is None:
            return False
        entry: dict[str, Any] = {"epoch": position.epoch, "step": position.global_step}
        entry |= flat_values(self.loop, final)
        position.history = [entry]
        self.publisher.epoch(entry, None)
        self.talk.epoch(entry)
        return True

    def _measure_final(self) -> dict[str, dict[str, Any]] | None:
        plan = self.plan
        datasets = [self._dataset(split) for split in plan.at_the_end]
        self.loop.loaders.add(datasets)
        self.loop.position.final = final_evaluation(self.loop, datasets, plan)
        if self.loop.position.final is not None and self.world.leads:
            self.submissions = write_submissions(self.loop, plan)
            for one in self.submissions:
                text = f"Wrote {one['file']}: {one['actions']} actions, predicted by {one['model']}"
                if one["by_frequency"]:
                    text += f"; not observed: {one['by_frequency']}, whose scores are the frequencies of training"
                self.talk.note(f"{text}.")
        return self.loop.position.final

    def _stepped(self) -> None:
        if self.loop.position.global_step % self.plan.config.log_every == 0:
            self.publisher.step()

    def _save(self) -> None:
        self.publisher.flush()
        path = save_state(self.loop, self.plan, self.writer)
        self.checkpoint = path if self.world.leads else self.checkpoint

    def _result(self, status: Literal["done", "interrupted"]) -> TrainResult:
        result = result_of(
            status, self.plan, self.loop, checkpoint=self.checkpoint, notes=self.talk.notes, processes=self.world.size
        )
        return dataclasses.replace(result, submissions=self.submissions)
