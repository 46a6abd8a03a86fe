"""Where a run begins: its own last checkpoint, or weights given by path; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.survey import DataPlan
from gazetools.trainer.folder.checkpoints import (
    TRAINING_FORMAT,
    FoundCheckpoint,
    best_checkpoint,
    load_checkpoint,
    load_latest,
)
from gazetools.trainer.folder.paths import BEST_NAME, RunFolder
from gazetools.trainer.folder.weights import is_export, load_exported
from gazetools.trainer.learn.learner import Learner, Trunk
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.models.build import read_checkpoint
from gazetools.trainer.models.keys import load_strict, strip_prefixes
from gazetools.trainer.plan.checks import differing_keys


def find_state(
    folder: Path, config: TrainingConfig, plan: DataPlan, *, processes: int, note: Callable[[str], None]
) -> FoundCheckpoint | None:
    """The newest whole state below `folder` after checking, before any model is built, that this run may go on from it.

    None where there is no checkpoint. Raises CheckpointError or UsageError where it does not fit.
    """
    found = load_latest(folder)
    if found is None:
        return None
    for reason in found.rejected:
        note(f"{reason} Going on from {found.path.name}, the one before.")
    check_state(found.state, str(found.path), config, plan, whole_config=True)
    wrote = len(found.state["processes"])
    if wrote != processes:
        raise UsageError(
            f"The checkpoint {found.path} was written by {wrote} process(es), this run has {processes}: it would not "
            "go on exactly.",
            hint=f"Run with {wrote} process(es), or start another run with classifier_checkpoint={found.path}.",
        )
    return found


def _check_heatmaps(state: Mapping[str, Any], name: str, now: Mapping[str, str]) -> None:
    found = state.get("heatmaps")
    if found is None:
        raise CheckpointError(
            f"The checkpoint {name} of gazetools {state.get('version')} does not say which heatmaps it was trained on.",
            hint="It can't go on exactly: start another run with classifier_checkpoint set to it, or train anew.",
        )
    changed = [source for source in sorted({*found, *now}) if found.get(source) != now.get(source)]
    if changed:
        raise CheckpointError(
            f"The checkpoint {name} was trained on other heatmaps than there are now (source {', '.join(changed)}).",
            hint="Use the heatmaps that it was trained with, or another folder or tag.",
        )


def check_state(
    state: Mapping[str, Any], name: str, config: TrainingConfig, plan: DataPlan, *, whole_config: bool
) -> None:
    """Raise CheckpointError or UsageError where classes, clips or settings are not those of the checkpoint."""
    if state["labels"] != plan.labels.to_plain():
        raise CheckpointError(
            f"The classes of the checkpoint {name} ({ {t: len(v) for t, v in state['labels'].items()} }) are not "
            f"those of {config.experiment.data.dataset_train} ({plan.labels.counts}).",
            hint="Use the annotations that it was trained with.",
        )
    if whole_config and state["train_clips"] != plan.train.fingerprint():
        raise CheckpointError(
            f"The checkpoint {name} was trained on other clips than those that "
            f"{config.experiment.data.dataset_train} and the heatmaps give now.",
            hint="Use the same annotations and heatmaps, or another folder or tag.",
        )
    if whole_config:
        _check_heatmaps(state, name, plan.heatmap_contents())
    differing = differing_keys(state["config"], config.model_dump(mode="json"))
    if not whole_config:
        differing = [key for key in differing if key.startswith(("model_kwargs.", "experiment.classifier."))]
    if differing:
        raise UsageError(
            f"The checkpoint {name} belongs to another config; these keys differ: {', '.join(differing[:12])}.",
            hint="Use the same values, or another folder or tag.",
            keys=differing,
        )


def load_given_weights(loop: Loop, path: Path, config: TrainingConfig, plan: DataPlan) -> str:
    """Weights of all learners from a run folder, a checkpoint folder, an export, or V-JEPA 2's released probe file.

    Returns what to tell. Raises CheckpointError where a learner has no weights there.
    """
    if path.is_file():
        return _load_released_probes(loop, path)
    if is_export(path):
        return _load_export(loop, path, config, plan)
    own = RunFolder(path).checkpoints
    folder = own if own.is_dir() else path
    by_best = (folder / BEST_NAME).is_dir()
    whole: dict[str, Any] | None = None
    if not by_best and folder != path and (latest := load_latest(folder)) is not None:
        path, whole = latest.path, latest.state
    for trunk in loop.trunks:
        for learner in trunk.learners:
            if by_best:
                best = best_checkpoint(folder, learner.name)
                if best is None:
                    raise CheckpointError(
                        f"{folder} has no best weights of {learner.name!r}.",
                        hint=f"It has: {', '.join(sorted(p.name for p in (folder / BEST_NAME).iterdir()))}.",
                    )
                state = load_checkpoint(best)
            else:
                state = whole = whole or load_checkpoint(path)
            check_state(state, str(path), config, plan, whole_config=False)
            _load_learner(state, trunk, learner, path, keep_best=config.val_only)
    return f"Predictor and probe from {path}" + (" (best epoch)." if by_best else ".")


def _load_export(loop: Loop, path: Path, config: TrainingConfig, plan: DataPlan) -> str:
    """An export holds one model, for a run of one."""
    if len(loop.learners) != 1:
        raise UsageError(
            f"The export {path} holds one model, this run has {len(loop.learners)}.",
            hint="Use a config with one arm, seed and probe, or pass a run folder.",
        )
    exported = load_exported(path)
    check_state(exported.as_state(), str(path), config, plan, whole_config=False)
    _load_learner(exported.as_state(), loop.trunks[0], loop.learners[0], path, keep_best=config.val_only)
    return f"Predictor and probe of {exported.learner} from the export {path}."


def load_best(loop: Loop, folder: Path) -> None:
    """The weights of every learner's best epoch."""
    for trunk in loop.trunks:
        for learner in trunk.alive:
            best = best_checkpoint(folder, learner.name)
            if best is None:
                raise CheckpointError(f"{folder} has no best weights of {learner.name!r}.")
            _load_learner(load_checkpoint(best), trunk, learner, best)


