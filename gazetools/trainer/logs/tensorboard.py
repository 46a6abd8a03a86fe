"""TensorBoard, only where asked for; nothing that goes wrong there ever stops training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.paths import RunFolder


def require_tensorboard(config: TrainingConfig) -> None:
    """EnvironmentLacksError, before any work, where TensorBoard is enabled but not installed."""
    if config.experiment.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise EnvironmentLacksError(
            "experiment.tensorboard is true, but the package tensorboard is not installed.",
            hint="pip install 'gazetools[tensorboard]', or set experiment.tensorboard=false.",
        )


class TensorboardLog:
    """Scalars of every epoch below the run folder. All methods are safe to call.

    Args:
        say: where trouble is told, once.
    """

    def __init__(self, config: TrainingConfig, folder: Path, say: Callable[[str], None]) -> None:
        self._writer: Any = None
        self._say = say
        if config.experiment.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(RunFolder(folder).tensorboard))
            except Exception as error:
                self._give_up(error)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Write one epoch's numbers."""
        if self._writer is not None:
            try:
                for name, value in values.items():
                    if isinstance(value, int | float):
                        self._writer.add_scalar(name, value, step)
                self._writer.flush()
            except Exception as error:
                self._give_up(error)

    def finish(self) -> None:
        """Close the file."""
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as error:
                self._give_up(error)
            self._writer = None

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        self._say(f"TensorBoard logging stopped ({type(error).__name__}); training goes on without it.")
