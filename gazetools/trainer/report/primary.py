"""The primary contrast of a study: which one it is, who declared it when, and the answer that a report gives to it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gazetools.metrics.verdicts import Planning, noise_floor, verdict_of
from gazetools.schemas.errors import UsageError
from gazetools.schemas.report import ReportOptions
from gazetools.schemas.training_study import PrimarySettings
from gazetools.trainer.report.load import Study
from gazetools.trainer.report.sentences import Answer, answer_text

if TYPE_CHECKING:
    from gazetools.trainer.report.contrasts import Contrasts

ContrastKey = tuple[str, str, str, str]
"""(arm, baseline, split, task)"""


@dataclass(frozen=True, kw_only=True)
class Primary:
    """The contrast that the verdict is about."""

    key: ContrastKey
    margin: float | None  # points within which a difference does not matter
    declared: bool  # before training: by the config, or by its silence as the default

    @property
    def contrast(self) -> str:
        """`ARM - BASELINE`."""
        return f"{self.key[0]} - {self.key[1]}"


def primary_of(study: Study, options: ReportOptions, leading_split: str) -> Primary:
    """The primary contrast that the runs declare, or the one that `options` choose now.

    Raises UsageError for runs that declare different ones, and for a chosen one whose arms no run has.
    """
    written = {name: run["config"].get("primary") for name, run in study.runs.items()}
    declared = {name: PrimarySettings.model_validate(value or {}) for name, value in written.items()}
    (first, settings), *others = declared.items()
    for name, other in others:
        if other != settings:
            raise UsageError(
                f"{first} declares the primary contrast {settings.contrast!r} and {name} another one: "
                f"{_difference(settings, other)}.",
                hint="Report the runs apart; a primary contrast is declared once, before training.",
            )
    chosen = settings
    if options.primary is not None:
        chosen = PrimarySettings.model_validate({**settings.model_dump(), "contrast": _checked(study, options.primary)})
    if options.margin is not None:
        chosen = chosen.model_copy(update={"margin": options.margin})
    split = leading_split if chosen.horizon is None else f"horizon_{chosen.horizon:g}"
    return Primary(key=(*chosen.arms, split, chosen.task), margin=chosen.margin, declared=chosen == settings)


def _difference(settings: PrimarySettings, other: PrimarySettings) -> str:
    pairs = zip(settings, other, strict=True)
    return ", ".join(f"{name} {mine!r} and {theirs!r}" for (name, mine), (_, theirs) in pairs if mine != theirs)


def _checked(study: Study, contrast: str) -> str:
    first, minus, second = (part.strip() for part in contrast.partition(" - "))
    for name in (first, second):
        if not minus or name not in study.arms:
            raise UsageError(
                f"--primary {contrast!r}: it must be two arms of the runs with ' - ' between them.",
                hint=f"There are: {', '.join(study.arms)}. For example --primary '{study.arms[-1]} - {study.arms[0]}'.",
            )
    return f"{first} - {second}"


def answer_of(contrasts: Contrasts, rows: list[dict[str, Any]], saturation: dict[str, Any]) -> dict[str, Any] | None:
    """The row of the primary contrast with verdict, text, control, noise floor and the trainings that are needed.

    `saturation` is that of the primary task. None where one of the two arms is missing.
    """
    primary, comparison, study = contrasts.primary, contrasts.comparison, contrasts.study
    row = next((row for row in rows if row["primary"]), None)
    found = contrasts.primary_contrast().get(primary.key)
    if row is None or found is None:
        return None
    arm, baseline, split, task = primary.key
    floor = noise_floor(comparison.recall_by_training(baseline, split, task))
    evaluations = [run["config"]["experiment"]["evaluation"] for run in study.runs.values()]
    chosen_here = any(one["held_out"] == 0 and one.get("choose") != "last" for one in evaluations)
    needed = None
    gain = primary.margin if primary.margin is not None else abs(found.estimate.value)
    if (var_seeds := found.estimate.var_seeds) is not None and gain > 0:
        planning = Planning(
            gain=gain,
            seed_sd=math.sqrt(found.estimate.seeds * var_seeds),
            var_clusters=found.estimate.var_clusters or 0.0,
            df_clusters=found.estimate.df_clusters or 1.0,
        )
        needed = planning.seeds_needed()
    full = saturation["saturation"] == "full"
    answer = Answer(
        arm=arm, baseline=baseline, task=task, metric=row["metric"], estimate=found.estimate, varies=found.varies,
        unit=comparison.level, margin=primary.margin, planned_gain=gain, seeds_needed=needed, floor=floor,
        control=_control(contrasts), largest_k=saturation["largest_k"], classes=saturation["classes"],
        verdict=verdict_of(found.estimate, margin=primary.margin, saturated=full, varies=found.varies),
        chosen_here=chosen_here, declared=primary.declared, p_holm=row["p_holm"],
    )  # fmt: skip
    lead, rest = answer_text(answer)
    own = {key: value for key, value in row.items() if key not in ("primary", "arm", "p_strict")}
    return {
        **own,
        **comparison.counts(split),
        "declared": primary.declared,
        "margin": primary.margin,
        "verdict": answer.verdict,
        "lead": lead,
        "text": f"{lead} {rest}",
        "control": answer.control,
        "noise_floor": dataclasses.asdict(floor) if floor is not None else None,
        "planned_gain": gain,
        "seeds_needed": needed,
        "difference_by_training": found.difference_by_training,
    }


def _control(contrasts: Contrasts) -> dict[str, Any] | None:
    """The primary arm against the arm of maps without gaze; it must be above that, too, for gaze to be what helps."""
    found = contrasts.control_contrast()
    if found is None:
        return None
    name, contrast = found
    estimate = contrast.estimate
    above = None if estimate.p is None else estimate.value > 0 and estimate.p < 0.05
    values = {key: getattr(estimate, key) for key in ("low", "high", "p")}
    return {"arm": name, "difference": estimate.value, **values, "seeds": estimate.seeds, "above": above}
