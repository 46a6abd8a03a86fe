"""Exports of one model of finished runs: which one, and where its files go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_study import PRIMARY_ARM
from gazetools.trainer.data.anchors import refuse_late_observation
from gazetools.trainer.export.epic import SupervisionLevels, write_epic
from gazetools.trainer.export.model import export_model
from gazetools.trainer.folder.checkpoints import best_checkpoint
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.weights import export_weights
from gazetools.trainer.report.load import ModelOfRun, Study, load_study


def export(
    runs: Sequence[str | Path],
    *,
    arm: str | None = None,
    seed: int | None = None,
    split: str | None = None,
    epic: str | Path | None = None,
    levels: SupervisionLevels | None = None,
    weights: str | Path | None = None,
    model_path: str | Path | None = None,
) -> dict[str, Any]:
    """Write the weights and the challenge's predictions of one model; returns what was written as plain values.

    `epic` is a JSON file, with the supervision `levels`, `weights` a folder, `model_path` a folder or a file `.pt` for
    encoder and predictor in V-JEPA 2's own layouts. None means for `arm` `estimated` or the
    only arm, for `seed` the one that was best where its epoch was chosen, for `split` (of the predictions) `val_start`
    or the first validation split. Raises UsageError where the model or the split is not there.
    """
    if epic is not None and levels is None:
        raise UsageError("A submission needs its supervision levels.", hint="Pass --epic-sls PT,TL,TD, such as 2,3,3.")
    study = load_study([Path(run) for run in runs])
    model = choose_model(study, arm, seed)
    written: dict[str, Any] = {"model": model.name, "arm": model.arm, "seed": model.seed, "run": model.run}
    if epic is not None and levels is not None:
        validation = [found for found in model.splits if found.startswith("val_")]
        name = split or ("val_start" if "val_start" in validation or not validation else validation[0])
        if name not in model.splits:
            raise UsageError(f"{model.name} has no split {name!r}.", hint=f"It has: {', '.join(model.splits)}.")
        if name == "test":
            seen = study.runs[model.run]["data"]["test"]
            refuse_late_observation(seen["anchor"], seen["anticipation_time_sec"][0])
        written |= {"epic": str(epic), "split": name, "clips": write_epic(Path(epic), model.splits[name], levels)}
    if weights is not None or model_path is not None:
        checkpoint = best_checkpoint(RunFolder(Path(model.run)).checkpoints, model.name)
        if checkpoint is None:
            raise UsageError(
                f"The run {model.run} has no weights of {model.name}: it only measured them.",
                hint="Export from the run that trained them.",
            )
        if weights is not None:
            written["weights"] = str(export_weights(checkpoint, Path(weights)))
        if model_path is not None:
            written |= export_model(checkpoint, Path(model_path))
    return written


def choose_model(study: Study, arm: str | None, seed: int | None) -> ModelOfRun:
    """The model of an arm and seed. Raises UsageError where there is none, or several arms and none is named."""
    if arm is None:
        if PRIMARY_ARM not in study.arms and len(study.arms) > 1:
            raise UsageError("Several arms could be exported.", hint=f"Pass --export-arm: {', '.join(study.arms)}.")
        arm = PRIMARY_ARM if PRIMARY_ARM in study.arms else study.arms[0]
    found = [model for model in study.models if model.arm == arm and seed in (None, model.seed)]
    if not found:
        there = ", ".join(f"{model.arm} (seed {model.seed})" for model in study.models)
        raise UsageError(f"No run has arm {arm!r}" + (f" with seed {seed}" if seed is not None else "") + f": {there}.")
    return max(found, key=lambda model: model.chosen_by.get("value", 0.0))
