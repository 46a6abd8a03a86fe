"""`gazetools convert`: a dataset into another layout, or another tool's heatmaps into a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption
from gazetools.cli.pack import result_table


def convert_command(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A dataset, or a folder of another tool's .npz or .npy heatmaps.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Dataset folder; made if needed.")],
    layout: Annotated[str, typer.Option(help="npz or hdf5 (one file a video), or npy (one file a frame).")] = "npz",
    dtype: Annotated[
        str | None, typer.Option(help="Of another tool's maps: float16, float32 or uint8; default: theirs.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Videos at a time; default: one per core, at most 4.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset with other options.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Copy heatmaps into a dataset of another layout; the numbers stay as they are.

    Example: gazetools convert results -o dataset --layout hdf5
    """
    from gazetools.packing import convert
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.dataset import PackOptions

    asked = parse_settings(PackOptions, {"layout": layout, **({"dtype": dtype} if dtype else {})}, what="convert")
    with TERMINAL.progress() as progress:
        report = convert(
            source,
            output,
            layout=asked.layout,
            dtype=asked.dtype if dtype else None,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    TERMINAL.emit(report.model_dump(mode="json"))
    TERMINAL.show(result_table(report))
    return report.exit_code
