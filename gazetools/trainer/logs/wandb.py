"""Weights & Biases, where the config enables it: one W&B run per run folder, over all interruptions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.training import WandbSettings
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.logs.offline_file import last_logged_step

_FINISH_SECONDS = 600.0
"""W&B gives up its last uploads after so long; `wandb sync` takes the rest. A lost network would keep the run."""


class WandbLog:
    """A W&B run. The server, or offline the files on this machine, say which steps it has; these are not sent again."""

    takes_report = True

    def __init__(self, run: Any, folder: RunFolder, record: dict[str, Any]) -> None:
        self._run, self._folder, self._record = run, folder, record
        known = last_logged_step(folder.wandb, run.id) if run.offline else -1
        self.last_step = max(known, run.starting_step - 1)

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Send the values of a step."""
        self._run.log(dict(values), step=step)

    def final(self, values: Mapping[str, Any], *, step: int) -> None:
        """Put what the run ends with into its summary."""
        self._run.summary.update(dict(values))

    def attach(self, files: Sequence[tuple[Path, str]]) -> None:
        """Send files as the artifact `report-<id of the run>`."""
        import wandb

        artifact = wandb.Artifact(f"report-{self._run.id}", type="report")
        for path, name in files:
            # Not copied to W&B's cache: the files stay where they are.
            artifact.add_file(str(path), name=name, policy="immutable")
        self._run.log_artifact(artifact)

    def flush(self) -> None:
        """Do nothing: W&B writes in a process of its own, and what is lost with that is sent again."""

    def finish(self, exit_code: int) -> None:
        """End the run: finished with exit code 0, failed otherwise, as an interrupted run is until it goes on."""
        self._run.finish(exit_code=exit_code)
        write_json_atomic(self._folder.wandb_run, {**self._record, "finished": exit_code == 0})


def open_wandb(
    settings: WandbSettings,
    config: Mapping[str, Any],
    folder: RunFolder,
    *,
    new: bool = False,
    job_type: str | None = None,
) -> WandbLog | None:
    """The W&B run of a run folder; None where it is not enabled, or disabled by WANDB_MODE or W&B's own settings.

    Its id is that of the config, or is kept in the folder; `new` makes another one. It is offline without
    WANDB_API_KEY or a login. `config` holds plain JSON
    values; secrets live in W&B's own environment variables.
    """
    if not settings.enable:
        return None
    import wandb

    mode = wandb.setup().settings.mode
    if mode == "disabled":
        return None
    if mode in ("online", "run") and not wandb.login(prompt=False, verify=False):
        mode = "offline"
    kept = None if new else _kept_id(folder)
    record: dict[str, Any] = {
        "schema_name": "gazetools.wandb_run",
        "schema_version": 1,
        "id": settings.id or kept or secrets.token_hex(4),
        "finished": False,
    }
    write_json_atomic(folder.wandb_run, record)  # first, so that no run is begun whose id is not known
    run = wandb.init(
        project=settings.project,
        entity=settings.entity,
        name=settings.name or config.get("tag"),
        group=settings.group,
        job_type=job_type,
        tags=settings.tags or None,
        notes=settings.notes,
        id=record["id"],
        resume="allow",
        dir=str(folder.path),
        mode=mode,
        save_code=False,
        config=dict(config),
        settings=wandb.Settings(finish_timeout=_FINISH_SECONDS),
    )
    return WandbLog(run, folder, record)


def has_finished_wandb_run(folder: RunFolder) -> bool:
    """Whether the W&B run of this folder was ended as finished."""
    return folder.wandb_run.is_file() and bool(read_json(folder.wandb_run).get("finished"))


def _kept_id(folder: RunFolder) -> str | None:
    return read_json(folder.wandb_run)["id"] if folder.wandb_run.is_file() else None
