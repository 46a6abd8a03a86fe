"""Predictions in the JSON of the EPIC-KITCHENS-100 action anticipation challenge, and the reader that checks them.

The format is that of the challenge's submissions (version 0.2, evaluated by epic-kitchens/C3-Action-Anticipation): for
each narration id the scores of every verb, of every noun, and of exactly 100 actions, whose names are "verb,noun".
Every annotated action must be there.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.io.atomic import write_bytes_atomic
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.trainer.folder.predictions import Predictions

VERBS, NOUNS, ACTIONS = 97, 300, 100  # EPIC_100_verb_classes.csv, EPIC_100_noun_classes_v2.csv; actions per clip
VERSION, CHALLENGE = "0.2", "action_anticipation"
_LEVELS = ("sls_pt", "sls_tl", "sls_td")
_MAX_LEVEL = 5
_IDS = tuple(str(number) for number in range(max(VERBS, NOUNS)))
"""Texts of class ids, shared by all actions of a submission."""


@dataclass(frozen=True, kw_only=True)
class SupervisionLevels:
    """Supervision of a method by the challenge's rules, 0..5 each: pretraining, training labels, training data."""

    pretraining: int
    training_labels: int
    training_data: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= _MAX_LEVEL:
                raise UsageError(f"The supervision level {name} is {value}; the challenge knows 0..{_MAX_LEVEL}.")

    def as_list(self) -> list[int]:
        """The three levels in the order of `parse`."""
        return [self.pretraining, self.training_labels, self.training_data]

    @staticmethod
    def parse(text: str) -> SupervisionLevels:
        """The levels of a text `PT,TL,TD`, such as `2,3,3`."""
        parts = text.split(",")
        if len(parts) != len(_LEVELS) or not all(part.strip().isdigit() for part in parts):
            raise UsageError(
                f"--epic-sls {text!r}: three numbers are wanted, pretraining, training labels and training data.",
                hint="For example --epic-sls 2,3,3; the challenge's page says what they mean.",
            )
        pretraining, labels, data = (int(part) for part in parts)
        return SupervisionLevels(pretraining=pretraining, training_labels=labels, training_data=data)


def write_epic(path: Path, predictions: Predictions, levels: SupervisionLevels) -> int:
    """Write the submission of one model on one split, read it back, and return the number of actions.

    Classes that training lacks have no output; their score is the clip's lowest score of the task minus 1. Actions of
    a test split that could not be observed have how often each class occurs in training, as a logarithm. Raises
    UsageError where the predictions are not of EPIC-KITCHENS-100, lack narration ids, or hold too few scores.
    """
    names, arrays = predictions.clip_names, predictions.arrays
    if set(predictions.tasks) != {"verb", "noun", "action"}:
        raise UsageError(
            f"The challenge wants verb, noun and action; these predictions have {', '.join(predictions.tasks)}.",
            hint="Only runs on EPIC-KITCHENS-100's annotations can be handed in.",
        )
    if not names or not all(names) or len(set(names)) != len(names):
        without = len(arrays["clip"]) - len(set(filter(None, names)))
        raise UsageError(
            f"{without} of {len(arrays['clip'])} clips have no narration_id or one that other clips share; "
            "the challenge asks for predictions by narration_id.",
            hint="Use annotations with the column narration_id, and measure again with val_only=true.",
        )
    actions = [f"{verb},{noun}" for verb, noun in arrays["classes_action"].tolist()]
    best, scores = arrays["top_action"][:, :ACTIONS].tolist(), arrays["score_action"][:, :ACTIONS].tolist()
    if len(best[0]) < min(ACTIONS, len(actions)):
        raise UsageError(
            f"Only {len(best[0])} action scores per clip were saved, the challenge takes {ACTIONS}.",
            hint=f"Measure again with experiment.evaluation.save_top={ACTIONS} and val_only=true.",
        )
    tables = {task: _whole_scores(predictions, task, count) for task, count in (("verb", VERBS), ("noun", NOUNS))}
    others = _other_actions(set(actions))
    results: dict[str, Any] = {}
    for place, name in enumerate(names):
        found = {actions[a]: s for a, s in zip(best[place], scores[place], strict=True)}
        results[name] = _entry({task: table[place] for task, table in tables.items()}, found, others)
    unseen = _of_training(predictions, actions, others) if predictions.left_out_names else {}
    results |= dict.fromkeys(predictions.left_out_names, unseen)
    supervision = dict(zip(_LEVELS, levels.as_list(), strict=True))
    document = {"version": VERSION, "challenge": CHALLENGE, **supervision, "results": results}
    check_epic(document, str(path))
    write_bytes_atomic(path, json.dumps(document, separators=(",", ":"), allow_nan=False).encode())
    return len(read_epic(path)["results"])


