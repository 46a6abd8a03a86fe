"""`test.json` of every model that predicted a test split, for the EPIC-KITCHENS-100 challenge."""

from __future__ import annotations

from typing import Any

from gazetools.trainer.export.epic import SupervisionLevels, write_epic
from gazetools.trainer.folder.predictions import read_predictions
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.plan.settle import RunPlan


def write_submissions(loop: Loop, plan: RunPlan) -> list[dict[str, Any]]:
    """Write the file of every arm and seed, of several probes of the best one; nothing where the config wants none.

    Files of an earlier prediction are replaced, and removed where their model has none now.

    Returns `model`, `file`, number of `actions`, and of those among them that were not observed (`by_frequency`).
    """
    levels = plan.config.experiment.evaluation.epic_sls
    if levels is None or plan.data.test is None:
        return []
    supervision = SupervisionLevels(pretraining=levels[0], training_labels=levels[1], training_data=levels[2])
    chosen: dict[tuple[str, int], Learner] = {}
    for learner in loop.learners:
        if learner.failed is None:
            key = learner.spec.arm, learner.spec.seed
            chosen[key] = max(chosen.get(key, learner), learner, key=_chosen_by)
    several = len({(spec.arm, spec.seed) for spec in plan.learners}) > 1
    written = []
    for old in plan.folder.submissions():
        old.unlink()
    for learner in chosen.values():
        predictions = read_predictions(plan.folder.predictions(learner.name, "test"))
        path = plan.folder.submission(learner.name if several else None)
        count = write_epic(path, predictions, supervision)
        unseen = len(predictions.left_out_names)
        written.append({"model": learner.name, "file": str(path), "actions": count, "by_frequency": unseen})
    return written


def _chosen_by(learner: Learner) -> float:
    """The value that chose the learner's epoch; 0 where its weights were given."""
    return float((learner.best or {"value": 0.0})["value"])
