"""Resident memory of a training run after every epoch, to show whether it grows.

    python benchmarks/train_memory.py [--epochs 30] [--workers 2]

Trains a tiny model with random weights on synthetic videos and heatmaps, with controls, a cache of validation features,
augmentation and the JEPA loss, so that everything that could keep memory is in use. Prints one JSON document: megabytes
per epoch, and the slope over the second half in MB per epoch (0 = constant).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from train_arms import config, make_study

from gazetools.progress import NoProgress
from gazetools.trainer import train


class MemoryLog(NoProgress):
    """Records the resident memory whenever the run reports an epoch."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def say(self, message: str) -> None:
        """Record the memory if the message reports an epoch."""
        if message.startswith("epoch "):
            self.megabytes.append(resident_megabytes())


def resident_megabytes() -> float:
    """Resident memory of this process in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("This benchmark reads /proc and runs on Linux only.")


def main() -> None:
    """Run the benchmark and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    log = MemoryLog()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_study(root / "study", videos=3, seconds=5)
        settings: dict[str, Any] = config(root / "study", root / "run", arms=["none", "estimated", "shuffled"])
        experiment = settings["experiment"]
        experiment["data"] |= {
            "resolution": 32,
            "num_workers": options.workers,
            "auto_augment": True,
            "reprob": 0.3,
            "max_val_clips": 6,
            "feature_cache": {"folder": str(root / "features")},
        }
        experiment["optimization"] |= {"num_epochs": options.epochs, "losses": {"jepa": 1}}
        settings["model_kwargs"]["pretrain_kwargs"]["encoder"] = {"model_name": "vit_tiny", "depth": 2}
        settings["model_kwargs"]["pretrain_kwargs"]["predictor"] |= {"depth": 1}
        train(settings, progress=log)
    later = np.array(log.megabytes[len(log.megabytes) // 2 :])
    slope = float(np.polyfit(np.arange(len(later)), later, 1)[0])
    found = {"epochs": options.epochs, "workers": options.workers, "megabytes": [round(m, 1) for m in log.megabytes]}
    print(json.dumps({**found, "slope_mb_per_epoch": round(slope, 3)}, indent=1))


if __name__ == "__main__":
    main()
