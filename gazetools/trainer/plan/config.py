"""The training config: reading the YAML, `key.path=value` overrides, and the rule for anticipation anchors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.io.yaml_files import parse_yaml, read_yaml_mapping
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import Range, TrainingConfig

_MAX_DEPTH = 32
_START: Range = (1.0, 1.0)
_END: Range = (0.0, 0.0)


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with every `key.path=value` set; values are YAML, list entries are named by number.

    Example: `["experiment.optimization.batch_size=4", "experiment.optimization.multihead_kwargs.0.lr=1e-4"]`.
    """
    result = copy.deepcopy(dict(values))
    for override in overrides:
        path, equals, text = override.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts) or len(parts) > _MAX_DEPTH:
            raise UsageError(
                f"The override {override!r} is not of the form key.path=value.",
                hint="For example: experiment.optimization.num_epochs=1",
            )
        _set_at(result, parts, parse_yaml(text, what=f"The value of {path}"), override)
    return result


def _set_at(values: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    current: Any = values
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(current, list):
            if not part.isdigit() or int(part) >= len(current):
                raise UsageError(
                    f"The override {override!r} names entry {part!r} of a list with {len(current)} entries.",
                    hint=f"Use a number in 0..{len(current) - 1}, or set the whole list.",
                )
            key: Any = int(part)
        elif isinstance(current, dict):
            key = part
            if not last and current.get(key) is None:
                current[key] = {}
        else:
            raise UsageError(
                f"The override {override!r} goes below '{'.'.join(parts[:depth])}', which is a single value."
            )
        if last:
            current[key] = value
        else:
            current = current[key]


def load_config(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> TrainingConfig:
    """The checked config of a YAML file or mapping with overrides applied.

    Raises UsageError with every unknown key (and its nearest known name) and every wrong value at once.
    """
    if isinstance(config, Mapping):
        values, what = dict(config), "The training config"
    else:
        values, what = read_yaml_mapping(Path(config)), str(config)
    return parse_settings(TrainingConfig, apply_overrides(values, overrides), what=what)


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


def resolve_anchors(config: TrainingConfig) -> AnchorPlan:
    """Decide the anchors by one rule, which is told in `AnchorPlan.rule`.

    1. `anchor` is set: it holds in training and validation; anticipation points are not used.
    2. The file was written for the V-JEPA 2 tree (its module_name starts with `evals.`, or it has an anticipation
       point): training keeps V-JEPA 2's points (default: the action end), validation is reported under both anchors.
    3. Otherwise: the action start (the EPIC-KITCHENS protocol).
    """
    data = config.experiment.data
    points = [
        f"{key}={list(value)}"
        for key in ("train_anticipation_point", "val_anticipation_point")
        if (value := getattr(data, key)) is not None
    ]
    start, end = NamedAnchor(name="start", point=_START), NamedAnchor(name="end", point=_END)
    if data.anchor is not None:
        anchor = start if data.anchor == "start" else end
        ignored = f"; {' and '.join(points)} not used" if points else ""
        return AnchorPlan(
            train=anchor, validation=(anchor,), rule=f"anchor: {data.anchor} (set in the config{ignored})"
        )
    if points or config.model_kwargs.module_name.startswith("evals."):
        train = _named(data.train_anticipation_point or _END)
        validation = [start, end]
        if data.val_anticipation_point is not None and _named(data.val_anticipation_point) not in validation:
            validation.append(_named(data.val_anticipation_point))
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
