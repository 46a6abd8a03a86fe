"""`gazetools convert`: a dataset into another layout, or another tool's heatmaps into a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.convert import ConvertOptions
from gazetools.schemas.foreign import ArrayChoice


@options(ConvertOptions, ArrayChoice)
def convert_command(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A dataset, or a folder of another tool's .npz or .npy heatmaps.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Dataset folder; made if needed.")],
    options: ConvertOptions,
    choice: ArrayChoice,
) -> int:
    """Copy heatmaps into a dataset of another layout; the numbers stay as they are.

    Example: gazetools convert results -o dataset --layout hdf5
    """
    from gazetools.packing import convert

    with TERMINAL.progress() as progress:
        report = convert(source, output, options=options, choice=choice, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), tables.packed_videos(report))
    return report.exit_code
