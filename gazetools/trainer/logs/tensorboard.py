"""TensorBoard, where the config enables it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazetools.trainer.folder.paths import RunFolder


class ScalarWriter:
    """TensorBoard files below the run folder with every number that is logged.

    A run that goes on writes a file of its own; its first entry makes readers drop what older files have after
    `last_step`, which the run sends again.
    """

    takes_report = False

    def __init__(self, folder: RunFolder, last_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        begun = any(folder.tensorboard.glob("events.out.tfevents.*"))
        self.last_step = last_step if begun else -1
        self._writer: Any = SummaryWriter(str(folder.tensorboard), purge_step=last_step + 1 if begun else None)

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Write the numbers of a step."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)

    def final(self, values: Mapping[str, Any], *, step: int) -> None:
        """Write the numbers that a run ends with."""
        self.log(values, step=step)

    def attach(self, files: Sequence[tuple[Path, str]]) -> None:
        """Do nothing: reports are not kept here."""

    def flush(self) -> None:
        """Write what was logged to the file: it must be there before a checkpoint says that it was logged."""
        self._writer.flush()

    def finish(self, exit_code: int) -> None:
        """Close the file."""
        self._writer.close()


def open_tensorboard(enabled: bool, folder: RunFolder, last_step: int) -> ScalarWriter | None:
    """A writer below the run folder; None where TensorBoard is not enabled.

    `last_step` is the last step that the files of this run surely have, -1 for none.
    """
    return ScalarWriter(folder, last_step) if enabled else None