def _entry(tables: dict[str, Any], actions: dict[str, float], others: list[str]) -> dict[str, dict[str, float]]:
    """One action's scores; `others` fill up to 100 actions where training has fewer, below all that it has."""
    filled = dict.fromkeys(others[: ACTIONS - len(actions)], min(actions.values()) - 1)
    scores = {task: dict(zip(_IDS, table.tolist(), strict=False)) for task, table in tables.items()}
    return {**scores, "action": {**actions, **filled}}


def _other_actions(known: set[str]) -> list[str]:
    """100 actions that are not in `known`, the lowest ids first."""
    every = (f"{verb},{noun}" for verb in range(VERBS) for noun in range(NOUNS))
    return list(itertools.islice((action for action in every if action not in known), ACTIONS))


def _of_training(predictions: Predictions, actions: list[str], others: list[str]) -> dict[str, dict[str, float]]:
    """The logarithm of how often each class occurs in training; what does not occur is 1 below the rarest."""
    arrays, tables = predictions.arrays, {}
    for task, count in (("verb", VERBS), ("noun", NOUNS)):
        logs = np.log(arrays[f"train_count_{task}"].astype(np.float64))
        tables[task] = np.full(count, logs.min() - 1)
        tables[task][arrays[f"classes_{task}"]] = logs
    logs = np.log(arrays["train_count_action"].astype(np.float64))
    best = np.argsort(-logs, kind="stable")[:ACTIONS].tolist()
    return _entry(tables, {actions[place]: float(logs[place]) for place in best}, others)


def _whole_scores(predictions: Predictions, task: str, count: int) -> Any:
    """Scores of a task, float64 [N, count], with a column per original class id."""
    arrays = predictions.arrays
    ids, top, scores = arrays[f"classes_{task}"], arrays[f"top_{task}"], arrays[f"score_{task}"]
    if ids.max() >= count:
        raise UsageError(f"The {task} class {ids.max()} is none of EPIC-KITCHENS-100's {count}.")
    if top.shape[1] < len(ids):
        raise UsageError(
            f"Only {top.shape[1]} of {len(ids)} {task} scores were saved.",
            hint="Measure again with this version and val_only=true: it saves all of them.",
        )
    table = np.repeat(scores.min(axis=1, keepdims=True).astype(np.float64) - 1, count, axis=1)
    np.put_along_axis(table, ids[top], scores.astype(np.float64), axis=1)
    return table


def read_epic(path: Path) -> dict[str, Any]:
    """A valid submission. Raises DataFileError with every problem (at most 20 shown) for another file."""
    document = read_json(path, max_bytes=4 << 30)
    check_epic(document, str(path))
    return dict(document)


def check_epic(document: Any, name: str) -> None:
    """Raise DataFileError where `document` is no submission to the challenge."""
    problems = []
    if not isinstance(document, dict) or not isinstance(document.get("results"), dict) or not document["results"]:
        raise DataFileError(f"{name} is no submission: it has no results by narration id.")
    if (document.get("version"), document.get("challenge")) != (VERSION, CHALLENGE):
        problems.append(f"version and challenge are not {VERSION} and {CHALLENGE}")
    problems += [
        f"{level} is {document.get(level)!r}, not a number in 0..{_MAX_LEVEL}"
        for level in _LEVELS
        if not isinstance(document.get(level), int) or not 0 <= document[level] <= _MAX_LEVEL
    ]
    wanted = {"verb": {str(n) for n in range(VERBS)}, "noun": {str(n) for n in range(NOUNS)}}
    for clip, scores in document["results"].items():
        problems += [f"{clip}: {text}" for text in _clip_problems(scores, wanted)]
        if len(problems) > 20:
            break
    if problems:
        raise DataFileError(f"{name} is no valid submission: {'; '.join(problems[:20])}.", problems=problems)


def _clip_problems(scores: Any, wanted: dict[str, set[str]]) -> list[str]:
    if not isinstance(scores, dict) or set(scores) != {"verb", "noun", "action"}:
        return ["it does not have exactly verb, noun and action"]
    problems = [
        f"not every {task} from 0 to {len(ids) - 1}" for task, ids in wanted.items() if set(scores[task]) != ids
    ]
    if len(scores["action"]) != ACTIONS:
        problems.append(f"{len(scores['action'])} actions instead of {ACTIONS}")
    pairs = [action.split(",") for action in scores["action"]]
    if not all(len(p) == 2 and p[0] in wanted["verb"] and p[1] in wanted["noun"] for p in pairs):
        problems.append('an action is not named "verb,noun"')
    values = [value for task in scores.values() for value in task.values()]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        problems.append("a score is not a finite number")
    return problems
