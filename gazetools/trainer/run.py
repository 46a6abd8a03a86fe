"""`train`: everything is checked, wired and reported here; the work is done elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gazetools
from gazetools.io.atomic import check_writable_folder
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.arms.build import build_trunks
from gazetools.trainer.arms.plan import plan_learners, shuffled_sources
from gazetools.trainer.checkpoints import (
    TRAINING_FORMAT,
    WEIGHTS_FORMAT,
    best_checkpoint,
    list_checkpoints,
    save_best,
    save_checkpoint,
)
from gazetools.trainer.config import AnchorPlan, load_config, resolve_anchors
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.feature_cache import FeatureCache
from gazetools.trainer.data.plan import DataPlan, SplitPlan, plan_data
from gazetools.trainer.data.sources import build_sources
from gazetools.trainer.distributed.world import World, add_trees, joined_world
from gazetools.trainer.encoding import open_feature_cache
from gazetools.trainer.evaluation import final_evaluation, measure, note_best, prefix
from gazetools.trainer.interruption import Interruption
from gazetools.trainer.loop import Loop, Position
from gazetools.trainer.metrics import MetricSet
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.checks import future_frame_count
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.records import write_metrics, write_steps
from gazetools.trainer.restore import CHECKPOINTS, load_best, restore_run
from gazetools.trainer.result import TrainResult
from gazetools.trainer.selection import at_horizons, hold_out
from gazetools.trainer.setup import check_available, check_memory, choose_device, describe_model, notes_of
from gazetools.trainer.tensorboard_log import TensorboardLog, require_tensorboard
from gazetools.trainer.wandb_log import WandbLog, require_wandb

Logs = Sequence[WandbLog | TensorboardLog]

RESULT_NAME = "result.json"
CONFIG_NAME = "config.json"
INDEX_CACHE = "frame_indexes"


def train(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    resume: bool | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train (or, with `val_only`, evaluate) what a config describes and write the run folder.

    Args:
        config: YAML file or mapping.
        overrides: `key.path=value` texts.
        resume: go on from the run folder's last checkpoint; None takes `resume_checkpoint` of the config.
        dry_run: check everything and describe the run without training or writing.
        progress: bars and messages.

    Raises UsageError (2), EnvironmentLacksError (3) before any heavy work, FaultError (4) for a loss that is not
    finite or a full disk. SIGINT and SIGTERM save the state and give a result with status `interrupted`.

    >>> train("configs/tiny.yaml", overrides=["experiment.optimization.num_epochs=1"]).status  # doctest: +SKIP
    'done'
    """
    settings = with_checkpoint_sizes(load_config(config, overrides))
    return _Run(settings, settings.resume_checkpoint if resume is None else resume, progress or NoProgress()).go(
        dry_run
    )


