"""`gazetools heads`: find the heads of a video and follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption
from gazetools.schemas.heads import DEFAULT_DETECTOR, DEFAULT_POSE


def heads_command(
    video: Annotated[Path, typer.Argument(help="The video file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV of head boxes; its record goes beside it.")],
    detector: Annotated[
        str, typer.Option(help="rtdetr, dfine, yunet, OWNER/MODEL of the hub, a model folder or a YuNet .onnx.")
    ] = DEFAULT_DETECTOR,
    pose: Annotated[str, typer.Option(help="ViTPose for the keypoints: OWNER/MODEL or a folder.")] = DEFAULT_POSE,
    score: Annotated[float, typer.Option(help="A person is taken up from this score on.")] = 0.5,
    low_score: Annotated[float, typer.Option(help="A person already followed is kept down to this score.")] = 0.1,
    lost_seconds: Annotated[float, typer.Option(help="Not seen for longer: a new track id.")] = 1.0,
    every: Annotated[int, typer.Option(help="Look at every N-th decoded frame.")] = 1,
    batch_size: Annotated[str, typer.Option(help="auto or a number of frames.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    allow_damaged: Annotated[bool, typer.Option("--allow-damaged", help="Take what decodes of a broken file.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file made in another way.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find the heads of all people in a video, seen from any side, and give each person one track id.

    The CSV (frame,track_id,xmin,ymin,xmax,ymax,score; pixels, frames from 0) is what `extract --heads file:` reads.

    Example: gazetools heads clip.mp4 -o boxes.csv --detector rtdetr
    """
    from gazetools.heads.detection import HeadDetection, detect_heads
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.errors import VideoError
    from gazetools.schemas.heads import DetectOptions

    options = parse_settings(
        DetectOptions,
        {
            "detector": detector,
            "pose": pose,
            "score": score,
            "low_score": low_score,
            "lost_seconds": lost_seconds,
            "every": every,
            "batch_size": int(batch_size) if batch_size.lstrip("-").isdigit() else batch_size,
            "device": device,
        },
        what="heads",
    )
    if not video.is_file():
        raise VideoError(f"The video {video} does not exist.", hint="Check the path.")
    with TERMINAL.progress() as progress:
        detection = HeadDetection.load(options)
        found = detect_heads(
            video, output, detection, allow_damaged=allow_damaged, overwrite=overwrite, progress=progress
        )
    record = found.record
    TERMINAL.emit(
        {
            "output": str(output),
            "reused": found.reused,
            **record.model_dump(include={"frames", "rows", "tracks", "people_without_head"}),
        }
    )
    TERMINAL.show(
        f"{output}: {record.rows} boxes of {record.tracks} people in {record.frames} frames"
        + (f", {record.people_without_head} sightings without a head" if record.people_without_head else "")
        + (" (was there already)" if found.reused else "")
    )
    return 0
