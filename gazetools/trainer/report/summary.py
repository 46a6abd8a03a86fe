"""The answer of a report in few numbers: per arm the figure with its interval and its difference to the baseline."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]


def summary_of(arms: Rows, contrasts: Rows, figure: str, baseline: str) -> dict[str, dict[str, Any]]:
    """Arm -> task -> `value`, `low`, `high` (percent), `clips`, `videos`, `clusters`, `seeds` (training -> value) and
    `difference` to the baseline: `value`, `low`, `high` (points), `p`, `p_holm`; None for the baseline.
    """
    against = [row for row in contrasts if row["baseline"] == baseline]
    differences = {(row["arm"], row["task"]): {"value": row["difference"], **_interval(row)} for row in against}
    found: dict[str, dict[str, Any]] = {}
    for row in arms:
        own = found.setdefault(row["arm"], {}).setdefault(row["task"], {"seeds": {}})
        if "value" not in own:  # the first row of an arm is that of all its trainings
            own |= {"value": row[figure], "low": row[f"{figure} low"], "high": row[f"{figure} high"]}
            own |= {key: row[key] for key in ("clips", "videos", "clusters")}
            own["difference"] = differences.get((row["arm"], row["task"]))
        if row["seed"] != "all":
            own["seeds"][row["seed"]] = row[figure]
    return found


def _interval(contrast: dict[str, Any]) -> dict[str, float | None]:
    return {key: contrast[key] for key in ("low", "high", "p", "p_holm")}
