"""Logs of a training: log.jsonl in the run folder, and the services that the config enables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gazetools.schemas.finetune import FinetuneConfig
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.logs.guarded import GuardedLog, require_package
from gazetools.trainer.logs.tensorboard import open_tensorboard
from gazetools.trainer.logs.wandb import open_wandb

LOG_NAME = "log.jsonl"


def require_log_packages(config: FinetuneConfig) -> None:
    """Raise EnvironmentLacksError, before any work, for a log that this installation can't write."""
    require_package("wandb", "wandb.enable", wanted=config.wandb.enable)
    require_package("tensorboard", "tensorboard", wanted=config.tensorboard)


class FinetuneLogs:
    """Lines of steps and epochs. A training that goes on first drops the lines after its saved step."""

    def __init__(self, config: FinetuneConfig, folder: RunFolder, say: Callable[[str], None], *, step: int) -> None:
        self._path = folder.path / LOG_NAME
        self._keep_until(step)
        self._services = [
            GuardedLog("W&B", partial(open_wandb, config.wandb, config.model_dump(mode="json"), folder), say),
            GuardedLog("TensorBoard", partial(open_tensorboard, config.tensorboard, folder, step or -1), say),
        ]

    def write(self, values: Mapping[str, Any], *, step: int) -> None:
        """Append a line, and send it."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        for service in self._services:
            service.log(values, step)

    def flush(self) -> None:
        """Write what services hold to files: before a state is saved, after which it is not sent again."""
        for service in self._services:
            service.flush()

    def finish(self, values: Mapping[str, Any], *, step: int, exit_code: int) -> None:
        """Send what the training ends with, and close the services."""
        for service in self._services:
            service.final(values, step)
            service.finish(exit_code)

    def _keep_until(self, step: int) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_text("utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
