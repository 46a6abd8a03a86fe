"""The plan of a run: device, splits, classes and models, all settled before any heavy work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gazetools._version import __version__
from gazetools.annotations.segments import read_segments
from gazetools.io.atomic import check_writable_folder
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.anchors import AnchorPlan, resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions
from gazetools.trainer.data.feature_cache import FeatureCache
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import DataPlan, SplitPlan, plan_data
from gazetools.trainer.folder.checkpoints import list_checkpoints
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.logs.guarded import require_package
from gazetools.trainer.models.build import check_file
from gazetools.trainer.models.checks import future_frame_count
from gazetools.trainer.plan.arms import LearnerSpec, plan_learners, shuffled_source
from gazetools.trainer.plan.checks import Problems, check_memory, check_submission, check_weights_exist, choose_device
from gazetools.trainer.plan.describe import describe_model
from gazetools.trainer.plan.memory import MemoryPlan, plan_memory
from gazetools.trainer.plan.selection import at_horizons, hold_out


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Everything that is known of a run before its first step."""

    config: TrainingConfig
    folder: RunFolder  # what the run writes; with `val_only` and no weights given by path, `evaluation` or `test` in it
    weights: Path | None  # what a run only measures: run folder, checkpoint, export or probe file; None: it trains
    device: torch.device
    anchors: AnchorPlan
    learners: list[LearnerSpec]  # the models to train, in the order of the config
    data: DataPlan  # clips, classes and heatmaps; the train split is without what is held out
    selecting: SplitPlan | None  # the held-out part of train; None: validation selects
    horizons: dict[float, SplitPlan]  # validation at other anticipation times in seconds
    model: dict[str, Any]  # sizes, tokens, parameters and costs; see gazetools.trainer.plan.describe.describe_model
    memory: MemoryPlan  # bytes in each process, and whether optimizers' states are sharded

    @property
    def each_epoch(self) -> list[SplitPlan]:
        """What is measured after every epoch; the first one selects."""
        return [*([self.selecting] if self.selecting is not None else []), *self.data.validation]

    @property
    def at_the_end(self) -> list[SplitPlan]:
        """What is measured at the end, the test split last.

        With `val_only` validation and horizons, else `each_epoch` and horizons; with `test_only` the test split alone.
        """
        test = [] if self.data.test is None else [self.data.test]
        if self.config.test_only:
            return test
        return [*(self.data.validation if self.config.val_only else self.each_epoch), *self.horizons.values(), *test]

    def dataset(
        self, split: SplitPlan, *, training: bool, features: FeatureCache | None = None, view: int | None = None
    ) -> ClipDataset:
        """The clips of a split as tensors, with heatmaps where any arm reads them; `view` is one of the fixed views."""
        data, losses = self.config.experiment.data, self.config.experiment.optimization.losses
        reads = any(spec.source for spec in self.learners)
        shuffled = {shuffled_source(spec) for spec in self.learners}
        return ClipDataset(
            split,
            data,
            self.data.labels,
            ClipOptions(
                training=training,
                seed=self.config.seed,
                compat=self.config.compat,
                index_cache=None if data.index_cache else self.folder.frame_indexes,
                shuffled=tuple(sorted(name for name in shuffled if name is not None)),
                future_frames=future_frame_count(self.config) if training and losses.jepa else 0,
                view=view,
            ),
            heatmaps=build_sources(data) if reads else {},
            features=features,
        )

    def dumped_config(self) -> dict[str, Any]:
        """The resolved config as plain values."""
        return self.config.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """Facts that every checkpoint holds about its run."""
        return {
            "version": __version__,
            "config": self.dumped_config(),
            "labels": self.data.labels.to_plain(),
            "train_clips": self.data.train.fingerprint(),
            "heatmaps": self.data.heatmap_contents(),
        }


def settle(
    config: TrainingConfig, *, resume: bool, dry_run: bool, progress: Progress | None = None, processes: int = 1
) -> RunPlan:
    """Check everything that can be checked before heavy work, and report all problems at once.

    Raises UsageError where settings or data are wrong, EnvironmentLacksError where a package, a device or weights lack.
    """
    trained = RunFolder(Path(config.folder) / config.tag if config.tag else Path(config.folder))
    measures_itself = config.val_only and config.classifier_checkpoint is None
    below = trained.test if config.test_only else trained.evaluation
    folder = RunFolder(below) if measures_itself else trained
    problems = Problems()
    with problems.gather():
        learners = plan_learners(config)
    experiment = config.experiment
    with problems.gather():
        require_package("wandb", "experiment.wandb.enable", wanted=experiment.wandb.enable)
    with problems.gather():
        require_package("tensorboard", "experiment.tensorboard", wanted=experiment.tensorboard)
    with problems.gather():
        check_weights_exist(config)
    with problems.gather():
        check_file(config)
    with problems.gather():
        device = choose_device(config)
    with problems.gather():
        _check_folder(config, trained, resume=resume)
    anchors = resolve_anchors(config)
    try:
        indexes = folder.frame_indexes
        data = plan_data(experiment.data, anchors, compat=config.compat, index_cache=indexes, progress=progress)
        train, selecting = hold_out(data.train, experiment.evaluation.held_out, seed=config.seed)
        check_submission(config, data)
        horizons = at_horizons(data.validation[0], experiment.evaluation.horizons)
    except UsageError as error:
        problems.add(error)
        _gather_data_problems(problems, config, str(error))
    problems.refuse()
    model = describe_model(config, data.labels.counts)
    memory = plan_memory(model, processes=processes, shard=experiment.optimization.shard_optimizer)
    check_memory(device, model, memory)
    if not dry_run:  # last, so that a refused run leaves no empty folder
        check_writable_folder(folder.path, option="folder")
    return RunPlan(
        config=config,
        folder=folder,
        weights=Path(config.classifier_checkpoint or trained.path) if config.val_only else None,
        device=device,
        anchors=anchors,
        learners=learners,
        data=dataclasses.replace(data, train=train),
        selecting=selecting,
        horizons=horizons,
        model={**model, "memory_per_process": memory.as_dict()},
        memory=memory,
    )


def _gather_data_problems(problems: Problems, config: TrainingConfig, first: str) -> None:
    """Check the files that the plan of the data had not read yet when it stopped with `first`."""
    data = config.experiment.data
    for name in (data.dataset_train, data.dataset_val, data.dataset_test):
        with problems.gather():
            if name is not None:
                read_segments(Path(name), labelled=name != data.dataset_test)
    with problems.gather():
        build_sources(data)
    with problems.gather():
        if not Path(data.base_path).is_dir() and "base_path" not in first:
            raise UsageError(
                f"The video folder {data.base_path} does not exist.",
                hint="Set experiment.data.base_path to the videos' folder.",
            )


def _check_folder(config: TrainingConfig, folder: RunFolder, *, resume: bool) -> None:
    """Raise UsageError where the run folder has no checkpoint to measure, or one that a new run would mix with."""
    has_run = bool(list_checkpoints(folder.checkpoints))
    if config.val_only and config.classifier_checkpoint is None and not has_run:
        raise UsageError(
            f"val_only: {folder.path} holds no checkpoint to measure.",
            hint="Set folder (and tag) to those of a run, or classifier_checkpoint to its weights.",
        )
    if not config.val_only and not resume and has_run:
        raise UsageError(
            f"{folder.path} already holds a run.",
            hint="Go on with it by --resume, or choose another folder or tag.",
        )
