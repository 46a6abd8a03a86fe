"""Saving and restoring a run by its own checkpoints; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from gazetools.schemas.base import default_at
from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.checkpoints import (
    TRAINING_FORMAT,
    WEIGHTS_FORMAT,
    FoundCheckpoint,
    load_checkpoint,
    load_latest,
    save_best,
)
from gazetools.trainer.folder.shard_files import TreePath
from gazetools.trainer.folder.writing import CheckpointWriter
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.processes.world import World

_FREE_KEYS = (
    "folder", "tag", "eval_name", "resume_checkpoint", "val_only", "test_only", "classifier_checkpoint", "nodes",
    "tasks_per_node", "cpus_per_task", "mem_per_gpu", "device", "log_every", "checkpoint_every", "experiment.wandb",
    "experiment.tensorboard", "experiment.optimization.shard_optimizer",
    "experiment.data.num_workers", "experiment.data.pin_memory", "experiment.data.max_unreadable_clips",
    "experiment.evaluation.horizons", "experiment.evaluation.epic_sls",
    "experiment.data.heatmap_base_path", "experiment.data.base_path",
    "experiment.data.dataset_train", "experiment.data.dataset_val", "experiment.data.dataset_test",
    "experiment.data.official_lists", "experiment.data.ego4d_videos", "experiment.data.index_cache",
    "experiment.data.feature_cache.folder", "experiment.data.feature_cache.budget_gib",
    "experiment.data.takes_file", "experiment.data.video_info_path", "experiment.data.past_end",
    "experiment.data.heatmap_sources.*.path", "experiment.data.gaze_tokens.store",
)  # fmt: skip
"""Config keys that a resumed run may change: they only say where and how it is carried out."""
_PER_PROCESS = ("experiment.optimization.batch_size", "experiment.optimization.accumulation_steps")
"""Keys that a run on another number of processes may change, if a step keeps its clips."""


def save_state(loop: Loop, plan: RunPlan, writer: CheckpointWriter) -> str:
    """Begin to save the newest checkpoint, and return its path; every process must call it."""
    state = loop.state()
    if loop.world.leads:
        state = {"format": TRAINING_FORMAT, **plan.identity(), **state}
    sharded = any(learner.shard.ranks is not None for learner in loop.learners)
    shared = partial(_everywhere, sharded=sharded)
    return str(writer.save(state, step=loop.position.global_step, shared=shared))


def _everywhere(path: TreePath, *, sharded: bool) -> bool:
    """Whether every process has the tensor at `path` of a state: weights, and optimizers that are not sharded."""
    if path[0] == "learners":
        return path[2] != "metrics" and not (sharded and path[2] == "optimizer")
    return path[0] == "predictors"


def save_best_weights(loop: Loop, plan: RunPlan, names: Sequence[str]) -> None:
    """Save the weights of the learners `names`, whose best epoch this is; the leading process writes."""
    if not loop.world.leads:
        return
    for trunk in loop.trunks:
        for learner in trunk.learners:
            if learner.name in names:
                state = {"format": WEIGHTS_FORMAT, **plan.identity(), "learner": learner.name, "best": learner.best}
                state |= {"predictor": trunk.predictor_weights(), "probe": learner.probe.state_dict()}
                save_best(plan.folder.checkpoints, learner.name, state, step=loop.position.global_step)


def find_state(plan: RunPlan, *, world: World, note: Callable[[str], None]) -> FoundCheckpoint | None:
    """The newest whole state of the run, checked before any model is built; None where there is no checkpoint.

    Every process must call it; the leading one compares checksums. Raises CheckpointError or UsageError where this run
    cannot continue from it.
    """
    found = _latest(plan.folder.checkpoints, world)
    if found is None:
        return None
    for reason in found.rejected:
        note(f"{reason} Going on from {found.path.name}, the one before.")
    wrote = len(found.state["processes"])
    check_state(found.state, found.path, plan, whole_config=True, free=_PER_PROCESS if wrote != world.size else ())
    if wrote != world.size:
        _check_clips_per_step(found, plan, wrote=wrote, processes=world.size)
        note(
            f"{found.path.name} was written by {wrote} process(es), this run has {world.size}: every step has the same "
            "clips, sums are added in another order, and heatmap_dropout draws other clips."
        )
    return found


def _latest(folder: Path, world: World) -> FoundCheckpoint | None:
    """The newest whole checkpoint: found and compared with its checksums once for all processes."""
    found: FoundCheckpoint | None = None
    problem: CheckpointError | None = None
    if world.leads:
        try:
            found = load_latest(folder)
        except CheckpointError as error:
            problem = error
    path, rejected, problem = world.gather((found and found.path, found.rejected if found else [], problem))[0]
    if problem is not None:
        raise problem
    if path is None or found is not None:
        return found
    return FoundCheckpoint(path=path, state=load_checkpoint(path, compare=False), rejected=rejected)


def _check_clips_per_step(found: FoundCheckpoint, plan: RunPlan, *, wrote: int, processes: int) -> None:
    """Raise UsageError unless a step has as many clips on other processes; order and schedules are the same then."""
    old, new = found.state["config"]["experiment"]["optimization"], plan.config.experiment.optimization
    before = old["batch_size"] * old["accumulation_steps"] * wrote
    now = new.batch_size * new.accumulation_steps * processes
    if before == now:
        return
    way = f"Run with {wrote} process(es)"
    if before % processes == 0:
        way += f", set batch_size and accumulation_steps so that their product is {before // processes}"
    raise UsageError(
        f"The checkpoint {found.path} was written by {wrote} process(es), this run has {processes}: a step would have "
        f"{now} clips instead of {before}, so that order and schedules would be others.",
        hint=f"{way}, or start another run with classifier_checkpoint={found.path}.",
    )


def check_state(
    state: Mapping[str, Any], name: Path, plan: RunPlan, *, whole_config: bool, free: Sequence[str] = ()
) -> None:
    """Raise CheckpointError or UsageError where classes, clips, heatmaps or settings are not the checkpoint's.

    Without `whole_config` (only weights are taken) clips and heatmaps may differ, and all settings but the model's.
    `free` are further keys that may differ.
    """
    labels, annotations = plan.data.labels, plan.config.experiment.data.dataset_train
    differing = [key for key in differing_keys(state["config"], plan.dumped_config()) if key not in free]
    if state["labels"] != labels.to_plain():
        raise CheckpointError(
            f"The classes of the checkpoint {name} ({ {t: len(v) for t, v in state['labels'].items()} }) are not "
            f"those of {annotations} ({labels.counts}).",
            hint="Use the annotations that it was trained with.",
        )
    if not whole_config:
        differing = [key for key in differing if key.startswith(("model_kwargs.", "experiment.classifier."))]
    elif state["train_clips"] != plan.data.train.fingerprint():
        raise CheckpointError(
            f"The checkpoint {name} was trained on other clips than those that {annotations} and the heatmaps give "
            "now.",
            hint="Use the same annotations and heatmaps, or another folder or tag.",
        )
    else:
        _check_heatmaps(state, name, plan.data.heatmap_contents())
    if differing:
        raise UsageError(
            f"The checkpoint {name} belongs to another config; these keys differ: {', '.join(differing[:12])}.",
            hint="Use the same values, or another folder or tag.",
            keys=differing,
        )


def _check_heatmaps(state: Mapping[str, Any], name: Path, current: Mapping[str, str]) -> None:
    found = state.get("heatmaps")
    if found is None:
        raise CheckpointError(
            f"The checkpoint {name} of gazetools {state.get('version')} does not say which heatmaps it was trained on.",
            hint="It can't be continued exactly: start another run with classifier_checkpoint set to it, or train "
            "from the beginning.",
        )
    changed = [source for source in sorted({*found, *current}) if found.get(source) != current.get(source)]
    if changed:
        raise CheckpointError(
            f"The checkpoint {name} was trained on other heatmaps than there are now (source {', '.join(changed)}).",
            hint="Use the heatmaps that it was trained with, or another folder or tag.",
        )


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Dotted keys of two dumped configs whose values differ, without those that a resumed run may change.

    A key that `old` lacks, since its version did not know it, has its default there.
    """
    flat_old, flat_new = _flatten(old), _flatten(new)
    flat_old = {key: default_at(TrainingConfig, key) for key in flat_new} | flat_old
    keys = sorted(key for key in {*flat_old, *flat_new} if flat_old.get(key) != flat_new.get(key))
    return [key for key in keys if not any(fnmatchcase(key, free) or key.startswith(f"{free}.") for free in _FREE_KEYS)]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
