"""The saved state of a training: one file, replaced at once; what it holds continues to the bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gazetools.gazemodels.gazelle.checkpoints import read_metadata, read_weight_file
from gazetools.io.atomic import atomic_path
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune import FinetuneConfig
from gazetools.trainer.finetune.learner import GazeLearner

FREE_KEYS = ("folder", "device", "checkpoint_every", "log_every", "wandb", "tensorboard", "learning_curve")
"""Settings that may change when a training goes on; in `data` also the number of workers."""


@dataclass(kw_only=True)
class FinetuneProgress:
    """How far a training is; all of it is saved."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per finished epoch."""
    best_epoch: int | None = None
    """Epoch (from 1) whose weights are in `best.safetensors`; None: none yet."""
    best_value: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    """Sums over the steps of the current epoch."""


def save_state(
    path: Path, learner: GazeLearner, progress: FinetuneProgress, config: FinetuneConfig, labels: str
) -> None:
    """Write weights that learn, the optimizer's moments and the progress; `labels` is a digest of all heads."""
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in learner.network.learning().items():
        tensors[f"network.{name}"] = parameter.detach()
        for key, value in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value, dtype=torch.float32)
    metadata = {"progress": json.dumps(vars(progress)), "config": json.dumps(_compared(config))}
    metadata["labels"] = labels
    plain = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temp:
        save_file(plain, temp, metadata=metadata)


def load_state(path: Path, learner: GazeLearner, config: FinetuneConfig, labels: str) -> FinetuneProgress:
    """Put the saved state into the learner. Raises UsageError where it belongs to another config or other labels."""
    metadata = read_metadata(path)
    if changed := _differences(json.loads(metadata["config"]), _compared(config)):
        raise UsageError(
            f"{path.parent} holds a training with other settings: {', '.join(changed[:8])}.",
            hint="Give its settings, or another folder.",
        )
    if metadata.get("labels") != labels:
        raise UsageError(
            f"{path.parent} holds a training on other labels: their files have changed, or pictures are missing.",
            hint="Restore them, or choose another folder.",
        )
    tensors = read_weight_file(path).tensors
    for name, parameter in learner.network.learning().items():
        with torch.no_grad():
            parameter.copy_(tensors[f"network.{name}"])
        if f"optimizer.step.{name}" in tensors:
            keys = ("step", "exp_avg", "exp_avg_sq")
            state = {key: tensors[f"optimizer.{key}.{name}"] for key in keys}
            moved = {key: value if key == "step" else value.to(parameter.device) for key, value in state.items()}
            learner.optimizer.state[parameter] = moved
    return FinetuneProgress(**json.loads(metadata["progress"]))


def _compared(config: FinetuneConfig) -> dict[str, Any]:
    values = {key: value for key, value in config.model_dump(mode="json").items() if key not in FREE_KEYS}
    values["data"] = {key: value for key, value in values["data"].items() if key != "workers"}
    return values


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [text for key in keys for text in _differences(old.get(key), new.get(key), f"{place}.{key}".strip("."))]
    return [] if old == new else [f"{place} is {new}, was {old}"]
