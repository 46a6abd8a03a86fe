"""The answer of a report in few numbers: per arm the figure with its interval and its difference to the baseline."""

from __future__ import annotations

from typing import Any

from gazetools.trainer.report.load import Study

PRIMARY_ARM = "estimated"
PRIMARY_TASK = "action"

Rows = list[dict[str, Any]]


def summary_of(arms: Rows, contrasts: Rows, figure: str) -> dict[str, dict[str, Any]]:
    """Arm -> task -> `value`, `low`, `high` (percent), `clips`, `videos`, `clusters`, `seeds` (seed -> value) and
    `difference` to the baseline: `value`, `low`, `high` (points), `p`, `p_holm`; None for the baseline.
    """
    differences = {(row["arm"], row["task"]): {"value": row["difference"], **_interval(row)} for row in contrasts}
    found: dict[str, dict[str, Any]] = {}
    for row in arms:
        own = found.setdefault(row["arm"], {}).setdefault(row["task"], {"seeds": {}})
        if "value" not in own:  # the first row of an arm is that of all its seeds
            own |= {"value": row[figure], "low": row[f"{figure} low"], "high": row[f"{figure} high"]}
            own |= {key: row[key] for key in ("clips", "videos", "clusters")}
            own["difference"] = differences.get((row["arm"], row["task"]))
        if row["seed"] != "all":
            own["seeds"][row["seed"]] = row[figure]
    return found


def primary_answer(study: Study, split: str, contrasts: Rows, figure: str) -> dict[str, Any] | None:
    """`estimated - none` on the action, with what it rests on; None where one of the two arms is missing."""
    row = next((row for row in contrasts if row["primary"]), None)
    if row is None:
        return None
    models = study.of(PRIMARY_ARM, split)
    return {
        "contrast": row["contrast"],
        "split": split,
        "task": PRIMARY_TASK,
        "metric": figure,
        "difference": row["difference"],
        **_interval(row),
        **models[0].counts(split),
        "seeds": [model.seed for model in models],
        "baseline_seeds": [model.seed for model in study.of(row["baseline"], split)],
    }


def _interval(contrast: dict[str, Any]) -> dict[str, float]:
    return {"low": contrast["low"], "high": contrast["high"], "p": contrast["p"], "p_holm": contrast["p (Holm)"]}
