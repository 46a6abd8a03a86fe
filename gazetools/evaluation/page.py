"""The HTML page of an evaluation: tables, reliability of in/out, and the best and worst frames as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.evaluation.page_pictures import PictureSources, figure
from gazetools.evaluation.published import TEST_SET_WATCHED
from gazetools.evaluation.run import Scoring
from gazetools.html.charts import Chart, Line, lines
from gazetools.html.frame import render
from gazetools.io.atomic import write_bytes_atomic
from gazetools.metrics.gaze_benchmarks import HIT_DISTANCES
from gazetools.schemas.evaluation import Difference, Estimate, EvaluationTable, Reliability

METRICS = {
    "auc": "AUC",
    "avg_l2": "average L2",
    "min_l2": "minimum L2",
    "angle_deg": "angle (degrees)",
    "inout_ap": "in/out AP",
    "auc_gaussian": "AUC (Gaussian > 0)",
    "p_head": "P.Head",
    "auc_5x5": "AUC (5x5)",
    "picture_angle_deg": "angle in the picture (degrees)",
    **{f"hit_{distance:.2f}": f"L2 < {distance:g}" for distance in HIT_DISTANCES},
    "inout_accuracy": "in/out right at 0.5",
}
"""Metric -> heading, in the order of the columns."""
_Row = tuple[str, list[tuple[str, str]], int]


@dataclass(frozen=True, kw_only=True)
class _ModelPart:
    """What the page shows of one model."""

    name: str
    tables: list[tuple[str, list[_Row]]]
    percentiles: Mapping[str, float]
    reliability: Reliability | None
    ece: str
    brier: str
    curve: Chart | None
    counts: Mapping[str, int]
    failed: Mapping[str, str]
    galleries: list[tuple[str, list[tuple[str | None, str]]]]


def write_html(
    path: Path, table: EvaluationTable, scorings: Sequence[Scoring], *, truth: Path, images: Path | None = None
) -> None:
    """Write the page in one commit. `truth` is what was scored against, `images` the root of a benchmark's pictures."""
    reports = table.reports
    used = {name for report in reports for name in report.overall}
    shown = {name: label for name, label in METRICS.items() if name in used}
    sources = PictureSources(truth=truth if truth.is_dir() else None, images=images)
    first = reports[0]
    page = render(
        "evaluation/page.html.jinja",
        title="gazetools evaluation",
        command="evaluate",
        version=__version__,
        single=len(reports) == 1,
        truth=table.truth,
        notes=first.notes,
        models=[_part(scoring, shown, sources) for scoring in scorings],
        labels=list(shown.values()),
        overview=[_row(report.predicted, report.overall, shown) for report in reports],
        differences=_difference_rows(table.differences, shown),
        label_notes=first.labels,
        published=first.published,
        watched=TEST_SET_WATCHED,
    )
    write_bytes_atomic(path, page.encode("utf-8"))


def _part(scoring: Scoring, shown: Mapping[str, str], sources: PictureSources) -> _ModelPart:
    report = scoring.report
    groups = {f"By {kind.replace('_', ' ')}": found for kind, found in report.groups.items()}
    tables = {"Overall": {"all": report.overall}, **groups}
    galleries = {"Best frames": report.best, "Worst frames": report.worst}
    found = report.reliability
    return _ModelPart(
        name=report.predicted,
        tables=[
            (title, [_row(name, one, shown) for name, one in members.items()]) for title, members in tables.items()
        ],
        percentiles=report.l2_percentiles,
        reliability=found,
        ece=_text(found.ece) if found else "",
        brier=_text(found.brier) if found else "",
        curve=_curve(found) if found else None,
        counts=report.counts,
        failed=report.failed,
        galleries=[(title, [figure(scoring, one, sources) for one in rows]) for title, rows in galleries.items()],
    )


def _row(name: str, found: Mapping[str, Estimate], shown: Mapping[str, str]) -> _Row:
    cells = []
    for one in map(found.get, shown):
        interval = "" if one is None or one.low is None else f"{one.low:.3f} .. {one.high:.3f}"
        cells.append(("" if one is None else f"{one.value:.4f}", interval))
    return name, cells, max((one.count for one in found.values()), default=0)


def _difference_rows(differences: Sequence[Difference], shown: Mapping[str, str]) -> list[_Row]:
    models: dict[str, dict[str, Any]] = {}
    for one in differences:
        models.setdefault(one.predicted, {})[one.metric] = one.difference
    return [_row(name, found, shown) for name, found in models.items()]


def _text(one: Estimate) -> str:
    interval = "" if one.low is None else f" ({one.low:.3f} .. {one.high:.3f})"
    return f"{one.value:.4f}{interval}"


def _curve(found: Reliability) -> Chart:
    """The calibration curve: share inside against the mean score of each bin, with the line of perfect scores."""
    points = [(b.score, b.share_inside) for b in found.bins if b.score is not None and b.share_inside is not None]
    series = {"measured": Line(points=points), "perfect": Line(points=[(n / 10, n / 10) for n in range(11)])}
    return lines(series, x_label="predicted probability of inside", y_label="share inside")
