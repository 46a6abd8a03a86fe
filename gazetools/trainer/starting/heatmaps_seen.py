"""The heatmaps of a new config: their kind, their size, and the videos that have some."""

from __future__ import annotations

from dataclasses import dataclass

from gazetools.heatmaps.reader import HeatmapReader
from gazetools.schemas.errors import GazetoolsError
from gazetools.trainer.data.maps.build import is_foreign, source_kinds, source_settings
from gazetools.trainer.plan.settle import RunPlan

_WORDS = {"dataset": "a packed dataset", "store": "a store", "gaze_points": "gaze points"}


@dataclass(frozen=True, kw_only=True)
class FoundHeatmaps:
    """What was seen of the heatmaps."""

    kind: str
    size: str | None
    """`height x width` of a map; None: not looked at."""
    present: int
    wanted: int
    missing: list[str]
    """Videos without heatmaps."""


def look_at_heatmaps(plan: RunPlan) -> FoundHeatmaps:
    """The only source of a plan."""
    data, survey = plan.config.experiment.data, plan.data.survey
    assert survey is not None, "a new config uses heatmaps"
    name, kind = next(iter(source_kinds(data).items()))
    path, size = source_settings(data)[name].path, None
    if kind == "dataset" and survey.present:
        try:
            height, width = HeatmapReader(path, min(survey.present)).shape[1:]
            size = f"{height}x{width}"
        except GazetoolsError:  # another tool's maps that need a choice were refused before; what is left is a detail
            size = None
    words = "another tool's maps" if is_foreign(path, kind) else _WORDS.get(kind, kind)
    return FoundHeatmaps(
        kind=words, size=size, present=len(survey.present), wanted=len(survey.present) + len(survey.missing),
        missing=list(survey.missing),
    )  # fmt: skip
