"""Everything that a training of `gazelle_tiny` changes, and its folder: state, averaged weights, log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gazetools.gazemodels.gazelle.checkpoints import read_metadata, read_weight_file
from gazetools.gazemodels.gazelle.config import TINY_MODEL
from gazetools.io.atomic import atomic_path
from gazetools.scenes.settings import GENERATOR_VERSION
from gazetools.schemas.errors import UsageError
from gazetools.schemas.finetune_from_nothing import FromNothingSettings
from gazetools.trainer.finetune.tiny.network import TrainingNetwork, write_checkpoint

STATE, WEIGHTS, LOG = "state.safetensors", "gazelle_tiny.safetensors", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Network, optimizer and averaged weights of a training in `folder`."""

    folder: Path
    settings: FromNothingSettings
    network: TrainingNetwork
    optimizer: torch.optim.Optimizer
    average: dict[str, torch.Tensor]  # running average of the shipped weights, by the network's names

    def save(self, step: int) -> None:
        """Write the state before `step`, then the averaged weights; each file replaces the previous one at once."""
        from safetensors.torch import save_file

        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value, dtype=torch.float32)
        with atomic_path(self.folder / STATE) as temp:
            metadata = {"step": str(step), "settings": json.dumps(self._recipe())}
            save_file({k: v.contiguous() for k, v in tensors.items()}, temp, metadata=metadata)
        write_checkpoint(self.folder / WEIGHTS, self.average, TINY_MODEL)

    def load(self) -> int:
        """Load the folder's state and return the next step; 0 without one. Raises UsageError for other settings."""
        path = self.folder / STATE
        if not path.exists():
            return 0
        metadata = read_metadata(path)
        step = int(metadata["step"])
        if changed := self._changed(json.loads(metadata["settings"]), step):
            raise UsageError(
                f"{self.folder} holds a run with other settings: {', '.join(changed)} differ at step {step}.",
                hint="Give its settings or another folder; steps and head_steps may change before they matter.",
            )
        tensors = read_weight_file(path).tensors
        self.network.load_state_dict({key: tensors[f"network.{key}"] for key in self.network.state_dict()})
        for key, value in self.average.items():
            value.copy_(tensors[f"average.{key}"])
        for name, parameter in self.network.named_parameters():
            if f"optimizer.step.{name}" in tensors:
                keys = ("step", "exp_avg", "exp_avg_sq")
                self.optimizer.state[parameter] = {key: tensors[f"optimizer.{key}.{name}"].clone() for key in keys}
        return step

    @torch.no_grad()
    def update_average(self, keep: float) -> None:
        """Move the averaged weights by the share 1 - keep towards the network's."""
        shipped = self.network.shipped()
        torch._foreach_lerp_(list(self.average.values()), [shipped[key] for key in self.average], 1 - keep)

    def log(self, line: dict[str, float]) -> None:
        """Append one line of JSON to the log."""
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _recipe(self) -> dict[str, Any]:
        return {**self.settings.model_dump(), "generator_version": GENERATOR_VERSION}

    def _changed(self, previous: dict[str, Any], step: int) -> list[str]:
        """Settings that differ from the previous run's, except those that do not matter yet at `step`."""
        free = {"save_every"} | ({"steps"} if self.settings.fall(step) == 1 else set())
        free |= {"head_steps"} if step <= min(previous["head_steps"], self.settings.head_steps) else set()
        return [key for key, value in self._recipe().items() if value != previous.get(key) and key not in free]