def _load_learner(
    state: Mapping[str, Any], trunk: Trunk, learner: Learner, path: Path, *, keep_best: bool = False
) -> None:
    """Weights and, with `keep_best`, what chose them."""
    if state["format"] == TRAINING_FORMAT:
        if learner.name not in state["learners"] or trunk.name not in state["predictors"]:
            raise CheckpointError(
                f"{path} has no weights of {learner.name!r}; it has {', '.join(state['learners'])}.",
                hint="Use the arms that it was trained with.",
            )
        trunk.load_predictor(state["predictors"][trunk.name])
        learner.probe.load_state_dict(state["learners"][learner.name]["probe"])
        learner.best = state["learners"][learner.name]["best"] if keep_best else learner.best
    else:
        trunk.load_predictor(state["predictor"])
        learner.probe.load_state_dict(state["probe"])
        learner.best = state["best"] if keep_best else learner.best


def _load_released_probes(loop: Loop, path: Path) -> str:
    """V-JEPA 2's evaluation checkpoint: `classifiers`, one state dict per entry of multihead_kwargs."""
    classifiers = read_checkpoint(path).get("classifiers")
    if not isinstance(classifiers, list) or not classifiers:
        raise CheckpointError(
            f"{path} has no list of probes under 'classifiers'.",
            hint="Pass a run folder, a checkpoint folder, or a probe file that V-JEPA 2's evaluation saved.",
        )
    for learner in loop.learners:
        if learner.spec.head >= len(classifiers):
            raise CheckpointError(
                f"{path} has {len(classifiers)} probe(s), but probe {learner.spec.head} is wanted.",
                hint=f"Set experiment.optimization.head=0..{len(classifiers) - 1}.",
            )
        weights = classifiers[learner.spec.head]
        tensors = {key: value for key, value in weights.items() if isinstance(value, torch.Tensor)}
        load_strict(learner.probe, strip_prefixes(tensors), what=f"probe {learner.spec.head} of {path}")
    return (
        f"Probes from {path}, which does not say which actions its outputs stand for: they are taken in the sorted "
        "order of (verb, noun); those of a file written by V-JEPA 2 may lie in another order."
    )
