"""Run folders as a report needs them: the chosen model of every arm and seed, and its predictions by split."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.annotations.segment import group_of
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import UsageError
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.predictions import Predictions, read_predictions
from gazetools.trainer.report.stats import Hits


@dataclass(frozen=True, kw_only=True)
class ModelOfRun:
    """One seed of one arm: of several probes the one that was best where the choice was made."""

    arm: str
    seed: int
    name: str  # name of the model in its run
    run: str
    chosen_by: dict[str, Any]  # epoch, metric and value that chose it
    splits: dict[str, Predictions]  # split -> the saved predictions
    final: dict[str, dict[str, Any]]  # split -> its measures and counts in result.json

    def counts(self, split: str) -> dict[str, int]:
        """Clips that count (training has their classes), their videos, and their takes or videos: the clusters."""
        predictions = self.splits[split]
        known = known_clips(predictions)
        names = [predictions.video_ids[index] for index in np.unique(predictions.arrays["video"][known])]
        return {"clips": int(known.sum()), "videos": len(names), "clusters": len(set(map(group_of, names)))}


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
        """The models of an arm, one per seed, that were measured on `split`."""
        return [model for model in self.models if model.arm == arm and split in model.splits]

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
    """Read finished runs. Raises UsageError for a folder without a finished run, and for runs that do not compare."""
    runs, models, histories = {}, [], {}
    for folder in folders:
        path, metrics = RunFolder(folder).result, RunFolder(folder).metrics
        if not path.is_file():
            raise UsageError(f"{folder} is no run folder: it has no result.json.", hint="Pass the folder of a run.")
        document = read_json(path)
        if document.get("status") != "done" or not document.get("final"):
            raise UsageError(
                f"The run {folder} is not finished (status {document.get('status')!r}).",
                hint="Finish it with the same gazetools train command.",
            )
        runs[str(folder)] = document
        models += _models(folder, document, alone=len(folders) == 1)
        if metrics.is_file():
            histories[str(folder)] = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    seen: dict[tuple[str, int], str] = {}
    for model in models:
        if (before := seen.setdefault((model.arm, model.seed), model.run)) != model.run:
            raise UsageError(
                f"Arm {model.arm!r} with seed {model.seed} is in {before} and in {model.run}.",
                hint="Name the arms differently, or report the runs apart.",
            )
    study = Study(runs=runs, models=models, histories=histories)
    for split in study.splits:
        clips = _identity(study.predictions(split))
        if any(_identity(model.splits[split]) != clips for model in models if split in model.splits):
            raise UsageError(
                f"The runs were measured on different clips of {split}.", hint="Report runs of the same annotations."
            )
    return study


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
            name=name,
            run=str(folder),
            chosen_by=best.get(name) or {},
            splits={path.stem: read_predictions(path) for path in files if path.stem in final[name]},
            final=final[name],
        )
        models.append(found)
    return models


def _identity(predictions: Predictions) -> tuple[list[int], list[str]]:
    """Annotation row and video of every clip."""
    arrays = predictions.arrays
    return arrays["row"].tolist(), [predictions.video_ids[number] for number in arrays["video"]]


def hits_of(models: list[ModelOfRun], split: str, task: str, k: int, *, keep: Any = None) -> Hits:
    """Hits of an arm, averaged over its seeds; `keep` bool [N] chooses clips.

    Clips with a class that training lacks are left out, as in the metrics of the run. Cameras of one take are one
    cluster. Raises UsageError where no clip is left.
    """
    tables = [model.splits[split].arrays for model in models]
    hit = np.mean([table[f"rank_{task}"] < k for table in tables], axis=0)
    first = models[0].splits[split]
    groups = np.unique([group_of(name) for name in first.video_ids], return_inverse=True)[1][first.arrays["video"]]
    kept = known_clips(first) if keep is None else known_clips(first) & keep
    if not kept.any():
        raise UsageError(f"Training lacks a class of every clip of {split}: there is nothing to report.")
    cluster = np.unique(groups[kept], return_inverse=True)[1]
    return Hits(hit=hit[kept], label=tables[0][f"label_{task}"].astype(np.int64)[kept], cluster=cluster)


def known_clips(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Whether training has every class of a clip, bool [N]."""
    arrays = predictions.arrays
    return np.all([arrays[f"label_{task}"] < len(arrays[f"classes_{task}"]) for task in predictions.tasks], axis=0)
