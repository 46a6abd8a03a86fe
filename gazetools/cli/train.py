"""`gazetools train`: train the heatmap-conditioned predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gazetools.cli.common import TERMINAL, JsonOption


def train_command(
    config: Annotated[Path, typer.Option("--config", help="Training config (YAML), see docs/training.md.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key.path=value]...", help="Replace single values of the config.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print sizes, clips and the resolved config.")
    ] = False,
    resume: Annotated[
        bool | None,
        typer.Option("--resume/--no-resume", help="Go on from the run folder's last checkpoint (default: the config)."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="0: CPU, 1: one GPU; default: `device` of the config.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Train the heatmap-conditioned V-JEPA 2 predictor. The same command resumes an interrupted run.

    Example: gazetools train --config configs/tiny.yaml experiment.optimization.num_epochs=1
    """
    from gazetools.schemas.errors import UsageError
    from gazetools.trainer.run import train

    values = list(overrides or [])
    if gpus is not None:
        if gpus not in (0, 1):
            raise UsageError(
                f"--gpus {gpus}: this version trains on the CPU or on one GPU.", hint="Use --gpus 0 or --gpus 1."
            )
        values.append("device=cuda" if gpus else "device=cpu")
    with TERMINAL.progress() as progress:
        result = train(config, overrides=values, resume=resume, dry_run=dry_run, progress=progress)
    TERMINAL.emit(result.as_dict())
    TERMINAL.show(_dry_run_text(result.as_dict()) if dry_run else _table(result.as_dict()))
    if result.status == "interrupted":
        TERMINAL.say(f"Interrupted at step {result.steps_done}; the state is saved, the same command goes on.")
    return int(result.exit_code)


def _dry_run_text(result: dict[str, Any]) -> str:
    import yaml

    shown = {name: result[name] for name in ("folder", "anchor_rule", "data", "model", "notes", "config")}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).replace("[", "\\[")


def _table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{result['folder']}: {result['epochs_done']} epochs, {result['steps_done']} steps")
    table.add_column("metric")
    table.add_column("last epoch", justify="right")
    for name, value in result["metrics"].items():
        if name.startswith(("train_", "val_")):
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    if result["random_weights"]:
        table.caption = "RANDOM WEIGHTS: encoder and predictor are untrained"
    return table
