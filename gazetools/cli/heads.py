"""`gazetools heads`: find the heads of a video and follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import UsageError, VideoError
from gazetools.schemas.heads import DetectOptions


@options(DetectOptions)
def heads_command(
    video: Annotated[Path, typer.Argument(help="The video file, or a folder of frames.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV of head boxes; its record goes next to it.")],
    options: DetectOptions,
    allow_damaged: Annotated[bool, typer.Option("--allow-damaged", help="Take what decodes of a broken file.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file made in another way.")] = False,
) -> int:
    """Find the heads of all people in a video, seen from any side, and give each person one track id.

    The CSV (frame,track_id,xmin,ymin,xmax,ymax,score; pixels, frames from 0) is what `extract --heads file:` reads.

    Example: gazetools heads clip.mp4 -o boxes.csv --detector rtdetr
    """
    from gazetools.heads.detection import HeadDetection, detect_heads
    from gazetools.io.find_files import existing_path
    from gazetools.io.picture_names import holds_pictures
    from gazetools.video import VideoReader
    from gazetools.video.picture_folders import about_pictures

    video = existing_path(video)
    if video.is_dir() and not holds_pictures(video):
        about = about_pictures(video) or "Name one video in it; for all of them: gazetools extract ... --heads detect."
        raise VideoError(f"{video} is a folder, not a video file.", hint=about)
    if not video.exists():
        raise VideoError(f"The video {video} does not exist.", hint="Check the path.")
    if output.is_dir() or output.suffix.lower() != ".csv":
        what = "is a folder" if output.is_dir() else "does not end in .csv"
        raise UsageError(f"-o {output} {what}; the boxes are one CSV file.", hint=f"Write -o {video.stem}.csv.")
    # what is no video is wrong usage, whether or not there are weights
    VideoReader(video, **options.for_reader()).close()
    with TERMINAL.progress() as progress:
        found = detect_heads(
            video,
            output,
            HeadDetection.load(options),
            allow_damaged=allow_damaged,
            overwrite=overwrite,
            progress=progress,
        )
    record = found.record
    counts = record.model_dump(include={"frames", "rows", "tracks", "people_without_head"})
    TERMINAL.emit({"output": str(output), "reused": found.reused, **counts})
    TERMINAL.show(
        f"{output}: {record.rows} boxes of {record.tracks} people in {record.frames} frames"
        + (f", {record.people_without_head} sightings without a head" if record.people_without_head else "")
        + (" (was there already)" if found.reused else "")
    )
    return 0
