"""`gazetools train`: train the heatmap-conditioned predictor."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli.common import TERMINAL, JsonOption


def train_command(
    config: Annotated[Path, typer.Option("--config", help="Training config (YAML), see docs/training.md.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key.path=value", help="Replace single values of the config.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print sizes, clips and the resolved config.")
    ] = False,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Go on from the run folder's last checkpoint, or start where there is none; `--resume auto` is the "
            "same (default: resume_checkpoint of the config, which is true).",
        ),
    ] = None,
    evaluate_only: Annotated[
        bool,
        typer.Option(
            "--evaluate-only",
            help="Only measure: the best weights of the run folder (into its `evaluation`), or classifier_checkpoint.",
        ),
    ] = False,
    gpus: Annotated[
        str | None, typer.Option(help="0: CPU, N or `all`: GPUs of this machine; default: `device` of the config.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine (default: one per GPU); several on CPU too.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; each runs this command with --rdzv-endpoint.")] = 1,
    node_rank: Annotated[int | None, typer.Option(min=0, help="Number of this machine, from 0.")] = None,
    rdzv_endpoint: Annotated[str | None, typer.Option(help="HOST:PORT of the first machine.")] = None,
    rdzv_id: Annotated[str | None, typer.Option(help="Name of the meeting of several machines.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Train the heatmap-conditioned V-JEPA 2 predictor. The same command resumes an interrupted run.

    Example: gazetools train --config configs/tiny.yaml experiment.optimization.num_epochs=1

    Example: gazetools train --config configs/tiny.yaml --evaluate-only
    """
    from gazetools.schemas.errors import GazetoolsError, UsageError
    from gazetools.trainer.processes.launch import Rendezvous, is_worker, launch, leave_exit_code
    from gazetools.trainer.run import train

    values = list(overrides or [])
    if resume and "auto" in values:  # --resume auto
        values.remove("auto")
    if evaluate_only:
        values.append("val_only=true")
    wanted = 1
    if gpus is not None:
        wanted, device = _devices(gpus)
        values.append(f"device={device}")
    wanted = processes or wanted
    if nodes > 1 and rdzv_endpoint is None:
        raise UsageError(f"--nodes {nodes} needs --rdzv-endpoint.", hint="Pass HOST:PORT of the first machine.")
    if is_worker():
        return _work(config, values, resume, dry_run, leave_exit_code, GazetoolsError)
    if dry_run:
        return _train(config, values, resume, dry_run, processes=wanted * nodes)
    if wanted > 1 or nodes > 1:
        train(config, overrides=values, resume=resume, dry_run=True)  # wrong settings end here, not in N processes
        arguments = ["train", "--config", str(config), *values]
        arguments += {None: [], True: ["--resume"], False: ["--no-resume"]}[resume] + (["--json"] if as_json else [])
        quiet = ["-q"] if TERMINAL.quiet else []
        rendezvous = Rendezvous(nodes=nodes, node_rank=node_rank, endpoint=rdzv_endpoint, run_id=rdzv_id)
        return launch([*quiet, *arguments], processes=wanted, rendezvous=rendezvous)
    return _train(config, values, resume, dry_run=False)


def _devices(gpus: str) -> tuple[int, str]:
    """(processes, device) for --gpus."""
    from gazetools.schemas.errors import EnvironmentLacksError, UsageError

    if gpus != "all" and not gpus.isdigit():
        raise UsageError(f"--gpus {gpus}: a number or `all` is wanted.", hint="Use --gpus 0, --gpus 1 or --gpus all.")
    if gpus == "0":
        return 1, "cpu"
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    count = found if gpus == "all" else int(gpus)
    if count > found or count == 0:
        raise EnvironmentLacksError(
            f"--gpus {gpus}: torch {torch.__version__} sees {found} CUDA device(s).",
            hint="Use --gpus 0, or install a CUDA build of torch.",
        )
    return count, "cuda"


def _work(
    config: Path, values: list[str], resume: bool | None, dry_run: bool, leave: Any, known_error: type[Any]
) -> int:
    """One of several processes: only the first talks, and it tells the launcher how it ended."""
    if int(os.environ["RANK"]) != 0:
        TERMINAL.quiet, TERMINAL.json = True, False
    try:
        with (
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(sys.stdout if os.environ["RANK"] == "0" else nowhere),
        ):
            code = _train(config, values, resume, dry_run)
    except known_error as error:
        leave(int(error.exit_code))
        raise
    leave(code)
    return code


def _train(config: Path, values: list[str], resume: bool | None, dry_run: bool, *, processes: int | None = None) -> int:
    from gazetools.trainer.run import train

    with TERMINAL.progress() as progress:
        result = train(config, overrides=values, resume=resume, dry_run=dry_run, processes=processes, progress=progress)
    TERMINAL.emit(result.as_dict())
    TERMINAL.show(_dry_run_text(result.as_dict()) if dry_run else _table(result.as_dict()))
    if result.status == "interrupted":
        TERMINAL.say(f"Interrupted at step {result.steps_done}; the state is saved, the same command goes on.")
    return int(result.exit_code)


def _dry_run_text(result: dict[str, Any]) -> str:
    import yaml

    shown = {name: result[name] for name in ("folder", "anchor_rule", "processes", "data", "model", "notes", "config")}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).replace("[", "\\[")


def _table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{result['folder']}: {result['epochs_done']} epochs, {result['steps_done']} steps")
    if len(result["best_by_learner"]) > 1:
        return _table_of_models(table, result)
    table.add_column("metric")
    table.add_column("last epoch", justify="right")
    for name, value in result["metrics"].items():
        if name.startswith(("train_", "val_", "held_out_")):
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    if result["random_weights"]:
        table.caption = "RANDOM WEIGHTS: encoder and predictor are untrained"
    return table


def _table_of_models(table: Any, result: dict[str, Any]) -> Any:
    """One row per model: what chose its epoch, and action recall on every split with those weights."""
    splits = list(dict.fromkeys(split for found in result["final"].values() for split in found))
    for name in ("model", "epoch", *splits):
        table.add_column(name)
    for name, best in result["best_by_learner"].items():
        if name in result["failed"]:
            table.add_row(name, "dropped")
            continue
        cells = []
        for split in splits:
            found = result["final"].get(name, {}).get(split, {})
            figure = next((key for key in found if key.startswith("action_recall")), None)
            cells.append(f"{found[figure]:.2f}" if figure else "-")
        table.add_row(name, str(best["epoch"]) if best else "-", *cells)
    table.caption = "action class-mean recall with the chosen weights" + (
        "; RANDOM WEIGHTS" if result["random_weights"] else ""
    )
    return table
