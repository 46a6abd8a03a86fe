"""`gazetools evaluate`: score heatmaps against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from gazetools.schemas.evaluation import EvaluationReport

_MODEL = "Pictures and model (GazeFollow, VideoAttentionTarget)"


def evaluate_command(
    predicted: Annotated[
        str,
        typer.Argument(metavar="PREDICTED", help="A store; for pictures model:NAME_OR_PATH, or an .npz of heatmaps."),
    ],
    truth: Annotated[
        Path,
        typer.Option(help="A ground-truth store, or annotations of GazeFollow or VideoAttentionTarget (text, JSON)."),
    ],
    html: Annotated[Path | None, typer.Option(help="Write a page with the best and worst frames.")] = None,
    depth: Annotated[str, typer.Option(help="Ground truth that counts: measured depth, or any.")] = "measured",
    examples: Annotated[int, typer.Option(help="Best and worst frames on the page, each.")] = 4,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples for intervals; 0: none.")] = 1000,
    images: Annotated[
        str | None, typer.Option(help="Root of the benchmark's pictures.", rich_help_panel=_MODEL)
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Weights for model:NAME.", rich_help_panel=_MODEL)] = None,
    backbone: Annotated[str | None, typer.Option(help="DINOv2 weights.", rich_help_panel=_MODEL)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_MODEL)] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)] = "auto",
    limit: Annotated[int | None, typer.Option(help="Only the first pictures.", rich_help_panel=_MODEL)] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score heatmaps: AUC, average and minimum L2, in/out AP, angular error, per camera, distance and prompt kind.

    Example: gazetools evaluate store --truth truth --html scores.html
    """
    from gazetools.evaluation import evaluate
    from gazetools.evaluation.page import write_html
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.evaluation import EvaluateOptions

    options = parse_settings(
        EvaluateOptions,
        {
            "depth": depth,
            "images": images,
            "checkpoint": checkpoint,
            "backbone": backbone,
            "device": device,
            "dtype": dtype,
            "examples": examples,
            "resamples": resamples,
            "limit": limit,
        },
        what="evaluate",
    )
    with TERMINAL.progress() as progress:
        report = evaluate(predicted, truth, options=options, progress=progress)
    if html is not None:
        write_html(html, report, pictures_from=truth if truth.is_dir() and Path(predicted).is_dir() else None)
    TERMINAL.emit(report.model_dump(mode="json"))
    TERMINAL.show(_table(report))
    TERMINAL.say(", ".join(f"{name} {count}" for name, count in report.counts.items() if count))
    for video_id, reason in report.failed.items():
        TERMINAL.say(f"not scored: {video_id}: {reason}")
    return report.exit_code


def _table(report: EvaluationReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from gazetools.evaluation.page import METRICS

    names = {"all": report.overall}
    for kind, members in report.groups.items():
        names |= {f"{kind} {name}": found for name, found in members.items()}
    shown = [metric for metric in METRICS if metric in report.overall]
    title = escape(f"{report.predicted} against {report.truth}")
    table = Table("", *(METRICS[metric] for metric in shown), "rows", title=title)
    for name, found in names.items():
        cells = []
        for metric in shown:
            one = found.get(metric)
            interval = "" if one is None or one.low is None else f" [{one.low:.3f}, {one.high:.3f}]"
            cells.append("" if one is None else f"{one.value:.4f}" + escape(interval))
        table.add_row(escape(name), *cells, str(max((one.count for one in found.values()), default=0)))
    return table
