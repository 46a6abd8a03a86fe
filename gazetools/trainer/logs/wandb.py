"""Weights & Biases, where the config enables it."""

from __future__ import annotations

import importlib.util
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.paths import RunFolder


def require_wandb(config: TrainingConfig) -> None:
    """Raise EnvironmentLacksError, before any work, where W&B is enabled but not installed."""
    if config.experiment.wandb.enable and importlib.util.find_spec("wandb") is None:
        raise EnvironmentLacksError(
            "experiment.wandb.enable is true, but the package wandb is not installed.",
            hint="pip install 'gazetools[wandb]', or set experiment.wandb.enable=false.",
        )


def open_wandb(config: TrainingConfig, folder: RunFolder) -> Any:
    """A W&B run, offline without WANDB_API_KEY or a login; None where it is not enabled.

    Only the config's plain values are sent; secrets live in W&B's own environment variables.
    """
    settings = config.experiment.wandb
    if not settings.enable:
        return None
    import wandb

    return wandb.init(
        project=settings.project,
        entity=settings.entity,
        name=settings.name or config.tag,
        group=settings.group,
        tags=settings.tags or None,
        notes=settings.notes,
        id=settings.id,
        resume="allow" if settings.resume else None,
        dir=str(folder.path),
        mode=None if wandb.api.api_key else "offline",
        save_code=False,
        config=config.model_dump(mode="json"),
    )