class _Run:
    """One call of train."""

    def __init__(self, config: TrainingConfig, resume: bool, progress: Progress) -> None:
        self.config = config
        self.resume = resume
        self.progress = progress
        self.folder = Path(config.folder) / config.tag if config.tag else Path(config.folder)
        self.checkpoints = self.folder / CHECKPOINTS
        self.notes = notes_of(config)
        self.world = World()
        self.plan: DataPlan
        self.selecting: SplitPlan | None = None
        self.horizons: dict[float, SplitPlan] = {}
        self.anchors: AnchorPlan
        self.features: FeatureCache | None = None
        self.model: dict[str, Any] = {}
        self.checkpoint: str | None = None

    def go(self, dry_run: bool) -> TrainResult:
        """The main path."""
        check_available(self.config)
        require_wandb(self.config)
        require_tensorboard(self.config)
        device = choose_device(self.config)
        self.anchors = resolve_anchors(self.config)
        if not dry_run:
            check_writable_folder(self.folder, option="folder")
            self._refuse_mixing()
        self._plan()
        self.model = describe_model(self.config, self.plan.labels.counts)
        check_memory(device, self.model)
        with joined_world(device.type) as self.world, Interruption() as interruption:
            if not self.world.leads:
                self.progress = NoProgress()
            self._announce()
            if dry_run:
                return self._result("dry_run", loop=None)
            shared = load_pretrained(self.config)
            self.notes += [note for note in shared.notes if note not in self.notes]
            self.features = open_feature_cache(self.config, shared.encoder, device, self.world, note=self._note)
            loop = Loop(
                self.config,
                trunks=build_trunks(
                    self.config, shared, self.plan.labels.counts, len(self.plan.train.clips), world=self.world
                ),
                train_set=self._dataset(self.plan.train, training=True),
                device=device,
                progress=self.progress,
                interruption=interruption,
                world=self.world,
            )
            loop.save = lambda: self._save(loop)
            found = restore_run(
                loop, self.checkpoints, self.config, self.plan, resume=self.resume, note=self._note
            )  # fmt: skip
            self.checkpoint = str(found) if found is not None else None
            return self._work(loop)

    def _work(self, loop: Loop) -> TrainResult:
        done = self._finished(loop)
        if done is not None:
            return done
        logs: list[WandbLog | TensorboardLog] = []
        if self.world.leads:
            write_json_atomic(self.folder / CONFIG_NAME, self._dumped())
            logs.append(WandbLog(self.config, self.folder, self.progress.say))
            logs.append(TensorboardLog(self.config, self.folder, self.progress.say))
        try:
            return self._validate_only(loop, logs) if self.config.val_only else self._epochs(loop, logs)
        finally:
            for log in logs:
                log.finish()

    def _plan(self) -> None:
        """Settle every split before any heavy work."""
        evaluation = self.config.experiment.evaluation
        plan = plan_data(self.config.experiment.data, self.anchors, compat=self.config.compat)
        train, self.selecting = hold_out(plan.train, evaluation.held_out, seed=self.config.seed)
        self.plan = dataclasses.replace(plan, train=train)
        self.horizons = at_horizons(plan.validation[0], evaluation.horizons)

    def _epochs(self, loop: Loop, logs: Logs) -> TrainResult:
        position = loop.position
        measured_sets = [self._dataset(split, training=False) for split in self._measured_each_epoch()]
        while position.epoch < self.config.experiment.optimization.num_epochs:
            trained = loop.train_epoch()
            if self.world.leads:
                losses = {learner.name: learner.step_losses for learner in loop.learners}
                write_steps(self.folder, position.epoch, position.global_step, losses)
            counts = self._epoch_counts(loop)
            measured = measure(loop, measured_sets) if trained else None
            if measured is None:
                self._save(loop)
                return self._finish("interrupted", loop)
            entry: dict[str, Any] = {"epoch": position.epoch + 1, "step": position.global_step, **counts, **measured}
            position.history.append(entry)
            improved = note_best(loop, entry, measured_sets[0])
            self._save_best(loop, improved)
            position.epoch += 1
            position.step_in_epoch = 0
            self._save(loop)
            if self.world.leads:
                write_metrics(self.folder, position.history)
            for log in logs:
                log.log(entry, position.global_step)
            self._tell(entry)
        return self._measure_best(loop, logs)

    def _measured_each_epoch(self) -> list[SplitPlan]:
        """The first one selects."""
        return [*([self.selecting] if self.selecting is not None else []), *self.plan.validation]

    def _epoch_counts(self, loop: Loop) -> dict[str, Any]:
        """`train_*` of all processes and the learning rates."""
        found: dict[str, Any] = {}
        parts = self.world.gather({x.name: x.metrics.state() for x in loop.learners} | {"": loop.counts})
        total = add_trees(parts)
        for learner in loop.learners:
            if learner.failed is None:
                metrics = MetricSet(learner.num_classes)
                metrics.restore(total[learner.name])
                start = prefix(loop, learner.name)
                found |= {f"{start}train_{name}": value for name, value in metrics.values().items()}
                found |= {f"{start}{name}": value for name, value in learner.rates().items()}
        return found | {f"train_{name}": value for name, value in total[""].items()}

    def _measure_best(self, loop: Loop, logs: Logs) -> TrainResult:
        """Every split once more with the chosen weights, clip by clip."""
        load_best(loop, self.checkpoints)
        splits = [*self._measured_each_epoch(), *self.horizons.values()]
        final = final_evaluation(
            loop,
            [self._dataset(split, training=False) for split in splits],
            self.folder,
            self.plan.labels,
            train=self.plan.train,
        )
        if final is None:
            return self._finish("interrupted", loop)
        loop.position.final = final
        values = self._flat(loop, final, start="final_")
        for log in logs:
            log.log(values, loop.position.global_step)
        return self._finish("done", loop)

    def _validate_only(self, loop: Loop, logs: Logs) -> TrainResult:
        splits = [*self.plan.validation, *self.horizons.values()]
        datasets = [self._dataset(split, training=False) for split in splits]
        final = final_evaluation(loop, datasets, self.folder, self.plan.labels, train=self.plan.train)
        if final is not None:
            loop.position.final = final
            entry: dict[str, Any] = {"epoch": loop.position.epoch, "step": loop.position.global_step}
            entry |= self._flat(loop, final)
            loop.position.history = [entry]
            for log in logs:
                log.log(entry, loop.position.global_step)
            self._tell(entry)
        return self._finish("interrupted" if final is None else "done", loop)

    def _flat(self, loop: Loop, final: Mapping[str, Any], *, start: str = "") -> dict[str, Any]:
        """`<model>/<split>_<metric>`."""
        return {
            f"{prefix(loop, name)}{start}{split}_{metric}": value
            for name, found in final.items()
            for split, values in found.items()
            for metric, value in values.items()
        }

    def _save(self, loop: Loop) -> None:
        state = loop.state()
        if state is not None:
            state = {"format": TRAINING_FORMAT, **self._identity(), **state}
            path = save_checkpoint(self.checkpoints, state, step=loop.position.global_step)
            self.checkpoint = str(path)

    def _save_best(self, loop: Loop, names: Sequence[str]) -> None:
        if not self.world.leads:
            return
        for trunk in loop.trunks:
            for learner in trunk.learners:
                if learner.name in names:
                    state = {
                        "format": WEIGHTS_FORMAT,
                        **self._identity(),
                        "learner": learner.name,
                        "best": learner.best,
                        "predictor": trunk.predictor_weights(),
                        "probe": learner.weights(),
                    }
                    save_best(self.checkpoints, learner.name, state, step=loop.position.global_step)

    def _identity(self) -> dict[str, Any]:
        return {
            "version": gazetools.__version__,
            "config": self._dumped(),
            "labels": self.plan.labels.to_plain(),
            "train_clips": self.plan.train.fingerprint(),
        }

    def _finished(self, loop: Loop) -> TrainResult | None:
        """The result of a run that is over: the same command changes nothing then."""
        path = self.folder / RESULT_NAME
        over = loop.position.epoch >= self.config.experiment.optimization.num_epochs
        if self.config.val_only or not over or not path.is_file():
            return None
        document = read_json(path)
        if document.get("status") != "done" or document.get("steps_done") != loop.position.global_step:
            return None
        if set(self.horizons) - {float(key) for key in document.get("horizons", [])}:
            return None
        loop.position.final = document["final"]
        return self._result("done", loop=loop)

    def _refuse_mixing(self) -> None:
        if not self.resume and not self.config.val_only and list_checkpoints(self.checkpoints):
            raise UsageError(
                f"{self.folder} already holds a run.",
                hint="Go on with it by --resume, or choose another folder or tag.",
            )

    def _dataset(self, split: SplitPlan, *, training: bool) -> ClipDataset:
        data, config = self.config.experiment.data, self.config
        specs = plan_learners(config)
        reads = any(spec.source for spec in specs)
        return ClipDataset(
            split,
            data,
            self.plan.labels,
            heatmaps=build_sources(data) if reads else None,
            training=training,
            seed=config.seed,
            compat=config.compat,
            index_cache=None if data.index_cache else self.folder / INDEX_CACHE,
            shuffled=shuffled_sources(specs),
            future_frames=future_frame_count(config) if training and config.experiment.optimization.losses.jepa else 0,
            features=self.features,
        )

    def _announce(self) -> None:
        for note in self.notes:
            self.progress.say(note)
        self.progress.say(f"Anchor rule: {self.anchors.rule}.")
        for split in (self.plan.train, *self._measured_each_epoch()):
            text = f"{split.name} (anchor {split.anchor.name}): {len(split.clips)} clips of {split.counts['rows']} rows"
            if self.plan.survey is not None:
                shares = [f"{100 * share:.1f} % ({name})" for name, share in split.coverages.items()]
                text += ", heatmap coverage " + (", ".join(shares) if len(shares) > 1 else shares[0].split(" (")[0])
            dropped = [f"{count} {name}" for name, count in split.counts.items() if count and name != "rows"]
            self.progress.say(text + (f", left out: {', '.join(dropped)}" if dropped else ""))
        if self.selecting is None:
            self._note("The best epoch is chosen on the validation set that is reported (evaluation.held_out=0).")
        for name, arm in self.model["arms"].items():
            self.progress.say(
                f"Arm {name}: fusion {arm['fusion']}, trains {arm['train']} + probe, {arm['trained_parameters']:,} "
                f"parameters; {self.model['video_tokens']} video and {arm['heatmap_tokens']} heatmap tokens per clip."
            )
        if len(self.model["learners"]) > 1:
            self.progress.say(f"{len(self.model['learners'])} models: {', '.join(self.model['learners'])}.")

    def _tell(self, entry: dict[str, Any]) -> None:
        shown = [n for n in entry if n.endswith("_loss") or ("_action_" in n and n.startswith("val_"))]
        self.progress.say(f"epoch {entry['epoch']}: " + ", ".join(f"{n} {entry[n]:.3f}" for n in shown))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
        self.progress.say(text)

    def _dumped(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def _finish(self, status: Any, loop: Loop) -> TrainResult:
        result = self._result(status, loop=loop)
        if self.world.leads:
            write_json_atomic(self.folder / RESULT_NAME, result.as_dict())
        self.world.barrier()
        return result

    def _result(self, status: Any, *, loop: Loop | None) -> TrainResult:
        settings = self.config.experiment.optimization
        per_step = settings.batch_size * settings.accumulation_steps * self.world.size
        position = loop.position if loop is not None else Position()
        best: dict[str, Any] = {}
        for learner in loop.learners if loop is not None else ():
            path = best_checkpoint(self.checkpoints, learner.name)
            best[learner.name] = {**learner.best, "checkpoint": str(path)} if learner.best is not None else None
        return TrainResult(
            status=status,
            folder=str(self.folder),
            epochs_done=position.epoch,
            steps_done=position.global_step,
            random_weights=self.config.model_kwargs.checkpoint == "random",
            anchor_rule=self.anchors.rule,
            data={
                **self.plan.summary(),
                "held_out": self.selecting.summary() if self.selecting is not None else None,
                "steps_per_epoch": -(-len(self.plan.train.clips) // per_step),
            },
            model=self.model,
            processes=self.world.size,
            metrics=position.history[-1] if position.history else {},
            best=next(iter(best.values())) if len(best) == 1 else None,
            best_by_learner=best,
            failed={x.name: x.failed for x in loop.learners if x.failed is not None} if loop is not None else {},
            final=position.final or {},
            horizons=list(self.horizons),
            checkpoint=self.checkpoint,
            notes=self.notes,
            config=self._dumped(),
        )
