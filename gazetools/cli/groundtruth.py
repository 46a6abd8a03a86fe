"""`gazetools groundtruth`: gaze heatmaps from eye tracking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.groundtruth import GroundTruthOptions


@options(GroundTruthOptions)
def groundtruth_command(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder that `egoexo -o` or `ego4d -o` filled.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Store folder; made if needed.")],
    options: GroundTruthOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what the takes lack, with the download commands; do nothing.")
    ] = False,
) -> int:
    """Render where the wearer really looked, by eye tracking, into a store of heatmaps.

    Example: gazetools groundtruth egoexo -o truth --takes 'iiith_cooking_*' --unknown-depth points
    """
    from gazetools.groundtruth import groundtruth
    from gazetools.groundtruth.inputs import missing_files

    if dry_run:
        missing = missing_files(root, options)
        TERMINAL.emit({"missing": {take: [list(pair) for pair in files] for take, files in missing.items()}})
        found = [(take, *pair) for take, files in missing.items() for pair in files]
        lines = [f"{take}: {name} is missing. Get it with: {get}" for take, name, get in found]
        TERMINAL.show("\n".join(lines) or "Nothing is missing.")
        return int(bool(missing))
    with TERMINAL.progress() as progress:
        report = groundtruth(root, output, options=options, progress=progress)
    TERMINAL.result(report.model_dump(mode="json"), tables.rendered_videos(report, output))
    return report.exit_code
