"""TensorBoard, where the config enables it."""

from __future__ import annotations

from typing import Any

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.folder.paths import RunFolder


class ScalarWriter:
    """TensorBoard files below the run folder with every number of every epoch."""

    def __init__(self, folder: RunFolder) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder.tensorboard))

    def log(self, values: dict[str, Any], *, step: int) -> None:
        """Write one epoch's numbers."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()


def open_tensorboard(config: TrainingConfig, folder: RunFolder) -> ScalarWriter | None:
    """A writer below the run folder; None where TensorBoard is not enabled."""
    return ScalarWriter(folder) if config.experiment.tensorboard else None
