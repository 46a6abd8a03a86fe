"""`gazetools train`: train the heatmap-conditioned predictor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli import training_tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import ExitCode, GazetoolsError, UsageError
from gazetools.schemas.init import InitOptions
from gazetools.schemas.launch import LaunchOptions


def _print_schema(value: bool) -> None:
    if value:
        from gazetools.trainer.plan.config import json_schema

        out = TERMINAL.document or sys.stdout
        out.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
        raise typer.Exit


@options(LaunchOptions, InitOptions)
def train_command(
    options: LaunchOptions,
    starting: InitOptions,
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

    Example: gazetools train --init --videos videos --annotations actions.csv --heatmaps dataset --encoder random

    Example: gazetools train --config run.yaml --predict EPIC_100_test_timestamps.csv --epic-sls 2,3,3
    """
    if starting.init:
        return _start(starting, options, overrides or [])
    if given := [name for name in InitOptions.model_fields if getattr(starting, name) not in (None, False)]:
        raise UsageError(f"--{given[0]} is for --init, which writes a config.", hint="Add --init, or leave it out.")
    if options.config is None:
        raise UsageError(
            "Missing option '--config'.", hint="Pass a training config, or have one written: gazetools train --init"
        )
    from gazetools.trainer.fill import fill_cache
    from gazetools.trainer.processes.launch import devices_for, is_worker, launch
    from gazetools.trainer.study import train

    values = _with_options(options, overrides or [])
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
    if options.cache_only:
        fill_cache(options.config, overrides=values, only_seed=options.only_seed, dry_run=True)
    arguments = ["-q"] if TERMINAL.quiet else []
    arguments += ["train", "--config", str(options.config), *values]
    arguments += [] if options.only_seed is None else ["--only-seed", str(options.only_seed)]
    arguments += {None: [], True: ["--resume"], False: ["--no-resume"]}[options.resume]
    arguments += ["--cache-only"] if options.cache_only else []
    arguments += ["--json"] if TERMINAL.json else []
    return launch(arguments, processes=processes, machines=options, stdout=TERMINAL.stdout_of_child())


def _with_options(options: LaunchOptions, overrides: Sequence[str]) -> list[str]:
    """The values that replace those of the config: given ones, and what options stand for."""
    from gazetools.trainer.export.epic import SupervisionLevels

    values = list(overrides)
    if options.resume and "auto" in values:  # --resume auto
        values.remove("auto")
    if options.evaluate_only:
        values.append("val_only=true")
    if options.predict is not None:
        values += ["test_only=true", f"experiment.data.dataset_test={json.dumps(str(options.predict))}"]
    if options.epic_sls is not None:
        values.append(f"experiment.evaluation.epic_sls={SupervisionLevels.parse(options.epic_sls).as_list()}")
    return values


_QUESTIONS = {
    "videos": "Folder of the videos",
    "annotations": "Annotations of the actions (CSV or JSON)",
    "heatmaps": "Heatmaps (dataset, store, or another tool's folder)",
    "encoder": "Encoder (.pt file, folder, hub name, or random to try)",
}
"""Option -> what a terminal is asked where it is not given."""


def _start(starting: InitOptions, options: LaunchOptions, overrides: list[str]) -> int:
    """Ask for what is not given, where there is a terminal, and write a config."""
    from gazetools.trainer.starting.run import init_config

    if overrides:
        raise UsageError(
            f"{overrides[0]}: --init takes no key=value.", hint="Change the config that it writes, or pass it to train."
        )
    answers: dict[str, Any] = {}
    if sys.stdin.isatty() and not TERMINAL.json:
        for name, question in _QUESTIONS.items():
            if getattr(starting, name) is None:
                answers[name] = typer.prompt(question, err=True)
    wanted = InitOptions.model_validate({**starting.model_dump(), **answers})
    with TERMINAL.progress() as progress:
        made = init_config(wanted, options.config or Path("train.yaml"), progress=progress)
    document = made.as_dict()
    TERMINAL.result(document, training_tables.new_config(document))
    return int(ExitCode.OK)


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
    assert options.config is not None, "refused before"
    from gazetools.trainer.study import train

    if options.cache_only:
        return _fill(options, values)
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
    TERMINAL.result(document, _dry_run_text(document) if options.dry_run else training_tables.trained_models(document))
    if result.status == "interrupted":
        TERMINAL.say(f"Interrupted at step {result.steps_done}; the state is saved, the same command goes on.")
    return int(result.exit_code)


def _fill(options: LaunchOptions, values: list[str]) -> int:
    """Fill the feature cache in this process and show the result."""
    assert options.config is not None, "refused before"
    from gazetools.trainer.fill import fill_cache

    with TERMINAL.progress() as progress:
        filled = fill_cache(
            options.config, overrides=values, only_seed=options.only_seed, dry_run=options.dry_run, progress=progress
        )
    TERMINAL.result(filled.as_dict(), training_tables.filled_cache(filled.as_dict()))
    if filled.status == "interrupted":
        TERMINAL.say("Interrupted; what is encoded is kept, the same command goes on.")
    return int(filled.exit_code)


def _dry_run_text(result: dict[str, Any]) -> str:
    import yaml

    names = ("folder", "anchor_rule", "processes", "data", "model", "step", "decoding", "planning", "notes", "config")
    shown = {name: result[name] for name in names}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).replace("[", "\\[")
