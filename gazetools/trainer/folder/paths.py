"""Every name in a run folder; all writers and readers take their paths from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BEST_NAME = "best"  # folder below the checkpoints with the weights of each model's best epoch
STATE_NAME, MANIFEST_NAME = "state.pt", "manifest.json"  # of a checkpoint; the manifest, written last, has checksums


@dataclass
class RunFolder:
    """Paths in the folder of a run.

    >>> RunFolder(Path("run")).predictions("main", "val_start").as_posix()
    'run/predictions/main/val_start.npz'
    """

    path: Path

    def __post_init__(self) -> None:
        self.config = self.path / "config.json"
        self.result = self.path / "result.json"  # written last
        self.metrics = self.path / "metrics.jsonl"  # one line per finished epoch
        self.metrics_table = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.frame_indexes = self.path / "frame_indexes"  # frame times of videos, where the config names no folder
        self.tensorboard = self.path / "tensorboard"
        self.test = self.path / "test"  # folder of the run with `test_only` that predicts with this run's weights
        self.wandb = self.path / "wandb"  # W&B's own files
        self.wandb_run = self.path / "wandb_run.json"  # the W&B run that this folder is, over all its interruptions
        self.report = self.path / "report"  # the report that goes to W&B
        self.evaluation = self.path / "evaluation"  # folder of the run with `val_only` that measures this run's weights

    def training(self, seed: int) -> Path:
        """Folder of one of several trainings: a run folder of its own."""
        return self.path / f"seed_{seed}"

    def steps(self, epoch: int) -> Path:
        """Loss of every step of an epoch (from 0), with rates and gradient norms every `log_every` steps."""
        return self.path / "steps" / f"epoch_{epoch:04d}.jsonl"

    def submission(self, learner: str | None) -> Path:
        """File for the EPIC-KITCHENS challenge, which wants this name; None: of the run's only model."""
        return self.path / (learner or "") / "test.json"

    def submissions(self) -> list[Path]:
        """The files of `submission` that are there."""
        return [*self.path.glob("test.json"), *self.path.glob("*/test.json")]

    def predictions_of(self, learner: str) -> Path:
        """Folder of a model's predictions."""
        return self.path / "predictions" / learner

    def predictions(self, learner: str, split: str) -> Path:
        """Predictions of a model on a split."""
        return self.predictions_of(learner) / f"{split}.npz"
