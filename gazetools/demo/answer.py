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
    figure, primary = f"recall@{report['k']}", report["primary"]
    if primary is None:
        raise FaultError(
            f"The report lacks the contrast '{PRIMARY_ARM} - none'.", hint=f"Look at {folder / 'run' / 'result.json'}."
        )
    contrasts = {row["contrast"]: row for row in report["contrasts"]}
    arms: dict[str, dict[str, Any]] = {}
    for row in reversed(report["arms"]):  # the first row of an arm is that of all its trainings
        arms[row["arm"]] = {"recall": row[figure], "low": row[f"{figure} low"], "high": row[f"{figure} high"]}
    for arm, values in arms.items():
        if contrast := contrasts.get(f"{arm} - none"):
            values["minus_none"] = {key: contrast[key] for key in ("difference", "low", "high", "p")}
    scenes = read_json(folder / "scenes" / "scenes.json")["statistics"]
    return {
        "contrast": primary["difference"],
        **{key: primary[key] for key in ("low", "high", "p", "verdict", "lead", "text", "noise_floor")},
        "n": primary["clips"],
        "kitchens": primary["clusters"],
        "trainings": primary["seeds"],
        "seeds": list(plan.seeds),
        "arms": {arm: arms[arm] for arm in ARMS if arm in arms},
        "gaze_model": plan.model,
        "compares": f"{PRIMARY_ARM} - none, {figure} of the next object in percentage points",
        "anticipation_seconds": PRIMARY_HORIZON_SECONDS,
        "chance": 100 * scenes["chance_noun_accuracy"],
        "achievable": 100 * scenes["achievable_noun_accuracy"],
        "horizons": report["horizons"],
    }


def exit_code(answer: Mapping[str, Any]) -> int:
    """0 where gaze helped (contrast above 0), else 1."""
    return 0 if answer["contrast"] > 0 else 1


def headline(answer: Mapping[str, Any]) -> str:
    """The report's verdict in one sentence."""
    if answer["verdict"] == "gain":
        return "Yes: estimated gaze tells what the hand will take next, a second ahead."
    if answer["verdict"] == "loss":
        return "No: with estimated gaze the next object is found less often."
    return answer["lead"] if answer["verdict"].startswith("too_few") else "Not shown in this run."


def sentence(answer: Mapping[str, Any]) -> str:
    """The report's text, and the clips that it was measured on."""
    arms = answer["arms"]
    return (
        f"{answer['text']} Recall of the next object {answer['anticipation_seconds']:g} s before the action: "
        f"{arms[PRIMARY_ARM]['recall']:.1f} % with estimated gaze, {arms['none']['recall']:.1f} % without "
        f"({answer['n']} actions in kitchens that training never saw). "
        f"Guessing gives {answer['chance']:.1f} %; the scenes allow {answer['achievable']:.0f} %."
    )


def controls_sentence(answer: Mapping[str, Any]) -> str:
    """The differences of the control arms, whose maps contain no gaze."""
    parts = [
        f"{arm} {found['difference']:+.1f}"
        + (f" ({found['low']:+.1f} to {found['high']:+.1f})" if found["low"] is not None else "")
        for arm in ("zeros", "shuffled")
        if (found := answer["arms"].get(arm, {}).get("minus_none"))
    ]
    return "Controls against none, in points: " + ", ".join(parts) + "."
