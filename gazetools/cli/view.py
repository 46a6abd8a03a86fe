"""`gazetools view`: a page in the browser with videos and their heatmaps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.view import ViewOptions


@options(ViewOptions)
def view_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A store, a dataset, or a folder of heatmaps.")],
    options: ViewOptions,
) -> int:
    """Look at videos with their heatmaps in the browser; Ctrl-C ends it. Served to this machine only.

    Example: gazetools view store --videos videos
    """
    from gazetools.viewer import export_clip, view

    if options.export is not None:
        with TERMINAL.progress() as progress:
            frames = export_clip(path, options, progress=progress)
        TERMINAL.result({"output": str(options.export), "frames": frames}, f"{options.export}: {frames} frames")
        return 0

    def started(address: str) -> None:
        TERMINAL.result({"address": address}, f"{address}\nOpen this address on this machine; Ctrl-C ends it.")

    view(path, options, started=started)
    return 0
