"""Run folders as a report needs them: the chosen model of every arm and training, and its predictions by split."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.io.json_files import read_json
from gazetools.schemas.errors import UsageError
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.predictions import Predictions, read_predictions
from gazetools.trainer.plan.selection import HELD_OUT
from gazetools.trainer.report.protocol import check_one_protocol


@dataclass(frozen=True, kw_only=True)
class ModelOfRun:
    """One training of one arm: of several probes the one that was best where the choice was made."""

    arm: str
    seed: int  # of the new weights
    run_seed: int = 0  # of everything else that a run draws: data order, augmentation, held-out videos
    name: str  # name of the model in its run
    run: str
    chosen_by: dict[str, Any]  # epoch, metric and value that chose it
    splits: dict[str, Predictions]  # split -> the saved predictions
    final: dict[str, dict[str, Any]]  # split -> its measures and counts in result.json

    @property
    def identity(self) -> tuple[int, int]:
        """(run's seed, seed of the new weights): equal ones of two arms are compared as a pair."""
        return self.run_seed, self.seed

    @property
    def training(self) -> str:
        """Name of the training in tables: the seed, after the run's seed where the two differ in a study of runs."""
        return str(self.seed) if self.seed == self.run_seed else f"{self.run_seed}.{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """All finished runs of a report."""

    runs: dict[str, dict[str, Any]]  # folder -> its result.json
    models: list[ModelOfRun]
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # folder -> metrics.jsonl, if any

    @property
    def arms(self) -> list[str]:
        """Names of all arms, in the order of the runs."""
        return list(dict.fromkeys(model.arm for model in self.models))

    def of(self, arm: str, split: str) -> list[ModelOfRun]:
        """The models of an arm, one per training, that were measured on `split`."""
        return [model for model in self.models if model.arm == arm and split in model.splits]

    def label(self, model: ModelOfRun) -> str:
        """Name of a model's training in tables: its own seed alone where the study has one run seed."""
        return model.training if len({one.run_seed for one in self.models}) > 1 else str(model.seed)

    def history_of(self, model: ModelOfRun) -> list[dict[str, Any]]:
        """One entry per epoch: train_loss, and loss and action recall of every split that was measured then."""
        history = self.histories.get(model.run, [])
        return [{"epoch": entry["epoch"], **_own_values(entry, model.name)} for entry in history]

    @property
    def splits(self) -> list[str]:
        """Every split that any model was measured on."""
        return list(dict.fromkeys(split for model in self.models for split in model.splits))

    @property
    def anticipation_seconds(self) -> list[float]:
        """Shortest and longest anticipation time that validation draws; those of the first run."""
        first = next(iter(self.runs.values()))
        return list(first["config"]["experiment"]["data"]["anticipation_time_sec"])

    def predictions(self, split: str) -> Predictions:
        """Predictions of the first model that was measured on `split`; all models have the same clips and classes."""
        return next(model.splits[split] for model in self.models if split in model.splits)


def load_study(folders: list[Path]) -> Study:
    """Read finished runs; a folder of several trainings stands for all of them.

    Raises UsageError for a folder without a finished run, and for runs that do not compare: other clips or labels,
    another protocol, the same training twice.
    """
    runs, models, histories = {}, [], {}
    chosen = [folder for given in folders for folder in _trainings(given)]
    for folder in chosen:
        document, metrics = _finished(folder), RunFolder(folder).metrics
        runs[str(folder)] = document
        models += _models(folder, document, alone=len(folders) == 1)
        if metrics.is_file():
            histories[str(folder)] = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    check_one_protocol({name: document["config"] for name, document in runs.items()})
    _check_models_differ(models)
    _leave_out_own_held_out(models)
    study = Study(runs=runs, models=models, histories=histories)
    _check_same_clips(study)
    return study


def _trainings(folder: Path) -> list[Path]:
    """The folders of the trainings of `folder`, or the folder itself."""
    path = RunFolder(folder)
    document = read_json(path.result) if path.result.is_file() else None
    trainings = (document.get("trainings") or []) if isinstance(document, dict) else None
    if not isinstance(trainings, list) or not all(isinstance(one, dict) and "seed" in one for one in trainings):
        below = sorted(one.parent for one in folder.glob("*/result.json")) if folder.is_dir() else []
        hint = (
            f"It has runs below it: pass {' '.join(map(str, below[:3]))} ..." if below else "Pass the folder of a run."
        )
        raise UsageError(f"{folder} is no run folder: it has no result.json of a training.", hint=hint)
    return [path.training(training["seed"]) for training in trainings] or [folder]


def _finished(folder: Path) -> dict[str, Any]:
    """The result.json of a finished run."""
    path = RunFolder(folder).result
    document: dict[str, Any] = read_json(path) if path.is_file() else {}
    if document.get("status") != "done" or not document.get("final"):
        raise UsageError(
            f"The run {folder} is not finished (status {document.get('status')!r}).",
            hint="Finish it with the same gazetools train command.",
        )
    return document


def _check_models_differ(models: list[ModelOfRun]) -> None:
    seen: dict[tuple[str, tuple[int, int]], str] = {}
    for model in models:
        if (before := seen.setdefault((model.arm, model.identity), model.run)) != model.run:
            raise UsageError(
                f"Arm {model.arm!r} with seed {model.seed} is in {before} and in {model.run}, both runs with "
                f"seed: {model.run_seed}.",
                hint="A repeated training needs another `seed`. Or name the arms differently, or report runs apart.",
            )


def _leave_out_own_held_out(models: list[ModelOfRun]) -> None:
    """Drop the held-out clips from a report of trainings that each drew their own: no two have the same to compare."""
    own = [model.splits[HELD_OUT] for model in models if HELD_OUT in model.splits]
    if any(_identity(one) != _identity(own[0]) for one in own):
        for model in models:
            model.splits.pop(HELD_OUT, None)


def _check_same_clips(study: Study) -> None:
    for split in study.splits:
        first = next(model for model in study.models if split in model.splits)
        clips = _identity(first.splits[split])
        for model in study.models:
            if split in model.splits and (found := _identity(model.splits[split])) != clips:
                what = "different clips" if found[:2] != clips[:2] else "other classes"
                raise UsageError(
                    f"The runs were measured on {what} of {split}: {first.run} and {model.run}.",
                    hint="Report runs of the same annotations.",
                )


def _own_values(entry: dict[str, Any], name: str) -> dict[str, float]:
    """Losses and action recalls of one model, whose name precedes them in a run of several models."""
    start = f"{name}/" if any(key.startswith(f"{name}/") for key in entry) else ""
    own = {key[len(start) :]: value for key, value in entry.items() if key.startswith(start)}
    wanted = ("_loss", "_action_recall")
    return {key: value for key, value in own.items() if "/" not in key and any(part in key for part in wanted)}


def _models(folder: Path, document: dict[str, Any], *, alone: bool) -> list[ModelOfRun]:
    """Per arm and seed the probe with the best value where it was chosen."""
    final, best = document["final"], document["best_by_learner"]
    chosen: dict[tuple[str, int], tuple[float, str]] = {}
    for name, spec in document["model"]["learners"].items():
        value, key = (best.get(name) or {"value": 0.0})["value"], (spec["arm"], spec["seed"])
        if name in final and (key not in chosen or value > chosen[key][0]):
            chosen[key] = (value, name)
    # Arms are in the order of the config: result.json is sorted by name.
    order = [arm["name"] for arm in document["config"].get("arms", [])]
    models = []
    for arm, seed in sorted(chosen, key=lambda key: (order.index(key[0]) if key[0] in order else 0, key[1])):
        name = chosen[arm, seed][1]
        files = sorted(RunFolder(folder).predictions_of(name).glob("*.npz"))
        found = ModelOfRun(
            arm=folder.name if arm == "main" and not alone else arm,  # runs without arms have their folders' names
            seed=seed,
            run_seed=document["config"].get("seed", 0),
            name=name,
            run=str(folder),
            chosen_by=best.get(name) or {},
            splits={path.stem: read_predictions(path) for path in files if path.stem in final[name]},
            final=final[name],
        )
        models.append(found)
    return models


def _identity(predictions: Predictions) -> tuple[Any, ...]:
    """Annotation row, video and true classes of every clip."""
    arrays = predictions.arrays
    labels = [arrays[f"label_{task}"].tolist() for task in predictions.tasks if f"label_{task}" in arrays]
    known = [arrays[f"classes_{task}"].tolist() for task in predictions.tasks]
    return arrays["row"].tolist(), [predictions.video_ids[number] for number in arrays["video"]], labels, known
