"""`gazetools pack`: raw heatmaps to a dataset for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gazetools.cli.common import TERMINAL, ConfigOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from gazetools.schemas.dataset import PackReport

_MAPS, _ROWS, _RUN = "Maps", "Rows", "Run"


def pack_command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder that extract wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Dataset folder; made if needed.")],
    layout: Annotated[str, typer.Option(help="npz or hdf5 (one file a video), or npy (one file a frame).")] = "npz",
    normalize: Annotated[
        str, typer.Option(help="Per frame: none, max, sum, minmax or softmax.", rich_help_panel=_MAPS)
    ] = "none",
    temperature: Annotated[float, typer.Option(help="Of softmax.", rich_help_panel=_MAPS)] = 1.0,
    people: Annotated[
        str, typer.Option(help="max or mean over all, a track id, or wearer.", rich_help_panel=_MAPS)
    ] = "max",
    inout: Annotated[
        str, typer.Option(help="keep, gate (zero below 0.5) or weight by inout.", rich_help_panel=_MAPS)
    ] = "keep",
    size: Annotated[
        str | None,
        typer.Option(help="HxW or video, really resized; default: the model's.", rich_help_panel=_MAPS),
    ] = None,
    resize_on_load: Annotated[
        bool,
        typer.Option(
            "--resize-on-load", help="With --size video: stored small, resized by readers.", rich_help_panel=_MAPS
        ),
    ] = False,
    dtype: Annotated[
        str, typer.Option(help="float16, float32 or uint8 (at most 1/510 off).", rich_help_panel=_MAPS)
    ] = "float16",
    align: Annotated[
        str,
        typer.Option(help="video: row i = decoded frame i. native: processed frames only.", rich_help_panel=_ROWS),
    ] = "video",
    fps: Annotated[
        float | None, typer.Option(help="Rows at this rate, each the nearest frame by pts.", rich_help_panel=_ROWS)
    ] = None,
    missing: Annotated[
        str,
        typer.Option(
            help="Rows without a map: zero, hold (the last one) or interpolate (uses later frames).",
            rich_help_panel=_ROWS,
        ),
    ] = "zero",
    video: Annotated[
        list[str] | None, typer.Option(help="Pack this id only; may be repeated.", rich_help_panel=_RUN)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Videos at a time; default: one per core, at most 4.", rich_help_panel=_RUN)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was packed with other options.", rich_help_panel=_RUN)
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Normalise, align and pack heatmaps, one file (or folder) per video. What is packed already stays untouched.

    Example: gazetools pack store -o dataset --layout npz --normalize max
    """
    from gazetools.packing import pack
    from gazetools.schemas.base import parse_settings
    from gazetools.schemas.dataset import PackOptions

    options = parse_settings(
        PackOptions,
        {
            "layout": layout,
            "normalize": normalize,
            "temperature": temperature,
            "people": people,
            "inout": inout,
            "size": size,
            "resize_on_load": resize_on_load,
            "dtype": dtype,
            "align": align,
            "fps": fps,
            "missing": missing,
        },
        what="pack",
    )
    with TERMINAL.progress() as progress:
        report = pack(
            store,
            output,
            options=options,
            videos=video,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    TERMINAL.emit(report.model_dump(mode="json"))
    TERMINAL.show(result_table(report))
    return report.exit_code


def result_table(report: PackReport) -> Table:
    """One line per video, what went wrong below it."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("video id", "status", "frames", "with map", "MB", "s", title=escape(report.output))
    style = {"packed": "green", "unchanged": "cyan", "failed": "red"}
    for item in report.items:
        status = f"[{style[item.status]}]{item.status}[/]"
        counts = (str(item.frames), str(item.valid_frames), f"{item.bytes / 1e6:.2f}", f"{item.seconds:.1f}")
        table.add_row(escape(item.video_id), status, *counts)
        for line in [*([item.reason] if item.reason else []), *item.warnings]:
            table.add_row("", escape(line))
    return table
