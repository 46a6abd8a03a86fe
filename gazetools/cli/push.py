"""`gazetools push`: a dataset in shards to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Column
from rich.text import Text

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.cli.tables import text_table
from gazetools.schemas.push import PushOptions, PushReport


@options(PushOptions)
def push_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Dataset with the layout hf or webdataset.")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Dataset of the hub; made if needed.")],
    options: PushOptions,
) -> int:
    """Upload a dataset to the Hugging Face hub; started again, it sends only what is missing there.

    Example: gazetools push dataset my-org/kitchen-gaze --dry-run
    """
    from gazetools.exchange.hub import push

    with TERMINAL.progress() as progress:
        report = push(folder, repo, options=options, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), _shown(report))
    return 0


def _shown(report: PushReport) -> Group:
    """The uploaded files with their sizes, the address of the commit, and what to know."""
    rows = [(file.name, f"{file.bytes / 1e6:.2f} MB") for file in report.files]
    title = f"{report.repo}: {len(report.files)} files, {report.bytes / 1e6:.1f} MB"
    done = f"Uploaded: {report.address}" if report.address else "Nothing was uploaded (--dry-run)."
    columns: list[str | Column] = [Column("file", overflow="fold"), "size"]
    return Group(text_table(columns, rows, title=title), *(Text(line) for line in [done, *report.notes]))
