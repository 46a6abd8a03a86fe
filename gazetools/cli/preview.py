"""`gazetools preview`: look at heatmaps on their frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.preview import PreviewOptions


@options(PreviewOptions)
def preview_command(
    video: Annotated[Path, typer.Argument(help="The video file, or a folder of frames.")],
    heatmaps: Annotated[Path, typer.Option(help="Store, dataset or heatmap folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".png (contact sheet) or .mp4 (every frame).")],
    options: PreviewOptions,
    video_id: Annotated[str | None, typer.Option("--id", help="Video id in --heatmaps [default: the stem].")] = None,
    frames: Annotated[int, typer.Option(min=1, max=100, help="Frames on a contact sheet.")] = 6,
) -> int:
    """Draw heatmaps, head boxes, gaze peaks and in/out scores over their frames.

    Example: gazetools preview clip.mp4 --heatmaps store -o overlay.png
    """
    from gazetools.preview import preview

    with TERMINAL.progress() as progress:
        drawn = preview(
            video,
            heatmaps,
            output,
            video_id=video_id,
            frames=frames,
            choice=options.chosen,
            times=options.of_pictures(),
            progress=progress,
        )
    TERMINAL.result({"output": str(output), "frames": drawn}, f"{output}: {drawn} frames drawn")
    return 0
