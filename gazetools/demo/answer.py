"""The demo's answer from the report of its run: the primary contrast, every arm, and sentences about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazetools.demo.plan import ARMS, PRIMARY_ARM, PRIMARY_HORIZON_SECONDS, DemoPlan
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import FaultError


def read_answer(folder: Path, plan: DemoPlan) -> dict[str, Any]:
    """The first entries of `result.json`, from `report/report.json` and `scenes/scenes.json`.

    No figure is computed here: contrasts, intervals and p-values are those of `gazetools report`, in percentage points
    of class-mean recall@1 of the next object.
    """
    report = read_json(folder / "report" / "report.json")
    figure = f"recall@{report['k']}"
    contrasts = {row["contrast"]: row for row in report["contrasts"]}
    name = f"{PRIMARY_ARM} - none"
    if name not in contrasts:
        raise FaultError(f"The report lacks the contrast {name!r}.", hint=f"Look at {folder / 'run' / 'result.json'}.")
    arms: dict[str, dict[str, Any]] = {}
    for row in reversed(report["arms"]):  # the first row of an arm is the mean of its seeds
        arms[row["arm"]] = {"recall": row[figure], "low": row[f"{figure} low"], "high": row[f"{figure} high"]}
    for arm, values in arms.items():
        if contrast := contrasts.get(f"{arm} - none"):
            values["minus_none"] = {key: contrast[key] for key in ("difference", "low", "high", "p")}
    primary = arms[PRIMARY_ARM]["minus_none"]
    scenes = read_json(folder / "scenes" / "scenes.json")["statistics"]
    return {
        "contrast": primary["difference"],
        **{key: primary[key] for key in ("low", "high", "p")},
        "n": next(r["clips"] for r in report["data"] if (r["split"], r["arm"]) == (report["split"], PRIMARY_ARM)),
        "seeds": list(plan.seeds),
        "arms": {arm: arms[arm] for arm in ARMS if arm in arms},
        "gaze_model": plan.model,
        "compares": f"{name}, {figure} of the next object in percentage points",
        "anticipation_seconds": PRIMARY_HORIZON_SECONDS,
        "chance": 100 * scenes["chance_noun_accuracy"],
        "achievable": 100 * scenes["achievable_noun_accuracy"],
        "horizons": report["horizons"],
    }


def exit_code(answer: Mapping[str, Any]) -> int:
    """0 where gaze helped (contrast above 0), else 1."""
    return 0 if answer["contrast"] > 0 else 1


def headline(answer: Mapping[str, Any]) -> str:
    """One sentence that says what the interval allows to say."""
    if answer["low"] > 0:
        return "Yes: estimated gaze tells what the hand will take next, a second ahead."
    if answer["contrast"] > 0:
        return "Perhaps: estimated gaze is above none, but the interval still includes zero."
    return "Not in this run: the arm with estimated gaze is not above the arm without."


def sentence(answer: Mapping[str, Any]) -> str:
    """The figure with its interval, and the clips that it was measured on."""
    arms, seeds = answer["arms"], len(answer["seeds"])
    return (
        f"Recall of the next object {answer['anticipation_seconds']:g} s before the action: "
        f"{arms[PRIMARY_ARM]['recall']:.1f} % with estimated gaze, {arms['none']['recall']:.1f} % without "
        f"(difference {answer['contrast']:+.1f} points, 95 % interval {answer['low']:+.1f} to {answer['high']:+.1f}; "
        f"{answer['n']} actions in kitchens that training never saw, {seeds} seed{'s' * (seeds > 1)}). "
        f"Guessing gives {answer['chance']:.1f} %; the scenes allow {answer['achievable']:.0f} %."
    )


def controls_sentence(answer: Mapping[str, Any]) -> str:
    """The differences of the control arms, whose maps contain no gaze."""
    parts = [
        f"{arm} {found['difference']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"
        for arm in ("zeros", "shuffled")
        if (found := answer["arms"].get(arm, {}).get("minus_none"))
    ]
    return "Controls against none, in points: " + ", ".join(parts) + "."
