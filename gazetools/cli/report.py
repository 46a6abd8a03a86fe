"""`gazetools report`: tables, curves and one page of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli import training_tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import UsageError
from gazetools.schemas.report import ExportOptions, ReportOptions


@options(ReportOptions, ExportOptions)
def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")],
    options: ReportOptions,
    exports: ExportOptions,
) -> int:
    """Compare the arms of finished runs: does gaze help? A verdict, contrasts with intervals, curves over horizons.

    Writes report.html (self-contained), report.json, CSV and LaTeX tables, and every plot as SVG and PNG (plots).

    Example: gazetools report runs/arms -o report

    Example: gazetools report runs/arms -o report --format html,md,pdf

    Example: gazetools report runs/arms -o report --export-epic epic.json --epic-sls 2,3,3 --export-weights weights
    """
    from gazetools.trainer.export.epic import SupervisionLevels
    from gazetools.trainer.export.run import export
    from gazetools.trainer.report.run import report

    levels = SupervisionLevels.parse(exports.epic_sls) if exports.epic_sls is not None else None
    if exports.export_epic is not None and levels is None:
        raise UsageError(
            "--export-epic needs --epic-sls PT,TL,TD.",
            hint="The supervision levels are part of a submission: pretraining, training labels, training data.",
        )
    with TERMINAL.progress() as progress:
        document = report(runs, output=output, options=options, progress=progress)
    exported: dict[str, Any] = {}
    if any(path is not None for path in (exports.export_epic, exports.export_weights, exports.export_model)):
        exported = export(
            runs, arm=exports.export_arm, seed=exports.export_seed, epic=exports.export_epic, levels=levels,
            weights=exports.export_weights, model_path=exports.export_model,
            split=exports.export_split or options.split,
        )  # fmt: skip
        document = {**document, "exported": exported}
    TERMINAL.result(document, training_tables.arms(document))
    TERMINAL.say(f"Wrote {', '.join(str(output / f'report.{kind}') for kind in options.format)}.")
    for kind, what in (("weights", "weights"), ("model_file", "encoder and predictor"), ("epic", "epic")):
        if kind in exported:
            TERMINAL.say(f"Wrote {exported[kind]} ({what} of {exported['model']}).")
    verdict = document["primary"]["verdict"] if document["primary"] else None
    if options.require is not None and verdict not in options.require.split(","):
        TERMINAL.say(f"The verdict is {verdict or 'none: the runs lack the primary contrast'}, not {options.require}.")
        return 1
    return 0
