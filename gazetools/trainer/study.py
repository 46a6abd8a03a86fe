"""`train`: one training, or a study of several that differ in all that a seed decides, in one run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig, WandbSettings
from gazetools.schemas.training_data import FeatureCacheSettings
from gazetools.schemas.training_study import MIN_TRAININGS
from gazetools.store.lock import locked
from gazetools.trainer.folder.checkpoints import list_checkpoints
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.outcome import TrainResult
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.processes.world import is_first_process
from gazetools.trainer.publish import publish_study
from gazetools.trainer.run import train_once


def train(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    resume: bool | None = None,
    dry_run: bool = False,
    measured: bool = False,
    processes: int | None = None,
    progress: Progress | None = None,
    only_seed: int | None = None,
) -> TrainResult:
    """Train (or, with `val_only`, evaluate) what a config (YAML file or mapping) describes and write the run folder.

    `overrides` are `key.path=value` texts. `resume` continues from the run folder's last checkpoint; None takes
    `resume_checkpoint` of the config. A `dry_run` checks everything and describes the run without training or writing;
    it counts steps for `processes` processes, None: those there are; `measured` adds time and memory of a step.

    With `seeds` the trainings run one after the other, each in `seed_<seed>` of the run folder, each resumable by
    itself; `only_seed` runs one of them, so that others can run elsewhere at the same time. The result of the whole
    study is written when the last one ends.

    SIGINT, SIGTERM and SIGUSR1 save the state; the result has the status `interrupted` then.

    Raises UsageError for wrong settings or data (exit code 2) and EnvironmentLacksError for what this machine lacks (3)
    before any heavy work, FaultError for a loss that is not finite, or a full disk (4).

    >>> train("configs/tiny.yaml", overrides=["experiment.optimization.num_epochs=1"]).status  # doctest: +SKIP
    'done'
    """
    settings = load_config(config, overrides)
    how: dict[str, Any] = {
        "resume": resume, "dry_run": dry_run, "processes": processes, "measured": measured, "progress": progress,
    }  # fmt: skip
    say = progress if progress is not None and is_first_process() else NoProgress()
    if settings.seeds is None:
        if only_seed is not None:
            raise UsageError(
                f"--only-seed {only_seed}: the config has one training.",
                hint="Set seeds: 5 (a number of trainings, or a list), or set seed itself.",
            )
        _refuse_study_folder(settings)
        if len(settings.arms) > 1:
            say.say(_FEW_TRAININGS.format(count="1 training", folder=settings.folder))
        return train_once(settings, **how)
    study = _Study(settings, only_seed=only_seed)
    if len(study.seeds) < MIN_TRAININGS:
        say.say(_FEW_TRAININGS.format(count=f"{len(study.seeds)} trainings", folder=settings.folder))
    submissions: list[dict[str, Any]] = []
    for place, own in enumerate(study.chosen, start=1):
        say.say(f"Training {place} of {len(study.chosen)}: seed {own.seed}, in {study.folder.training(own.seed)}.")
        result = train_once(own, **how)
        if dry_run:
            break
        submissions += result.submissions
        if is_first_process() and not settings.test_only:  # predictions are no result of the study
            study.write_result(result, say=say.say)
        if result.status == "interrupted":
            break
    return dataclasses.replace(study.result(result), submissions=submissions)


def trainings_of(config: TrainingConfig, *, only_seed: int | None = None) -> list[TrainingConfig]:
    """The config of each training: of a study one per seed, with one encoder and one feature cache; else its own."""
    return [config] if config.seeds is None else _Study(config, only_seed=only_seed).chosen


_RESULT_WAIT_SECONDS = 900.0
"""For the study's result: another process holds it while it sends the report to W&B."""
_FEW_TRAININGS = (
    "{count} of each arm: the report will describe these models and give no verdict, since another seed may reverse "
    "what it finds. `seeds: 5` trains every arm five times in {folder}."
)


def _refuse_study_folder(config: TrainingConfig) -> None:
    """UsageError where the folder of a single training holds a study, whose result it would overwrite."""
    folder = RunFolder(Path(config.folder) / config.tag if config.tag else Path(config.folder))
    if found := sorted(folder.path.glob("seed_*/config.json")):
        raise UsageError(
            f"{folder.path} holds a study ({found[0].parent.name} ...), the config has one training.",
            hint=f"Set seeds to go on with it, or choose another folder or tag. One of its trainings is in "
            f"{found[0].parent}.",
        )


