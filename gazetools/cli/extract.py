"""`gazetools extract`: video to raw heatmaps."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import keyword, options
from gazetools.engines.registry import ENGINES, Engine, engine_settings
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import UsageError
from gazetools.schemas.extract import ExtractOptions


def __getattr__(name: str) -> Any:
    """`extract_command`, made at each access, so that engines registered since the import have their flag."""
    if name != "extract_command":
        raise AttributeError(name)
    return options(ExtractOptions, more=[_flag(engine) for engine in ENGINES.values() if engine.settings])(extract)


def _flag(engine: Engine) -> inspect.Parameter:
    """`--slurm KEY=VALUE` and its like."""
    keys = ", ".join(engine.settings.model_fields) if engine.settings else ""
    option = typer.Option(
        f"--{engine.name}",
        metavar="KEY=VALUE",
        help=f"{keys}; may be repeated.",
        rich_help_panel="Many videos and machines",
    )
    return keyword(engine.name, Annotated[list[str] | None, option], None)


def extract(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files, folders, globs, @list.txt or an Ego-Exo4D root.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Store folder; made if needed.")],
    options: ExtractOptions,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time went and the bottleneck.", rich_help_panel="Run")
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
    settings = engine_settings(options.engine, {name: given or [] for name, given in pairs.items()})
    engine = ENGINES[options.engine]
    if dry_run and hasattr(module := engine.load(), "script"):
        from gazetools.extraction.run import plan

        plan(inputs, options)
        script = module.script(inputs, output, options, settings)
        TERMINAL.emit({"sbatch": script})
        if not TERMINAL.json:
            sys.stdout.write(script)
        return 0
    if dry_run:
        return _show_plan(inputs, output, options)
    with TERMINAL.progress() as progress:
        report = engine.load().run(inputs, output, options, settings, progress)
    TERMINAL.result(report.model_dump(mode="json"), tables.extracted_videos(report, output))
    for item in report.items:
        for note in item.notes:
            TERMINAL.show(f"[yellow]note[/] {escape(item.video_id)}: {escape(note)}")
    for item in report.failed:
        TERMINAL.show(f"[red]failed[/] {escape(item.video_id)}: {escape(item.reason or '')}")
    if waiting := len(report.not_reached):
        TERMINAL.show(f"[yellow]not reached[/] {waiting} of {len(report.items)} videos; the same command goes on.")
    if profile and report.profile is not None:
        TERMINAL.show(tables.stage_times(report.profile))
    return report.exit_code


def _with_shard_of_slurm(options: ExtractOptions) -> ExtractOptions:
    """In a Slurm array task, the options with this task's share of the work, unless they name one.

    UsageError for an array with holes, such as 1,3,7-9: the environment does not say which of its tasks this is.
    """
    given = {
        name: int(value)
        for name in ("ID", "COUNT", "MIN", "STEP", "MAX")
        if (value := os.environ.get(f"SLURM_ARRAY_TASK_{name}", "")).isdigit()
    }
    if options.shard or options.engine != "local" or not {"ID", "COUNT"} <= given.keys():
        return options
    index, count, first, step = given["ID"], given["COUNT"], given.get("MIN", 1), given.get("STEP", 1)
    last = given.get("MAX", first + (count - 1) * step)
    if first + (count - 1) * step != last or (index - first) % step or not first <= index <= last:
        raise UsageError(
            f"This Slurm array has {count} tasks between {first} and {last}, so it has holes, and task {index} can't "
            "tell which share of the inputs is its own.",
            hint='Write the share into the script, such as --shard "$SLURM_ARRAY_TASK_ID/N" for tasks of an array 1-N '
            "that are done again; or submit an array without holes.",
        )
    shard = f"{(index - first) // step + 1}/{count}"
    TERMINAL.say(f"Slurm array task {index}: doing shard {shard} of the inputs. --shard 1/1 does all of them here.")
    return parse_settings(ExtractOptions, {**options.model_dump(), "shard": shard}, what="extract")


def _show_plan(inputs: list[str], output: Path, options: ExtractOptions) -> int:
    """List what would be extracted, and estimate the space that it would take."""
    from gazetools.extraction.disk_estimate import PlannedRun, estimate_space
    from gazetools.extraction.run import decode_settings, plan
    from gazetools.io.find_files import SearchNotes
    from gazetools.io.space import free_space

    notes = SearchNotes()
    items, head_files = plan(inputs, options, notes)
    for line in notes.lines():
        TERMINAL.say(line)
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
    boxes = {
        item.video_id: (head_files.get(item.video_id) or "missing") if head_files else options.heads for item in items
    }
    listing = [
        {"video_id": item.video_id, "path": str(item.path), "heads": item.problem or str(boxes[item.video_id])}
        for item in items
    ]
    usable = sum(item.problem is None and boxes[item.video_id] != "missing" for item in items)
    free = free_space(output)
    needed = vars(estimate) if estimate else {"needed_bytes": None, "needed_files": None}
    TERMINAL.result(
        {
            "videos": listing,
            "space": {**needed, "free_bytes": free.bytes, "free_files": free.files},
            "left_out": [group.model_dump() for group in notes.report()],
        },
        tables.planned_videos(listing, usable, estimate, free),
    )
    return int(len(run.items) < len(items))
