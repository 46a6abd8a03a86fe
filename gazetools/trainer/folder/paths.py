"""Every name in a run folder; all writers and readers take their paths from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BEST_NAME = "best"
"""Folder below the checkpoints with the weights of each model's best epoch."""
STATE_NAME = "state.pt"
"""State in the folder of a checkpoint."""
MANIFEST_NAME = "manifest.json"
"""Checksum in the folder of a checkpoint, written last."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run: `RunFolder(path).result` is the path of its result.

    >>> str(RunFolder(Path("run")).predictions("main", "val_start"))
    'run/predictions/main/val_start.npz'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config as JSON."""
        return self.path / "config.json"

    @property
    def result(self) -> Path:
        """The result as JSON, written last."""
        return self.path / "result.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per finished epoch and line."""
        return self.path / "metrics.jsonl"

    @property
    def metrics_table(self) -> Path:
        """The same as CSV."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def frame_indexes(self) -> Path:
        """Folder of the videos' frame times, where the config names none."""
        return self.path / "frame_indexes"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's files."""
        return self.path / "tensorboard"

    @property
    def evaluation(self) -> RunFolder:
        """Folder of a run with `val_only` that measures this run's weights."""
        return RunFolder(self.path / "evaluation")

    def steps(self, epoch: int) -> Path:
        """Loss of every step of an epoch (from 0)."""
        return self.path / "steps" / f"epoch_{epoch:04d}.jsonl"

    def predictions_of(self, learner: str) -> Path:
        """Folder of a model's predictions."""
        return self.path / "predictions" / learner

    def predictions(self, learner: str, split: str) -> Path:
        """Predictions of a model on a split."""
        return self.predictions_of(learner) / f"{split}.npz"
