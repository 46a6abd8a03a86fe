"""`gazetools export`: a gaze model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.export import ExportOptions


@options(ExportOptions)
def export_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name or file of a gaze model, as extract --model takes it.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file; its folder is made if needed.")],
    options: ExportOptions,
) -> int:
    """Write a gaze model as an ONNX file with fixed names, and compare it with the PyTorch model.

    Example: gazetools export gazelle_tiny -o gazelle_tiny.onnx
    """
    from gazetools.gazemodels.export_model import export_named

    with TERMINAL.progress() as progress:
        report = export_named(model, output, options, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), tables.exported_files(report))
    return 0
