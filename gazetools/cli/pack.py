"""`gazetools pack`: raw heatmaps to a dataset for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.dataset import PackOptions


@options(PackOptions)
def pack_command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder that extract wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Dataset folder; made if needed.")],
    options: PackOptions,
    video: Annotated[
        list[str] | None, typer.Option(help="Pack this id only; may be repeated.", rich_help_panel="Run")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Videos at a time; default: one per core, at most 4.", rich_help_panel="Run")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was packed with other options.", rich_help_panel="Run")
    ] = False,
) -> int:
    """Normalise, align and pack heatmaps, one file (or folder) per video. What is packed already stays untouched.

    Example: gazetools pack store -o dataset --layout npz --normalize max
    """
    from gazetools.packing import pack

    with TERMINAL.progress() as progress:
        report = pack(
            store, output, options=options, videos=video, overwrite=overwrite, workers=workers, progress=progress
        )
    TERMINAL.result(report.model_dump(mode="json"), tables.packed_videos(report))
    return report.exit_code
