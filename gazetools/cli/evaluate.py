"""`gazetools evaluate`: score heatmaps against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import UsageError
from gazetools.schemas.evaluation import EvaluateOptions


@options(EvaluateOptions)
def evaluate_command(
    predicted: Annotated[
        list[str],
        typer.Argument(
            metavar="PREDICTED...",
            help="A store; for pictures model:NAME_OR_PATH, or an .npz of heatmaps. Several: one table over all.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            help="A ground-truth store, or annotations of GazeFollow, VideoAttentionTarget, ChildPlay, GOO-Real, as "
            "released or prepared (JSON), or a CSV of clicked points."
        ),
    ],
    options: EvaluateOptions,
    html: Annotated[Path | None, typer.Option(help="Write a page with the best and worst frames.")] = None,
) -> int:
    """Score heatmaps: AUC, average and minimum L2, in/out AP and its reliability, angular error; per group.

    Example: gazetools evaluate store --truth truth --html scores.html
    """
    from gazetools.evaluation import compared, evaluate_models
    from gazetools.evaluation.page import METRICS, write_html

    if html is not None and html.is_dir():
        raise UsageError(f"--html {html} is a folder.", hint=f"Name a file: {html / 'scores.html'}.")
    with TERMINAL.progress() as progress:
        scorings = evaluate_models(predicted, truth, options=options, progress=progress)
    table = compared(scorings, resamples=options.resamples)
    if html is not None:
        images = None if options.images is None else Path(options.images)
        write_html(html, table, scorings, truth=truth, images=images)
    if len(table.reports) == 1:
        (report,) = table.reports
        TERMINAL.result(report.model_dump(mode="json"), tables.scores(report, METRICS))
    else:
        TERMINAL.result(table.model_dump(mode="json"), tables.models_scores(table, METRICS))
    for report in table.reports:
        name = f"{report.predicted}: " if len(table.reports) > 1 else ""
        TERMINAL.say(name + ", ".join(f"{name} {count}" for name, count in report.counts.items() if count))
        for video_id, reason in report.failed.items():
            TERMINAL.say(f"not scored: {video_id}: {reason}")
    for note in table.reports[0].labels:
        what = "heads, scored nevertheless" if note.scored else "rows, left out"
        TERMINAL.say(f"{note.reason}: {note.count} {what}; the first: {note.places[0]}")
    return table.exit_code
