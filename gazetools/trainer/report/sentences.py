"""The sentences of a verdict. They claim no more than the verdict says; docs/statistics.md lists all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gazetools.metrics.crossed import MIN_SEEDS_FOR_P, CrossedEstimate
from gazetools.metrics.verdicts import (
    MAX_PLANNED_SEEDS,
    MIN_CLUSTERS,
    NoiseFloor,
    Varies,
)
from gazetools.schemas.report import Verdict


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Everything that the sentences about a primary contrast speak of."""

    arm: str
    baseline: str
    task: str
    metric: str
    estimate: CrossedEstimate
    varies: Varies
    unit: str  # participant, take or video
    margin: float | None
    planned_gain: float  # points that `seeds_needed` is about
    seeds_needed: int | None
    floor: NoiseFloor | None
    control: dict[str, Any] | None
    verdict: Verdict
    classes: int
    largest_k: int  # largest k below half of the classes
    chosen_here: bool  # epochs were chosen on the clips that are measured
    declared: bool
    p_holm: float | None


def signed(value: float) -> str:
    """A difference in points with its sign: two digits after the point, one from 10 on."""
    return f"{value:+.2f}" if abs(value) < 9.995 else f"{value:+.1f}"


def p_text(p: float) -> str:
    """`p = .006`, `p = .02`, `p < .001`."""
    if p < 0.001:
        return "p < .001"
    text = f"{p:.3f}" if p < 0.0095 else f"{p:.2f}"
    return f"p = {text.removeprefix('0') if p < 0.995 else text}"


def answer_text(answer: Answer) -> tuple[str, str]:
    """The first sentence, which is the verdict, and what belongs to it."""
    lead, rest = _BY_VERDICT[answer.verdict](answer)
    if answer.verdict in ("gain", "loss", "equivalent", "no_relevant_gain", "no_evidence"):
        rest += _after(answer)
    if answer.chosen_here:
        rest += " Epochs were chosen on these clips."
    return lead, rest.strip()


def _basis(answer: Answer) -> str:
    """`95 % interval -0.80 to +2.00, p = .34; 5 trainings of each arm, 32 participants`."""
    found = answer.estimate
    p = answer.p_holm if not answer.declared else found.p
    said = f", {p_text(p)}{'' if answer.declared else ' (Holm)'}" if p is not None else ""
    interval = f"95 % interval {signed(found.low or 0.0)} to {signed(found.high or 0.0)}"
    return f"{interval}{said}; {found.seeds} trainings of each arm, {_units(answer)}"


def _units(answer: Answer) -> str:
    return f"{answer.estimate.clusters} {answer.unit}{'s' * (answer.estimate.clusters != 1)}"


def _figure(answer: Answer) -> str:
    return f"{answer.task} {answer.metric}"


def _gain(answer: Answer) -> tuple[str, str]:
    lead = f"Yes: {answer.arm} is above {answer.baseline} by {signed(answer.estimate.value)} points"
    return lead, f"of {_figure(answer)} ({_basis(answer)})."


def _loss(answer: Answer) -> tuple[str, str]:
    points = signed(abs(answer.estimate.value)).removeprefix("+")
    lead = f"No: {answer.arm} is below {answer.baseline} by {points} points"
    return lead, f"of {_figure(answer)} ({_basis(answer)})."


def _no_evidence(answer: Answer) -> tuple[str, str]:
    found = answer.estimate
    minus = f"{answer.arm} minus {answer.baseline} is {signed(found.value)} points of {_figure(answer)}"
    text = f"{minus} ({_basis(answer)}): no gain is shown"
    if found.high90 is not None and found.high90 > 0:
        text += f", and one of up to {signed(found.high90)} is not excluded (95 %, one-sided)"
    return "Not shown.", f"{text}.{_needed(answer)}"


