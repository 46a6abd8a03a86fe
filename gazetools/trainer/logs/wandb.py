"""Weights & Biases, only where asked for; nothing that goes wrong there ever stops training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError
from gazetools.schemas.training import TrainingConfig


def require_wandb(config: TrainingConfig) -> None:
    """EnvironmentLacksError, before any work, where W&B is enabled but not installed."""
    if config.experiment.wandb.enable and importlib.util.find_spec("wandb") is None:
        raise EnvironmentLacksError(
            "experiment.wandb.enable is true, but the package wandb is not installed.",
            hint="pip install 'gazetools[wandb]', or set experiment.wandb.enable=false.",
        )


class WandbLog:
    """One W&B run; without WANDB_API_KEY or a login it works offline. All methods are safe to call.

    Args:
        config: only its plain values are sent; secrets live in W&B's own environment variables.
        folder: run folder for W&B's files.
        say: where trouble is told, once.
    """

    def __init__(self, config: TrainingConfig, folder: Path, say: Callable[[str], None]) -> None:
        self._run: Any = None
        self._say = say
        settings = config.experiment.wandb
        if not settings.enable:
            return
        try:
            import wandb

            known_key = bool(wandb.api.api_key)
            self._run = wandb.init(
                project=settings.project,
                entity=settings.entity,
                name=settings.name or config.tag,
                group=settings.group,
                tags=settings.tags or None,
                notes=settings.notes,
                id=settings.id,
                resume="allow" if settings.resume else None,
                dir=str(folder),
                mode=None if known_key else "offline",
                save_code=False,
                config=config.model_dump(mode="json"),
            )
        except Exception as error:
            self._give_up(error)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Send one epoch's values."""
        if self._run is not None:
            try:
                self._run.log(values, step=step)
            except Exception as error:
                self._give_up(error)

    def finish(self) -> None:
        """End the run, well or not."""
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:
                self._give_up(error)
            self._run = None

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self._say(f"W&B logging stopped ({type(error).__name__}); training goes on without it.")
