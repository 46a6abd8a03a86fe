"""`gazetools table`: gaze as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.cli.tables import text_table
from gazetools.schemas.table import TableOptions, TableReport


@options(TableOptions)
def table_command(
    source: Annotated[
        Path,
        typer.Argument(metavar="STORE", help="A store, a file of it, a dataset or other tools' heatmaps."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help=".csv or .parquet (needs pyarrow).")],
    options: TableOptions,
    video: Annotated[list[str] | None, typer.Option(help="This id only; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> int:
    """Write gaze as a table: peak, centre, spread, angles, mass in areas of interest; one row per frame and person.

    Example: gazetools table store -o gaze.csv --areas areas.csv --areas-units fraction --social pairs.csv
    """
    from gazetools.exchange.table import write_gaze_table

    with TERMINAL.progress() as progress:
        report = write_gaze_table(source, output, options=options, videos=video, overwrite=overwrite, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), _written(report))
    for name, why in report.absent.items():
        TERMINAL.say(f"without {name}: {why}")
    for remark in report.notes:
        TERMINAL.say(remark)
    if report.areas is not None:
        for what, count in report.areas.left_out.items():
            TERMINAL.say(f"{report.areas.source}: {count} {what} left out")
    return report.exit_code


def _written(report: TableReport) -> Table:
    """The rows of each video, and what in them is unknown."""
    right = [Column(name, justify="right") for name in ("frames", "nobody", "rows", "no head", "no mass", "pairs")]
    rows = [
        (
            one.video_id,
            *map(str, (one.frames, one.frames_without_people, one.rows, one.rows_without_head)),
            str(one.rows_with_empty_map + one.rows_with_broken_map),
            str(one.pairs),
            one.reason or "",
        )
        for one in report.videos
    ]
    columns: list[str | Column] = [Column("video id", overflow="fold"), *right, "failed because"]
    return text_table(columns, rows, title=", ".join(report.files), caption=f"{len(report.columns)} columns")
