"""`gazetools train`: train the heatmap-conditioned predictor."""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import ExitCode, GazetoolsError, UsageError
from gazetools.schemas.launch import LaunchOptions


def _print_schema(value: bool) -> None:
    if value:
        from gazetools.trainer.plan.config import json_schema

        out = TERMINAL.document or sys.stdout
        out.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
        raise typer.Exit


@options(LaunchOptions)
def train_command(
    options: LaunchOptions,
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
    """Train the heatmap-conditioned V-JEPA 2 predictor. The same command resumes an interrupted run.

    Example: gazetools train --config configs/tiny.yaml experiment.optimization.num_epochs=1

    Example: gazetools train --config configs/tiny.yaml --evaluate-only

    Example: gazetools train --config run.yaml --predict EPIC_100_test_timestamps.csv --epic-sls 2,3,3
    """
    from gazetools.trainer.export.epic import SupervisionLevels
    from gazetools.trainer.processes.launch import devices_for, is_worker, launch
    from gazetools.trainer.study import train

    values = list(overrides or [])
    if options.resume and "auto" in values:  # --resume auto
        values.remove("auto")
    if options.evaluate_only:
        values.append("val_only=true")
    if options.predict is not None:
        values += ["test_only=true", f"experiment.data.dataset_test={json.dumps(str(options.predict))}"]
    if options.epic_sls is not None:
        values.append(f"experiment.evaluation.epic_sls={SupervisionLevels.parse(options.epic_sls).as_list()}")
    processes = 1
    if options.gpus is not None:
        processes, device = devices_for(options.gpus)
        values.append(f"device={device}")
    processes = options.processes or processes
    if options.nodes > 1 and options.rdzv_endpoint is None:
        raise UsageError(f"--nodes {options.nodes} needs --rdzv-endpoint.", hint="Pass HOST:PORT of the first machine.")
    if is_worker():
        return _work(options, values)
    if options.dry_run or processes * options.nodes == 1:
        return _train(options, values, processes=processes * options.nodes)
    # Wrong settings end here, not in each of the processes.
    train(
        options.config,
        overrides=values,
        resume=options.resume,
        dry_run=True,
        processes=processes * options.nodes,
        only_seed=options.only_seed,
    )
    arguments = ["-q"] if TERMINAL.quiet else []
    arguments += ["train", "--config", str(options.config), *values]
    arguments += [] if options.only_seed is None else ["--only-seed", str(options.only_seed)]
    arguments += {None: [], True: ["--resume"], False: ["--no-resume"]}[options.resume]
    arguments += ["--json"] if TERMINAL.json else []
    return launch(arguments, processes=processes, machines=options)


def _work(options: LaunchOptions, values: list[str]) -> int:
    """One of several processes: only the first talks, and it tells the launcher how it ended."""
    from gazetools.trainer.processes.launch import leave_exit_code

    first = os.environ["RANK"] == "0"
    if not first:
        TERMINAL.quiet, TERMINAL.json = True, False
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(sys.stdout if first else nowhere):
            code = _train(options, values)
    except GazetoolsError as error:
        leave_exit_code(int(error.exit_code))
        raise
    except BaseException as error:
        leave_exit_code(int(ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAULT))
        raise
    leave_exit_code(code)
    return code


def _train(options: LaunchOptions, values: list[str], *, processes: int | None = None) -> int:
    """Train or check in this process and show the result; `processes`: how many a dry run counts with."""
    from gazetools.trainer.study import train

    with TERMINAL.progress() as progress:
        result = train(
            options.config,
            overrides=values,
            resume=options.resume,
            dry_run=options.dry_run,
            processes=processes,
            measured=options.dry_run,
            progress=progress,
            only_seed=options.only_seed,
        )
    document = result.as_dict()
    TERMINAL.result(document, _dry_run_text(document) if options.dry_run else tables.trained_models(document))
    if result.status == "interrupted":
        TERMINAL.say(f"Interrupted at step {result.steps_done}; the state is saved, the same command goes on.")
    return int(result.exit_code)


def _dry_run_text(result: dict[str, Any]) -> str:
    import yaml

    names = ("folder", "anchor_rule", "processes", "data", "model", "step", "decoding", "planning", "notes", "config")
    shown = {name: result[name] for name in names}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).replace("[", "\\[")
