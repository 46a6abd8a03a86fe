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
        str,
        typer.Argument(metavar="PREDICTED", help="A store; for pictures model:NAME_OR_PATH, or an .npz of heatmaps."),
    ],
    truth: Annotated[
        Path,
        typer.Option(help="A ground-truth store, or annotations of GazeFollow or VideoAttentionTarget (text, JSON)."),
    ],
    options: EvaluateOptions,
    html: Annotated[Path | None, typer.Option(help="Write a page with the best and worst frames.")] = None,
) -> int:
    """Score heatmaps: AUC, average and minimum L2, in/out AP, angular error, per camera, distance and prompt kind.

    Example: gazetools evaluate store --truth truth --html scores.html
    """
    from gazetools.evaluation import evaluate
    from gazetools.evaluation.page import METRICS, write_html

    if html is not None and html.is_dir():
        raise UsageError(f"--html {html} is a folder.", hint=f"Name a file: {html / 'scores.html'}.")
    with TERMINAL.progress() as progress:
        report = evaluate(predicted, truth, options=options, progress=progress)
    if html is not None:
        write_html(html, report, pictures_from=truth if truth.is_dir() and Path(predicted).is_dir() else None)
    TERMINAL.result(report.model_dump(mode="json"), tables.scores(report, METRICS))
    TERMINAL.say(", ".join(f"{name} {count}" for name, count in report.counts.items() if count))
    for video_id, reason in report.failed.items():
        TERMINAL.say(f"not scored: {video_id}: {reason}")
    return report.exit_code