class _Study:
    """The trainings of a config with `seeds`."""

    def __init__(self, config: TrainingConfig, *, only_seed: int | None) -> None:
        self.config, self.seeds = config, config.training_seeds
        base = Path(config.folder) / config.tag if config.tag else Path(config.folder)
        self.folder = RunFolder(base)
        if only_seed is not None and only_seed not in self.seeds:
            raise UsageError(
                f"--only-seed {only_seed}: the config's seeds are {', '.join(map(str, self.seeds))}.",
                hint="Pass one of them, or change seeds.",
            )
        if list_checkpoints(self.folder.checkpoints):
            raise UsageError(
                f"{base} holds a single training, the config wants {len(self.seeds)}.",
                hint="Choose another folder or tag, or remove seeds to go on with that one.",
            )
        wanted = self.seeds if only_seed is None else [only_seed]
        self.chosen = [self._config_of(seed) for seed in wanted]

    def _config_of(self, seed: int) -> TrainingConfig:
        """The config of one training: its seed, its folder, and one encoder and one feature cache for all."""
        config = self.config
        model, data = config.model_kwargs, config.experiment.data
        if model.random_seed is None:
            model = model.model_copy(update={"random_seed": config.seed})
        if data.feature_cache is None and data.training_clips_repeat:
            cache = FeatureCacheSettings(folder=str(self.folder.path / "features"))
            data = data.model_copy(update={"feature_cache": cache})
        experiment = config.experiment.model_copy(update={"data": data, "wandb": self._wandb(f"seed_{seed}")})
        # Copies know which keys were written, so that notes on keys without effect stay true.
        return config.model_copy(
            update={
                "seed": seed,
                "seeds": None,
                "folder": str(self.folder.path),
                "tag": self.folder.training(seed).name,
                "model_kwargs": model,
                "experiment": experiment,
            }
        )

    def _wandb(self, part: str) -> WandbSettings:
        """The settings of the W&B run of one part of the study: all parts are in one group, which the study names."""
        wandb = self.config.experiment.wandb
        name = wandb.name or self.folder.path.resolve().name
        own = None if wandb.id is None else f"{wandb.id}-{part}"
        return wandb.model_copy(update={"group": wandb.group or name, "name": f"{name}-{part}", "id": own})

    def trainings(self) -> list[dict[str, Any]]:
        """Seed, folder and status of each training, wherever it ran."""
        found = []
        for seed in self.seeds:
            path = RunFolder(self.folder.training(seed)).result
            status = read_json(path).get("status") if path.is_file() else "not begun"
            found.append({"seed": seed, "folder": self.folder.training(seed).name, "status": status})
        return found

    def status(self) -> Literal["done", "interrupted"]:
        """`done` where all trainings are."""
        return "done" if all(one["status"] == "done" for one in self.trainings()) else "interrupted"

    def result(self, last: TrainResult) -> TrainResult:
        """The study's result, with the figures of its last training."""
        if last.status == "dry_run":
            return dataclasses.replace(last, folder=str(self.folder.path), config=self.config.model_dump(mode="json"))
        return dataclasses.replace(
            last,
            folder=str(self.folder.path),
            trainings=self.trainings(),
            config=self.config.model_dump(mode="json"),
            checkpoint=None,
        )

    def write_result(self, last: TrainResult, *, say: Callable[[str], None]) -> None:
        """Write the study's result.json, which points to those of the trainings; the last one completes the study.

        Trainings that run at the same time wait for each other here: the last one must see that all are done.
        """
        with locked(self.folder.path, "result", wait_seconds=_RESULT_WAIT_SECONDS):
            document = {**self.result(last).as_dict(), "status": self.status()}
            for name in ("final", "metrics", "best", "best_by_learner", "failed", "submissions"):
                document.pop(name)
            write_json_atomic(self.folder.result, document)
            if document["status"] == "done":
                experiment = self.config.experiment.model_copy(update={"wandb": self._wandb("report")})
                publish_study(self.config.model_copy(update={"experiment": experiment}), self.folder, say)
