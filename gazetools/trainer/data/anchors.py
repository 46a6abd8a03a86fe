"""What the anticipation time counts back from: the anchors of training and validation, and the rule that chose them."""

from __future__ import annotations

from dataclasses import dataclass

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import Range, TrainingConfig

_START: Range = (1.0, 1.0)
_END: Range = (0.0, 0.0)
_CHALLENGE_SECONDS = 1.0
"""Anticipation time of the EPIC-KITCHENS challenge."""


@dataclass(frozen=True, kw_only=True)
class NamedAnchor:
    """One meaning of `anchor`: anchor time = point * action start + (1 - point) * action end."""

    name: str
    """`start`, `end`, or `point_A_B` for a range of V-JEPA 2's anticipation points."""
    point: Range


@dataclass(frozen=True, kw_only=True)
class AnchorPlan:
    """What training and validation count back from, and by which rule that was decided."""

    train: NamedAnchor
    validation: tuple[NamedAnchor, ...]
    """The first one selects the best checkpoint."""
    rule: str


def refuse_late_observation(anchor: str, seconds: float) -> None:
    """UsageError unless the observation ends at least 1 s before the action's start, as the challenge demands."""
    if anchor != "start" or seconds < _CHALLENGE_SECONDS:
        raise UsageError(
            f"The test split is observed until {seconds:g} s before the action's {anchor}; the challenge forbids what "
            f"is shown after {_CHALLENGE_SECONDS:g} s before its start.",
            hint="Set experiment.data.anchor=start and experiment.data.anticipation_time_sec=[1.0,1.0].",
        )


def resolve_anchors(config: TrainingConfig) -> AnchorPlan:
    """The anchors of training and validation.

    1. `anchor` is set: training and validation use it; anticipation points are not used.
    2. The file was written for the V-JEPA 2 tree (its module_name starts with `evals.`, or it has an anticipation
       point): training keeps V-JEPA 2's points (default: the action end), validation is reported under both anchors.
    3. Otherwise: the action start (the EPIC-KITCHENS protocol).
    """
    data = config.experiment.data
    given = {f"{split}_anticipation_point": getattr(data, f"{split}_anticipation_point") for split in ("train", "val")}
    points = [f"{key}={list(value)}" for key, value in given.items() if value is not None]
    start, end = NamedAnchor(name="start", point=_START), NamedAnchor(name="end", point=_END)
    if data.anchor is not None:
        anchor = start if data.anchor == "start" else end
        ignored = f"; {' and '.join(points)} not used" if points else ""
        rule = f"anchor: {data.anchor} (set in the config{ignored})"
        return AnchorPlan(train=anchor, validation=(anchor,), rule=rule)
    if points or config.model_kwargs.module_name.startswith("evals."):
        train = _named(data.train_anticipation_point or _END)
        validation = dict.fromkeys((start, end, _named(data.val_anticipation_point or _END)))
        return AnchorPlan(
            train=train,
            validation=tuple(validation),
            rule="the config was written for the V-JEPA 2 tree and sets no anchor: training keeps its anticipation "
            f"points {list(train.point)} (0 = action end), validation is reported under both anchors",
        )
    return AnchorPlan(train=start, validation=(start,), rule="anchor: start (default, the EPIC-KITCHENS protocol)")


def _named(point: Range) -> NamedAnchor:
    if point in (_START, _END):
        return NamedAnchor(name="start" if point == _START else "end", point=point)
    return NamedAnchor(name=f"point_{point[0]:g}_{point[1]:g}", point=point)
