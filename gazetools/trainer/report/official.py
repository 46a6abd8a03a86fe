"""Mean top-5 recall overall, of unseen participants and of tail classes, as the EPIC-KITCHENS-100 challenge defines it.

Source: epic-kitchens/C3-Action-Anticipation, evaluate_anticipation_json_ek100.py, compute_anticipation_metrics. Every
annotated action counts, also those of classes that training lacks, which no answer hits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.metrics.crossed import Floats
from gazetools.trainer.folder.predictions import Predictions
from gazetools.trainer.report.compare import hits_of
from gazetools.trainer.report.load import Study

FIGURE = "mean top-5 recall"
_K = 5  # of the challenge, whatever --k says


def official_of(study: Study, split: str) -> dict[str, Any] | None:
    """`rows` (arm, task, group, clips, classes, `mean top-5 recall` in percent, the mean over trainings), `annotated`
    actions, `measured` ones, and the names of the `lists`; None where the annotations had no lists of groups.
    """
    first = study.predictions(split)
    if not _groups(first, first.tasks[0]).keys() - {"overall"}:
        return None
    rows = []
    for arm in study.arms:
        models = study.of(arm, split)
        for task in first.tasks:
            label = first.arrays[f"label_{task}"]
            hits: Floats = np.mean([hits_of(model.splits[split], task, _K) for model in models], axis=0)
            for group, members in _groups(first, task).items():
                found = class_mean(hits[members], label[members])
                counts = {"clips": int(members.sum()), "classes": len(np.unique(label[members]))}
                rows.append({"arm": arm, "task": task, "group": group, **counts, FIGURE: found})
    run = next(model.run for model in study.models if split in model.splits)
    data = study.runs[run]["data"]
    annotated = data["validation"].get(split.removeprefix("val_"), {}).get("rows")
    return {
        "rows": rows,
        "annotated": annotated,
        "measured": len(first.arrays["clip"]),
        "lists": data["official_lists"],
    }


def class_mean(hits: Floats, label: npt.NDArray[np.int64]) -> float | None:
    """Mean over the classes that occur of the share of their clips that were hit, in percent; None without clips."""
    if not len(label):
        return None
    _, place, count = np.unique(label, return_inverse=True, return_counts=True)
    return float(100 * np.mean(np.bincount(place, weights=hits) / count))


def _groups(predictions: Predictions, task: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Group -> the clips in it, bool [N]; those whose list was not there are left out."""
    arrays = predictions.arrays
    found = {"overall": np.ones(len(arrays[f"label_{task}"]), dtype=bool)}
    for group, name in (("unseen", "unseen_participant"), ("tail", f"tail_{task}")):
        if name in arrays:
            found[group] = arrays[name]
    return found