def _needed(answer: Answer) -> str:
    if answer.planned_gain <= 0:
        return ""
    gain = f"a gain of {answer.planned_gain:.2g}"
    if answer.seeds_needed is None:
        return f" {MAX_PLANNED_SEEDS} trainings would not settle {gain}: more {answer.unit}s are needed."
    return f" About {answer.seeds_needed} trainings would settle {gain}."


def _equivalent(answer: Answer) -> tuple[str, str]:
    found = answer.estimate
    within = f"{signed(found.low90 or 0.0)} to {signed(found.high90 or 0.0)} (90 % interval; {_trainings(answer)})"
    rest = f"{answer.arm} minus {answer.baseline} lies within {within}, inside the declared margin of"
    return "No difference that matters:", f"{rest} {_margin(answer)} of {_figure(answer)}."


def _no_relevant_gain(answer: Answer) -> tuple[str, str]:
    most = signed(answer.estimate.high90 or 0.0)
    lead = f"A gain of {_margin(answer)} or more is excluded:"
    return lead, f"at most {most} of {_figure(answer)} (95 %, one-sided; {_trainings(answer)})."


def _margin(answer: Answer) -> str:
    margin = answer.margin or 0.0
    return f"{margin:g} point{'s' * (margin != 1)}"


def _trainings(answer: Answer) -> str:
    return f"{answer.estimate.seeds} trainings of each arm, {_units(answer)}"


def _too_few_seeds(answer: Answer) -> tuple[str, str]:
    found = answer.estimate
    difference = f"the difference is {signed(found.value)} points of {_figure(answer)}"
    if found.low is not None and found.high is not None:
        difference += f" (95 % interval {signed(found.low)} to {signed(found.high)} over {_units(answer)})"
    remedy = f"Run at least {MIN_SEEDS_FOR_P} trainings, better 5: `seeds: 5`."
    if found.seeds == 1:
        lead = "No verdict: 1 training of each arm."
        return lead, f"For these two trained models {difference}; another seed may reverse it. {remedy}"
    if answer.varies == "initialisation":
        lead = f"No verdict: {found.seeds} initialisations of one training run (one data order)."
        return lead, f"For that order {difference}. {remedy}"
    return f"No verdict: {found.seeds} trainings of each arm.", f"So far {difference}. {remedy}"


def _too_few_clusters(answer: Answer) -> tuple[str, str]:
    found = answer.estimate
    worth = f" (worth {found.effective_clusters:.1f} of equal size)" if found.clusters > 1 else ""
    lead = f"No verdict: {_units(answer)}{worth}."
    rest = f"The difference on these clips is {signed(found.value)} points of {_figure(answer)}"
    return lead, f"{rest}; intervals need at least {MIN_CLUSTERS}."


def _saturated(answer: Answer) -> tuple[str, str]:
    lead = f"No verdict: {answer.metric} says nothing of {answer.task}: {answer.classes} classes."
    return lead, f"Use --k {answer.largest_k}."


def _after(answer: Answer) -> str:
    """The noise floor and the control."""
    text = ""
    if answer.floor is not None:
        apart = f"{answer.floor.max_abs:.1f} apart"
        text += f" Two {answer.baseline} trainings that differ in nothing but the seed were up to {apart}."
    control = answer.control
    if answer.verdict == "gain" and control is not None and control["p"] is not None:
        found = f"{signed(control['difference'])}, {p_text(control['p'])}"
        if control["above"]:
            text += f" It is also above {control['arm']} ({found})."
        else:
            text += (
                f" It is not above {control['arm']} ({found}): the gain may come from the added parameters, not from "
                "gaze."
            )
    return text


_BY_VERDICT = {
    "saturated": _saturated,
    "too_few_clusters": _too_few_clusters,
    "too_few_seeds": _too_few_seeds,
    "gain": _gain,
    "loss": _loss,
    "equivalent": _equivalent,
    "no_relevant_gain": _no_relevant_gain,
    "no_evidence": _no_evidence,
}
