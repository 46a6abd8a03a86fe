"""Weights that learners start or are measured with: given by path, or those of the run's best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.trainer.folder.checkpoints import TRAINING_FORMAT, best_checkpoint, load_checkpoint, load_latest
from gazetools.trainer.folder.paths import BEST_NAME, RunFolder
from gazetools.trainer.folder.weights import is_export, load_exported
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.trunk import Trunk
from gazetools.trainer.models.build import read_checkpoint
from gazetools.trainer.models.keys import load_strict, strip_prefixes
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.resume import check_state


def load_given_weights(loop: Loop, plan: RunPlan, path: Path) -> str:
    """Load all learners from a run folder, a checkpoint folder, an export, or V-JEPA 2's released probe file.

    Returns a note for the user. Raises CheckpointError where a learner has no weights there.
    """
    if path.is_file():
        return _load_released_probes(loop, path)
    own = RunFolder(path).checkpoints
    folder = own if own.is_dir() else path
    whole: dict[str, Any] | None = None
    if is_export(path):
        if len(loop.learners) != 1:
            raise UsageError(
                f"The export {path} holds one model, this run has {len(loop.learners)}.",
                hint="Use a config with one arm, seed and probe, or pass a run folder.",
            )
        whole = load_exported(path).as_state()
        text = f"Predictor and probe of {whole['learner']} from the export {path}."
    elif (folder / BEST_NAME).is_dir():
        text = f"Predictor and probe from {path} (best epoch)."
    else:
        latest = load_latest(folder) if folder != path else None
        path, whole = (path, load_checkpoint(path)) if latest is None else (latest.path, latest.state)
        text = f"Predictor and probe from {path}."
    for trunk in loop.trunks:
        first: Mapping[str, Tensor] | None = None
        for learner in trunk.learners:
            state = load_checkpoint(_best_of(folder, learner)) if whole is None else whole
            check_state(state, path, plan, whole_config=False)
            weights = _weights_of(state, learner, path)
            if first is not None and not _are_equal(first, weights["predictor"]):
                raise _several_predictors(trunk, folder)
            first = weights["predictor"]
            _load_learner(weights, trunk, learner, keep_best=plan.config.val_only)
    return text


def load_best(loop: Loop, plan: RunPlan) -> None:
    """Load the weights of every learner's best epoch."""
    for trunk in loop.trunks:
        for learner in trunk.alive:
            best = _best_of(plan.folder.checkpoints, learner)
            _load_learner(load_checkpoint(best), trunk, learner)


def _best_of(folder: Path, learner: Learner) -> Path:
    best = best_checkpoint(folder, learner.name)
    if best is None:
        raise CheckpointError(
            f"{folder} has no best weights of {learner.name!r}.",
            hint=f"It has: {', '.join(sorted(p.name for p in (folder / BEST_NAME).glob('*')))}.",
        )
    return best


def _weights_of(state: Mapping[str, Any], learner: Learner, path: Path) -> Mapping[str, Any]:
    """`probe`, `predictor` and `best` of one learner in the state of a run or of one model.

    In a run's state the predictor has the learner's name, or that of its arm and seed where heads shared it.
    """
    if state["format"] != TRAINING_FORMAT:
        return state
    names = (learner.name, learner.name.removesuffix(f".h{learner.spec.head}"))
    predictor = next((state["predictors"][name] for name in names if name in state["predictors"]), None)
    if learner.name not in state["learners"] or predictor is None:
        raise CheckpointError(
            f"{path} has no weights of {learner.name!r}; it has {', '.join(state['learners'])}.",
            hint="Use the arms that it was trained with.",
        )
    return {**state["learners"][learner.name], "predictor": predictor}


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one is other or (one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one))


def _several_predictors(trunk: Trunk, folder: Path) -> UsageError:
    """The error for learners that would share one of the predictors that they had each for themselves."""
    names = [learner.name for learner in trunk.learners]
    spec = trunk.learners[-1].spec
    best = (folder if (folder / BEST_NAME).is_dir() else folder.parent) / BEST_NAME / spec.name
    return UsageError(
        f"In {folder} the models {' and '.join(names)} have predictors of their own, but here they share one, since "
        "optimization.train=probe does not train it.",
        hint=f"Start from one of them (classifier_checkpoint={best} with "
        f"experiment.optimization.head={spec.head}), or train what was trained there.",
    )


def _load_learner(weights: Mapping[str, Any], trunk: Trunk, learner: Learner, *, keep_best: bool = False) -> None:
    """Load weights and, with `keep_best`, the epoch and value that chose them."""
    trunk.load_predictor(weights["predictor"])
    learner.probe.load_state_dict(weights["probe"])
    if keep_best:
        learner.best = weights["best"]


def _load_released_probes(loop: Loop, path: Path) -> str:
    """Load V-JEPA 2's evaluation checkpoint: `classifiers`, one state dict per entry of multihead_kwargs."""
    classifiers = read_checkpoint(path).get("classifiers")
    if not isinstance(classifiers, list) or not classifiers:
        raise CheckpointError(
            f"{path} has no list of probes under 'classifiers'.",
            hint="Pass a run folder, a checkpoint folder, or a probe file that V-JEPA 2's evaluation saved.",
        )
    for learner in loop.learners:
        head = learner.spec.head
        if head >= len(classifiers):
            raise CheckpointError(
                f"{path} has {len(classifiers)} probe(s), but probe {head} is wanted.",
                hint=f"Set experiment.optimization.head=0..{len(classifiers) - 1}.",
            )
        tensors = {key: value for key, value in classifiers[head].items() if isinstance(value, torch.Tensor)}
        load_strict(learner.probe, strip_prefixes(tensors), what=f"probe {head} of {path}")
    return (
        f"Probes from {path}, which does not say which actions its outputs mean: the sorted order of (verb, noun) is "
        "assumed; a file written by V-JEPA 2 may have another order."
    )
