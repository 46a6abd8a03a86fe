"""`gazetools validate`: findings as a table or as JSON; the exit code says whether there are any."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from gazetools.schemas.findings import Finding, ValidationReport

_MAX_NOTES = 20
_DEEP = "Content"


def validate_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A store, a dataset, or a folder of heatmaps.")],
    videos: Annotated[
        Path | None, typer.Option(help="Folder (or file) of videos: compare with the decoded frames.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="EPIC-KITCHENS style CSV or keystep JSON: which clips have heatmaps.")
    ] = None,
    deep: Annotated[
        int | None,
        typer.Option(help="Decode N frames per video again and compare them.", rich_help_panel=_DEEP, metavar="N"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --deep: the recorded model, to compute maps anew.", rich_help_panel=_DEEP)
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Its weights.", rich_help_panel=_DEEP)] = None,
    backbone: Annotated[Path | None, typer.Option(help="Its DINOv2 weights.", rich_help_panel=_DEEP)] = None,
    heads: Annotated[
        str | None,
        typer.Option(help="With --deep: file:PATH or whole, where the heatmaps have no boxes.", rich_help_panel=_DEEP),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    fail_on: Annotated[str, typer.Option(help="Exit 1 from this severity on: error, warning, note or never.")] = (
        "warning"
    ),
    for_training: Annotated[Path | None, typer.Option(help="Training config: will this dataset load under it.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Is every heatmap whole, and does it belong to its frame? Exit 1 with any error or warning.

    Example: gazetools validate store --videos videos --deep 8 --html report.html
    """
    from gazetools.schemas.errors import UsageError
    from gazetools.schemas.findings import check_fail_on
    from gazetools.validation import validate

    fail_on = check_fail_on(fail_on)
    if for_training is not None and not for_training.is_file():
        raise UsageError(f"The training config {for_training} does not exist.", hint="Check the path.")
    with TERMINAL.progress() as progress:
        report = validate(
            path,
            videos=videos,
            annotations=annotations,
            deep=deep,
            model=model,
            checkpoint=checkpoint,
            backbone=backbone,
            heads=heads,
            html=html,
            further=None if for_training is None else partial(_readiness, for_training, path),
            progress=progress,
        )
    TERMINAL.emit(report.model_dump(mode="json"))
    TERMINAL.show(_findings_table(report))
    TERMINAL.show(_summary_line(report.summary))
    return report.exit_code_for(fail_on)


def _readiness(config: Path, dataset: Path) -> Sequence[Finding]:
    from gazetools.trainer.plan.readiness import readiness_findings

    return readiness_findings(config, dataset)


def _findings_table(report: ValidationReport) -> Table | str:
    """Errors and warnings in full, the first notes."""
    from rich.markup import escape
    from rich.table import Table

    style = {"error": "red", "warning": "yellow", "note": "cyan"}
    loud = [finding for finding in report.findings if finding.severity != "note"]
    notes = [finding for finding in report.findings if finding.severity == "note"]
    table = Table(title="findings", show_lines=True)
    table.add_column("code", no_wrap=True)
    table.add_column("where")
    table.add_column("what, and what to do", ratio=1)
    for finding in [*loud, *notes[:_MAX_NOTES]]:
        colour = style[finding.severity]
        where = "\n".join(part for part in (finding.video_id, _frames(finding.frames)) if part)
        table.add_row(
            f"[{colour}]{finding.severity}[/]\n{finding.code}",
            escape(where),
            escape(f"{finding.message}\n{finding.remedy}"),
        )
    if len(notes) > _MAX_NOTES:
        table.add_row("note", "", f"... and {len(notes) - _MAX_NOTES} more notes; --json has all.")
    return table if report.findings else "No findings: every file was read to its end."


def _frames(frames: list[int] | None) -> str:
    """`frames 3-5, 9, ...`"""
    from gazetools.schemas.findings import frame_runs

    return "" if frames is None else f"frames {frame_runs(frames, most=4)}"


def _summary_line(summary: dict[str, Any]) -> str:
    return (
        f"{summary['kind']}: {summary['videos']} videos, {summary['maps']} maps, {summary.get('videos_decoded', 0)} "
        f"compared with their video: {summary['errors']} errors, {summary['warnings']} warnings, "
        f"{summary['notes']} notes."
    )
