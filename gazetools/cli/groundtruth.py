"""`gazetools groundtruth`: gaze heatmaps from eye tracking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from gazetools.schemas.groundtruth import GroundTruthReport

_WHICH, _HOW = "Which videos and frames", "Gaze"


def groundtruth_command(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder that `egoexo -o` or `ego4d -o` filled.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Store folder; made if needed.")],
    view: Annotated[
        str, typer.Option(help="exo: seen from the exo cameras. ego: in the wearer's own picture.")
    ] = "exo",
    takes: Annotated[
        str | None, typer.Option(help="Take names, uids or patterns, separated by commas.", rich_help_panel=_WHICH)
    ] = None,
    cameras: Annotated[str | None, typer.Option(help="Such as cam01,cam02.", rich_help_panel=_WHICH)] = None,
    fps: Annotated[float | None, typer.Option(help="The frames nearest to this rate.", rich_help_panel=_WHICH)] = None,
    stride: Annotated[int | None, typer.Option(help="Every N-th decoded frame.", rich_help_panel=_WHICH)] = None,
    gaze: Annotated[str, typer.Option(help="auto, personalized or general.", rich_help_panel=_HOW)] = "auto",
    unknown_depth: Annotated[
        str,
        typer.Option(help="Gaze without a credible depth: epipolar, fixed, points or skip.", rich_help_panel=_HOW),
    ] = "epipolar",
    fixed_depth_m: Annotated[
        float, typer.Option("--fixed-depth", help="Metres, for --unknown-depth fixed.", rich_help_panel=_HOW)
    ] = 1.0,
    gaze_origin: Annotated[
        str, typer.Option(help="Ego4D: bottom-left or top-left is y = 0.", rich_help_panel=_HOW)
    ] = "bottom-left",
    min_confidence: Annotated[
        float, typer.Option(help="Ego4D: least confidence of a gaze sample.", rich_help_panel=_HOW)
    ] = 0.6,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results made with other options.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what the takes lack, with the download commands; do nothing.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Render where the wearer really looked, by eye tracking, into a store of heatmaps.

    Example: gazetools groundtruth egoexo -o truth --takes 'iiith_cooking_*' --unknown-depth points
    """
    from gazetools.groundtruth import groundtruth
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.groundtruth import GroundTruthOptions

    options = parse_settings(
        GroundTruthOptions,
        {
            "view": view,
            "takes": takes,
            "cameras": cameras,
            "fps": fps,
            "stride": stride,
            "gaze": gaze,
            "unknown_depth": unknown_depth,
            "fixed_depth_m": fixed_depth_m,
            "gaze_origin": gaze_origin,
            "min_confidence": min_confidence,
            "overwrite": overwrite,
        },
        what="groundtruth",
    )
    if dry_run:
        from gazetools.groundtruth.inputs import missing_files

        lacking = missing_files(root, options)
        TERMINAL.emit({"missing": {take: [list(pair) for pair in files] for take, files in lacking.items()}})
        for take, files in lacking.items():
            for name, command in files:
                TERMINAL.show(f"{take}: {name} is missing. Get it with: {command}")
        if not lacking:
            TERMINAL.show("Nothing is missing.")
        return int(bool(lacking))
    with TERMINAL.progress() as progress:
        report = groundtruth(root, output, options=options, progress=progress)
    TERMINAL.emit(report.model_dump(mode="json"))
    TERMINAL.show(_table(report, output))
    return report.exit_code


def _table(report: GroundTruthReport, output: Path) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("video id", "status", "frames", "rows", "in / out", "depth known", "s", title=escape(str(output)))
    style = {"done": "green", "complete": "cyan", "failed": "red"}
    for item in report.items:
        known = sum(item.counts.get(f"depth_{kind}", 0) for kind in ("measured", "points"))
        inside = f"{item.counts.get('inside', 0):.0f} / {item.counts.get('outside', 0):.0f}"
        numbers = (item.frames, item.rows, inside, f"{known:.0f}", f"{item.seconds:.1f}")
        table.add_row(escape(item.video_id), f"[{style[item.status]}]{item.status}[/]", *map(str, numbers))
        if item.reason:
            table.add_row("", escape(item.reason))
    return table
