"""What a training of `gazelle_tiny` keeps in its folder: state, averaged weights, log; all of it replaced at once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from gazetools.finetune.recipe import TrainingSettings
from gazetools.finetune.tiny import TrainingNetwork, write_checkpoint
from gazetools.gazemodels.gazelle.checkpoints import read_metadata, read_weight_file
from gazetools.gazemodels.gazelle.config import TINY_MODEL
from gazetools.io.atomic import atomic_path
from gazetools.scenes.settings import GENERATOR_VERSION
from gazetools.schemas.errors import UsageError

STATE, WEIGHTS, LOG = "state.safetensors", "gazelle_tiny.safetensors", "log.jsonl"


def save_state(
    folder: Path,
    settings: TrainingSettings,
    step: int,
    network: TrainingNetwork,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> None:
    from safetensors.torch import save_file

    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value, dtype=torch.float32)
    recipe = {**asdict(settings), "generator_version": GENERATOR_VERSION}
    with atomic_path(folder / STATE) as temp:
        metadata = {"step": str(step), "settings": json.dumps(recipe)}
        save_file({k: v.contiguous() for k, v in tensors.items()}, temp, metadata=metadata)
    write_checkpoint(folder / WEIGHTS, average, TINY_MODEL)


def load_state(
    folder: Path,
    settings: TrainingSettings,
    network: TrainingNetwork,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> int:
    """Fill everything from the folder's state and return the next step; 0 without one."""
    path = folder / STATE
    if not path.exists():
        return 0
    metadata = read_metadata(path)
    recipe = {**asdict(settings), "generator_version": GENERATOR_VERSION}
    before, step = json.loads(metadata["settings"]), int(metadata["step"])
    ahead = {"save_every"} | ({"steps"} if settings.fall(step) == 1 else set())
    ahead |= {"head_steps"} if step <= min(before["head_steps"], settings.head_steps) else set()
    if changed := [key for key in recipe if recipe[key] != before.get(key) and key not in ahead]:
        raise UsageError(
            f"{folder} holds a run with other settings: {', '.join(changed)} differ at step {step}.",
            hint="Give its settings or another folder; steps and head_steps may change before they matter.",
        )
    tensors = read_weight_file(path).tensors
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    for key, value in average.items():
        value.copy_(tensors[f"average.{key}"])
    for name, parameter in network.named_parameters():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"optimizer.step.{name}" in tensors:
            optimizer.state[parameter] = {key: tensors[f"optimizer.{key}.{name}"].clone() for key in keys}
    return step


def log_line(folder: Path, line: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
