"""`gazetools validate`: findings as a table or as JSON; the exit code says whether there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.io.yaml_files import read_yaml_mapping
from gazetools.schemas.errors import UsageError
from gazetools.schemas.findings import Finding, check_fail_on
from gazetools.schemas.validate import ValidateOptions


@options(ValidateOptions)
def validate_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A store, a dataset, or a folder of heatmaps.")],
    options: ValidateOptions,
    fail_on: Annotated[str, typer.Option(help="Exit 1 from this severity on: error, warning, note or never.")] = (
        "warning"
    ),
    for_training: Annotated[Path | None, typer.Option(help="Training config: will this dataset load under it.")] = None,
) -> int:
    """Is every heatmap whole, and does it belong to its frame? Exit 1 with any error or warning.

    Example: gazetools validate store --videos videos --deep 8 --html report.html
    """
    from gazetools.validation import validate

    fail_on = check_fail_on(fail_on)
    if for_training is not None:
        if not for_training.is_file():
            what = "is a folder" if for_training.is_dir() else "does not exist"
            raise UsageError(f"The training config {for_training} {what}.", hint="Check the path after --for-training.")
        read_yaml_mapping(for_training)  # before all files are read, not after

    def readiness() -> list[Finding]:
        from gazetools.trainer.plan.readiness import readiness_findings

        return [] if for_training is None else readiness_findings(for_training, path, options.chosen)

    with TERMINAL.progress() as progress:
        report = validate(path, options=options, further=readiness, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), tables.findings(report))
    summary = report.summary
    TERMINAL.show(
        f"{summary['kind']}: {summary['videos']} videos, {summary['maps']} maps, {summary.get('videos_decoded', 0)} "
        f"compared with their video: {summary['errors']} errors, {summary['warnings']} warnings, "
        f"{summary['notes']} notes."
    )
    return report.exit_code_for(fail_on)
