"""`gazetools finetune`: train a gaze model on labelled heads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli.common import TERMINAL
from gazetools.cli.finetune_tables import trained_gaze_model
from gazetools.cli.options import options
from gazetools.schemas.errors import ExitCode, GazetoolsError
from gazetools.schemas.finetune import FinetuneOptions
from gazetools.schemas.launch import LaunchOptions


def _print_schema(value: bool) -> None:
    if value:
        from gazetools.schemas.finetune import FinetuneConfig
        from gazetools.trainer.plan.config import json_schema

        out = TERMINAL.document or sys.stdout
        schema = json_schema(FinetuneConfig, title="gazetools finetune config")
        out.write(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
        raise typer.Exit


@options(FinetuneOptions)
def finetune_command(
    options: FinetuneOptions,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key.path=value", help="Replace single values of the config.")
    ] = None,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            help="Print the JSON schema of the config, for editors, and exit.",
            callback=_print_schema,
            is_eager=True,
        ),
    ] = False,
) -> int:
    """Train a gaze model on labelled heads. The same command resumes an interrupted training.

    Example: gazetools finetune --config recipes/own.yaml learning.epochs=2

    Example: gazetools finetune --config recipes/own.yaml --dry-run
    """
    from gazetools.trainer.finetune.config_file import processes_of
    from gazetools.trainer.processes.launch import devices_for, is_worker, launch

    values, processes = list(overrides or []), 1
    if options.gpus is not None:
        processes, device = devices_for(options.gpus)
        values.append(f"device={device}")
    if options.gpus is None:
        processes = processes_of(options.config, values)
    processes = options.processes or processes
    if is_worker():
        return _work(options, values)
    if options.dry_run or processes == 1:
        return _finetune(options, values, processes=processes)
    _finetune(options.model_copy(update={"dry_run": True}), values, shown=False)  # wrong settings end here, once
    arguments = ["-q"] if TERMINAL.quiet else []
    arguments += ["finetune", "--config", str(options.config), *values]
    arguments += [] if options.resume else ["--no-resume"]
    arguments += ["--json"] if TERMINAL.json else []
    return launch(arguments, processes=processes, machines=LaunchOptions(), stdout=TERMINAL.stdout_of_child())


def _work(options: FinetuneOptions, values: Sequence[str]) -> int:
    """One of several processes: only the first talks, and it tells the launcher how it ended."""
    from gazetools.trainer.processes.launch import leave_exit_code

    first = os.environ["RANK"] == "0"
    if not first:
        TERMINAL.quiet, TERMINAL.json = True, False
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(sys.stdout if first else nowhere):
            code = _finetune(options, values)
    except GazetoolsError as error:
        leave_exit_code(int(error.exit_code))
        raise
    except BaseException as error:
        leave_exit_code(int(ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAULT))
        raise
    leave_exit_code(code)
    return code


def _finetune(options: FinetuneOptions, values: Sequence[str], *, shown: bool = True, processes: int = 1) -> int:
    from gazetools.trainer.finetune.run import finetune

    with TERMINAL.progress() as progress:
        result = finetune(
            options.config,
            overrides=values,
            resume=options.resume,
            dry_run=options.dry_run,
            measured=options.dry_run and shown,
            processes=processes,
            progress=progress,
        )
    document: dict[str, Any] = result.as_dict()
    if shown:
        TERMINAL.result(document, trained_gaze_model(document))
        for note in result.notes:
            TERMINAL.say(note)
    if result.status == "interrupted":
        TERMINAL.say(f"Interrupted at step {result.steps_done}; the state is saved, the same command goes on.")
    return int(result.exit_code)
