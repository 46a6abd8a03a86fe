"""`gazetools export`: a gaze model as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.cli.tables import text_table
from gazetools.schemas.export import OnnxOptions, OnnxReport


@options(OnnxOptions)
def export_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name or file of a gaze model, as extract --model takes it.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file; its folder is made if needed.")],
    options: OnnxOptions,
) -> int:
    """Write a gaze model as an ONNX file with fixed names, and compare it with the PyTorch model.

    Example: gazetools export gazelle_tiny -o gazelle_tiny.onnx
    """
    from gazetools.gazemodels.export_model import export_named

    with TERMINAL.progress() as progress:
        report = export_named(model, output, options, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), _written_files(report))
    return 0


def _written_files(report: OnnxReport) -> Table:
    """The written ONNX files with their inputs and outputs; the caption says how well they agree with PyTorch."""

    def tensors(some: Mapping[str, Sequence[int | str]]) -> str:
        return "\n".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in some.items())

    rows = [(one.path, f"{one.bytes / 1e6:.1f} MB", tensors(one.inputs), tensors(one.outputs)) for one in report.files]
    people = " and ".join(map(str, report.checked_people))
    shown = f" on {report.checked_frames} frames of the video and a made picture" if report.checked_frames else ""
    worst = f"largest difference to PyTorch {report.max_difference:.1e}"
    caption = f"Run by {report.checked_with} with {people} people{shown}: {worst}."
    columns: list[str | Column] = [Column("file", overflow="fold"), "size", "inputs", "outputs"]
    return text_table(columns, rows, title=f"{report.metadata.model} as ONNX", caption=caption)
