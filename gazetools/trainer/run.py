"""`train`: everything is checked, wired and reported here; the work is done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gazetools
from gazetools.io.atomic import check_writable_folder
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.checkpoints import (
    best_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    save_checkpoint,
)
from gazetools.trainer.config import AnchorPlan, load_config, resolve_anchors
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.plan import DataPlan, SplitPlan, plan_data
from gazetools.trainer.data.sources import build_sources
from gazetools.trainer.interruption import Interruption
from gazetools.trainer.loop import Loop
from gazetools.trainer.models.build import build_model, build_probe, choose_trained, trained_part, uses_heatmap
from gazetools.trainer.records import write_metrics, write_steps
from gazetools.trainer.result import TrainResult
from gazetools.trainer.setup import check_available, choose_device, describe_model, differing_keys, notes_of
from gazetools.trainer.wandb_log import WandbLog, require_wandb

RESULT_NAME = "result.json"
CONFIG_NAME = "config.json"
CHECKPOINTS = "checkpoints"
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
    settings = load_config(config, overrides)
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
        self.plan: DataPlan
        self.anchors: AnchorPlan
        self.model: dict[str, Any] = {}
        self.checkpoint: str | None = None

    def go(self, dry_run: bool) -> TrainResult:
        """The main path."""
        check_available(self.config)
        require_wandb(self.config)
        device = choose_device(self.config)
        self.anchors = resolve_anchors(self.config)
        if not dry_run:
            check_writable_folder(self.folder, option="folder")
            self._refuse_mixing()
        self.plan = plan_data(self.config.experiment.data, self.anchors, compat=self.config.compat)
        self.model = describe_model(self.config, self.plan.labels.counts)
        self._announce()
        if dry_run:
            return self._result("dry_run", epochs=0, steps=0, history=[], best=None)
        built = build_model(self.config)
        self.notes += [note for note in built.notes if note not in self.notes]
        with Interruption() as interruption:
            loop = Loop(
                self.config,
                wrapper=built.wrapper,
                probe=build_probe(self.config, self.plan.labels.counts, built.wrapper.embed_dim),
                trained=choose_trained(built.wrapper, trained_part(self.config)),
                train_set=self._dataset(self.plan.train, training=True),
                device=device,
                progress=self.progress,
                interruption=interruption,
            )
            loop.before_stop = lambda: self._save(loop, best=False)
            self._load_state(loop)
            write_json_atomic(self.folder / CONFIG_NAME, self._dumped())
            log = WandbLog(self.config, self.folder, self.progress.say)
            try:
                return self._validate_only(loop) if self.config.val_only else self._epochs(loop, log)
            finally:
                log.finish()

    def _epochs(self, loop: Loop, log: WandbLog) -> TrainResult:
        position = loop.position
        validation = [self._dataset(split, training=False) for split in self.plan.validation]
        while position.epoch < self.config.experiment.optimization.num_epochs:
            trained = loop.train_epoch()
            first = position.global_step - len(position.step_losses) + 1
            write_steps(self.folder, position.epoch, first, position.step_losses)
            measured = self._validate(loop, validation) if trained else None
            if measured is None:
                self._save(loop, best=False)
                return self._finish("interrupted", loop)
            entry: dict[str, Any] = {"epoch": position.epoch + 1, "step": position.global_step}
            entry |= {f"train_{name}": value for name, value in loop.metrics.values().items()} | measured
            entry |= {f"lr_{group['name']}": group["lr"] for group in loop.optimizer.param_groups}
            position.history.append(entry)
            improved = self._note_best(loop, entry)
            position.epoch += 1
            position.step_in_epoch = 0
            self._save(loop, best=improved)
            write_metrics(self.folder, position.history)
            log.log(entry, position.global_step)
            self._tell(entry)
        return self._finish("done", loop)

    def _validate(self, loop: Loop, datasets: Sequence[ClipDataset]) -> dict[str, float] | None:
        """`val_<anchor>_<metric>` under every anchor; None where a signal came."""
        measured: dict[str, float] = {}
        for dataset in datasets:
            values = loop.validate(dataset)
            if values is None:
                return None
            measured |= {f"val_{dataset.split.anchor.name}_{name}": value for name, value in values.items()}
        return measured

    def _validate_only(self, loop: Loop) -> TrainResult:
        measured = self._validate(loop, [self._dataset(split, training=False) for split in self.plan.validation])
        if measured is not None:
            loop.position.history = [{"epoch": loop.position.epoch, "step": loop.position.global_step, **measured}]
            self._tell(loop.position.history[0])
        return self._finish("interrupted" if measured is None else "done", loop)

    def _note_best(self, loop: Loop, entry: dict[str, Any]) -> bool:
        """Remember the best class-mean action recall under the first validation anchor."""
        prefix = f"val_{self.plan.validation[0].anchor.name}_action_recall"
        metric = next(name for name in entry if name.startswith(prefix))
        best = loop.position.best
        if best is not None and entry[metric] <= best["value"]:
            return False
        loop.position.best = {"epoch": entry["epoch"], "metric": metric, "value": entry[metric]}
        return True

    def _save(self, loop: Loop, *, best: bool) -> None:
        state = {
            "format": "gazetools.training",
            "version": gazetools.__version__,
            "config": self._dumped(),
            "labels": self.plan.labels.to_plain(),
            "train_clips": self.plan.train.fingerprint(),
            **loop.state(),
        }
        path = save_checkpoint(self.checkpoints, state, step=loop.position.global_step, best=best)
        self.checkpoint = str(path)

    def _load_state(self, loop: Loop) -> None:
        """Resume, or start from `classifier_checkpoint`, or from nothing."""
        found = load_latest(self.checkpoints) if self.resume else None
        if found is not None:
            for reason in found.rejected:
                self._note(f"{reason} Going on from {found.path.name}, the one before.")
            self._check_state(found.state, str(found.path), whole_config=True)
            loop.restore(found.state)
            self.checkpoint = str(found.path)
            self._note(f"Resumed from {found.path} at step {loop.position.global_step}.")
        elif self.config.classifier_checkpoint is not None:
            path = Path(self.config.classifier_checkpoint)
            best = best_checkpoint(path / CHECKPOINTS) or best_checkpoint(path)
            state = load_checkpoint(best or path)
            self._check_state(state, str(path), whole_config=False)
            loop.load_weights(state)
            self._note(f"Predictor and probe from {best or path}.")
        elif self.resume:
            self._note("Nothing to resume: starting anew.")

    def _check_state(self, state: dict[str, Any], name: str, *, whole_config: bool) -> None:
        if state["labels"] != self.plan.labels.to_plain():
            raise CheckpointError(
                f"The classes of the checkpoint {name} ({ {t: len(v) for t, v in state['labels'].items()} }) are not "
                f"those of {self.config.experiment.data.dataset_train} ({self.plan.labels.counts}).",
                hint="Use the annotations that it was trained with.",
            )
        differing = differing_keys(state["config"], self._dumped())
        if not whole_config:
            differing = [key for key in differing if key.startswith(("model_kwargs.", "experiment.classifier."))]
        if whole_config and state["train_clips"] != self.plan.train.fingerprint():
            raise CheckpointError(
                f"The checkpoint {name} was trained on other clips than those that "
                f"{self.config.experiment.data.dataset_train} and the heatmaps give now.",
                hint="Use the same annotations and heatmaps, or another folder or tag.",
            )
        if differing:
            raise UsageError(
                f"The checkpoint {name} belongs to another config; these keys differ: {', '.join(differing[:12])}.",
                hint="Use the same values, or another folder or tag.",
                keys=differing,
            )

    def _refuse_mixing(self) -> None:
        if not self.resume and not self.config.val_only and list_checkpoints(self.checkpoints):
            raise UsageError(
                f"{self.folder} already holds a run.",
                hint="Go on with it by --resume, or choose another folder or tag.",
            )

    def _dataset(self, split: SplitPlan, *, training: bool) -> ClipDataset:
        data, config = self.config.experiment.data, self.config
        return ClipDataset(
            split,
            data,
            self.plan.labels,
            heatmaps=build_sources(data) if uses_heatmap(config) else None,
            training=training,
            seed=config.seed,
            compat=config.compat,
            index_cache=None if data.index_cache else self.folder / INDEX_CACHE,
        )

    def _announce(self) -> None:
        for note in self.notes:
            self.progress.say(note)
        self.progress.say(f"Anchor rule: {self.anchors.rule}.")
        for split in (self.plan.train, *self.plan.validation):
            text = f"{split.name} (anchor {split.anchor.name}): {len(split.clips)} clips of {split.counts['rows']} rows"
            if self.plan.survey is not None:
                text += f", heatmap coverage {100 * split.coverage:.1f} %"
            dropped = [f"{count} {name}" for name, count in split.counts.items() if count and name != "rows"]
            self.progress.say(text + (f", left out: {', '.join(dropped)}" if dropped else ""))
        self.progress.say(
            f"Trains: {self.model['train']} + probe, {self.model['trained_parameters']:,} parameters; "
            f"{self.model['video_tokens']} video and {self.model['heatmap_tokens']} heatmap tokens per clip."
        )

    def _tell(self, entry: dict[str, Any]) -> None:
        shown = [n for n in entry if n.endswith("_loss") or ("_action_" in n and n.startswith("val_"))]
        self.progress.say(f"epoch {entry['epoch']}: " + ", ".join(f"{n} {entry[n]:.3f}" for n in shown))

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.say(text)

    def _dumped(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def _finish(self, status: str, loop: Loop) -> TrainResult:
        position = loop.position
        result = self._result(
            status, epochs=position.epoch, steps=position.global_step, history=position.history, best=position.best
        )
        write_json_atomic(self.folder / RESULT_NAME, result.as_dict())
        return result

    def _result(
        self, status: Any, *, epochs: int, steps: int, history: list[dict[str, Any]], best: dict[str, Any] | None
    ) -> TrainResult:
        batch = self.config.experiment.optimization.batch_size
        return TrainResult(
            status=status,
            folder=str(self.folder),
            epochs_done=epochs,
            steps_done=steps,
            random_weights=self.config.model_kwargs.checkpoint == "random",
            anchor_rule=self.anchors.rule,
            data={**self.plan.summary(), "steps_per_epoch": -(-len(self.plan.train.clips) // batch)},
            model=self.model,
            metrics=history[-1] if history else {},
            best={**best, "checkpoint": str(best_checkpoint(self.checkpoints))} if best else None,
            checkpoint=self.checkpoint,
            notes=self.notes,
            config=self._dumped(),
        )
