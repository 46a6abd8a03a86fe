"""`gazetools extract`: video to raw heatmaps."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL, sigterm_as_interrupt
from gazetools.cli.options import options, repeated_flag
from gazetools.engines.registry import ENGINES, engine_settings
from gazetools.schemas.base import parse_settings
from gazetools.schemas.extract import ExtractOptions

_RUN = "Run"


def _engine_flags() -> list[inspect.Parameter]:
    """`--slurm KEY=VALUE` and its like, for each engine that has settings."""
    return [
        repeated_flag(
            engine.name,
            metavar="KEY=VALUE",
            help=f"{', '.join(engine.settings.model_fields)}; may be repeated.",
            panel="Many videos and machines",
        )
        for engine in ENGINES.values()
        if engine.settings is not None
    ]


@options(ExtractOptions, more=_engine_flags())
def extract_command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files, folders, globs, @list.txt or an Ego-Exo4D root.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Store folder; made if needed.")],
    options: ExtractOptions,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time went and the bottleneck.", rich_help_panel=_RUN)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List videos, box files and the space needed; do nothing.", rich_help_panel="Run"
        ),
    ] = False,
    **pairs: list[str] | None,
) -> int:
    """Turn videos into raw gaze heatmaps, one store file per video. The same command resumes an interrupted run.

    Example: gazetools extract clip.mp4 -o store --heads file:boxes.csv --checkpoint gazelle.pt

    Example: gazetools extract videos -o store --device cuda:0,cuda:1 --profile
    """
    options = _with_shard_of_slurm(options)
    engine = ENGINES[options.engine]
    settings = engine_settings(options.engine, {name: given or [] for name, given in pairs.items()})
    if dry_run:
        return (
            _show_script(inputs, output, options, settings)
            if engine.has_script
            else _show_plan(inputs, output, options)
        )
    with sigterm_as_interrupt(), TERMINAL.progress() as progress:
        report = engine.run(inputs, output, options, settings, progress)
    TERMINAL.result(report.model_dump(mode="json"), tables.extracted_videos(report, output))
    for item in report.failed:
        TERMINAL.show(f"[red]failed[/] {escape(item.video_id)}: {escape(item.reason or '')}")
    if profile and report.profile is not None:
        TERMINAL.show(tables.stage_times(report.profile))
    return report.exit_code


def _with_shard_of_slurm(options: ExtractOptions) -> ExtractOptions:
    """In a Slurm array task, the options with this task's share of the work, unless they name one."""
    index, count = (os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "COUNT"))
    if options.shard or options.engine != "local" or index is None or count is None:
        return options
    first, step = (int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", "1")) for name in ("MIN", "STEP"))
    shard = f"{(int(index) - first) // step + 1}/{count}"
    TERMINAL.say(f"Slurm array task {index}: doing shard {shard} of the inputs. --shard 1/1 does all of them here.")
    return parse_settings(ExtractOptions, {**options.model_dump(), "shard": shard}, what="extract")


def _show_script(inputs: list[str], output: Path, options: ExtractOptions, settings: Any) -> int:
    """Print what would be submitted."""
    from gazetools.extraction.run import plan

    plan(inputs, options)
    script = ENGINES[options.engine].script(inputs, output, options, settings)
    TERMINAL.emit({"sbatch": script})
    if not TERMINAL.json:
        sys.stdout.write(script)
    return 0


def _show_plan(inputs: list[str], output: Path, options: ExtractOptions) -> int:
    """List what would be extracted, and estimate the space that it would take."""
    from gazetools.extraction.disk_estimate import PlannedRun, estimate_space
    from gazetools.extraction.run import decode_settings, plan
    from gazetools.io.space import free_space

    items, head_files = plan(inputs, options)
    run = PlannedRun(
        items=[item for item in items if item.problem is None],
        store=output,
        options=options,
        head_files=head_files,
        decoding=decode_settings(options),
        workers=len(options.devices),
    )
    with TERMINAL.progress() as progress:
        estimate = estimate_space(run, progress)
    listing = [
        {
            "video_id": item.video_id,
            "path": str(item.path),
            "heads": item.problem or _boxes_of(item.video_id, head_files, options.heads),
        }
        for item in items
    ]
    free = free_space(output)
    needed = vars(estimate) if estimate else {"needed_bytes": None, "needed_files": None}
    TERMINAL.result(
        {"videos": listing, "space": {**needed, "free_bytes": free.bytes, "free_files": free.files}},
        tables.planned_videos(listing, estimate, free),
    )
    return int(any(item.problem is not None for item in items))


def _boxes_of(video_id: str, head_files: Mapping[str, Path] | None, spec: str) -> str:
    """What the listing says of a video's boxes: its file, `missing`, or the source that needs none."""
    return str(head_files.get(video_id) or "missing") if head_files else spec
