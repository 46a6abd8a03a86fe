"""Weights & Biases, where the config enables it."""

from __future__ import annotations

from typing import Any

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.paths import RunFolder


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
