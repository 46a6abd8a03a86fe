"""The answer of a report in few numbers: per arm the figure with its interval and its difference to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gazetools.annotations.segment import group_of
from gazetools.trainer.report.load import ModelOfRun, Study, known_clips

PRIMARY_ARM = "estimated"
PRIMARY_TASK = "action"

Rows = Sequence[dict[str, Any]]


def counts_of(model: ModelOfRun, split: str) -> dict[str, int]:
    """Clips that count (training has their classes), their videos, and their takes or videos: the clusters."""
    predictions = model.splits[split]
    used = np.unique(predictions.arrays["video"][known_clips(predictions)])
    names = [predictions.video_ids[index] for index in used]
    return {
        "clips": int(known_clips(predictions).sum()),
        "videos": len(names),
        "clusters": len({group_of(name) for name in names}),
    }


def summary_of(study: Study, split: str, arms: Rows, contrasts: Rows, k: int) -> dict[str, dict[str, Any]]:
    """Arm -> task -> `value`, `low`, `high` (percent, recall@k), `clips`, `videos`, `clusters`, `seeds` (seed ->
    value) and `difference` to the baseline: `value`, `low`, `high` (points), `p`, `p_holm`; None for the baseline.
    """
    found: dict[str, dict[str, Any]] = {}
    figure = f"recall@{k}"
    for row in arms:
        own = found.setdefault(row["arm"], {}).setdefault(row["task"], {"seeds": {}})
        if "value" not in own:  # the first row of an arm is that of all its seeds
            own |= {"value": row[figure], "low": row[f"{figure} low"], "high": row[f"{figure} high"]}
            own |= {key: row[key] for key in ("clips", "videos", "clusters")}
            own["difference"] = _difference(row["arm"], row["task"], contrasts)
        if row["seed"] != "all":
            own["seeds"][row["seed"]] = row[figure]
    return found


def _difference(arm: str, task: str, contrasts: Rows) -> dict[str, float] | None:
    row = next((row for row in contrasts if row["arm"] == arm and row["task"] == task), None)
    if row is None:
        return None
    return {
        "value": row["difference"], "low": row["low"], "high": row["high"], "p": row["p"], "p_holm": row["p (Holm)"],
    }  # fmt: skip


def primary_answer(study: Study, split: str, arms: Rows, contrasts: Rows, k: int) -> dict[str, Any] | None:
    """`estimated - none` on the action, with what it rests on; None where one of the two arms is missing."""
    row = next((row for row in contrasts if row["primary"]), None)
    if row is None:
        return None
    models = study.of(PRIMARY_ARM, split)
    return {
        "contrast": row["contrast"], "split": split, "task": PRIMARY_TASK, "metric": f"recall@{k}",
        "difference": row["difference"], "low": row["low"], "high": row["high"],
        "p": row["p"], "p_holm": row["p (Holm)"],
        **counts_of(models[0], split),
        "seeds": [model.seed for model in models],
        "baseline_seeds": [model.seed for model in study.of(row["baseline"], split)],
    }  # fmt: skip
