"""A small study: three videos, a CSV of actions, heatmaps of two videos, and a config that trains in seconds."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.clips import write_clip

FRAMES, RATE = 150, 30

ACTIONS = """narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class,narration
a0,P01_01,00:00:02.00,00:00:02.50,0,3,open door
a1,P01_01,00:00:03.00,00:00:03.50,4,3,close door
a2,P01_02,00:00:02.20,00:00:02.90,0,7,open box
a3,P01_02,00:00:03.60,00:00:04.20,4,3,close door
a4,P02_01,00:00:02.50,00:00:03.00,0,3,open door
"""

HEADER = "video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
"""The columns that an annotation file needs."""

ARMS: list[Any] = [
    "none",
    "estimated",
    "shuffled",
    {"name": "added", "fusion": "add", "train": "heatmap", "seeds": [0, 3]},
    {"name": "frozen", "fusion": "cross_attention", "train": "probe"},
]
"""One arm of every kind; `added` has two seeds."""


@dataclass(frozen=True)
class Study:
    """Paths of the study and its config."""

    root: Path

    @property
    def heatmaps(self) -> Path:
        return self.root / "heatmaps"

    def config(self, folder: Path, **data: Any) -> dict[str, Any]:
        """The tiny config with this study's paths; `data` replaces keys of experiment.data."""
        return {
            "folder": str(folder),
            "device": "cpu",
            "log_every": 1,
            "experiment": {
                "classifier": {"num_probe_blocks": 2, "num_heads": 2},
                "evaluation": {"held_out": 0},
                "data": {
                    "base_path": str(self.root / "videos"),
                    "dataset_train": str(self.root / "actions.csv"),
                    "dataset_val": str(self.root / "actions.csv"),
                    "frames_per_clip": 4,
                    "frames_per_second": 4,
                    "resolution": 32,
                    "train_anticipation_time_sec": [0.5, 1.0],
                    "num_workers": 0,
                    "use_heatmap": True,
                    "heatmap_base_path": str(self.heatmaps),
                    **data,
                },
                "optimization": {
                    "num_epochs": 2,
                    "batch_size": 2,
                    "train": "all_but_encoder",
                    "multihead_kwargs": [{"lr": 1e-3}],
                },
            },
            "model_kwargs": {
                "checkpoint": "random",
                "pretrain_kwargs": {
                    "encoder": {"model_name": "vit_tiny_test", "depth": 1, "embed_dim": 24, "patch_size": 8},
                    "predictor": {
                        "model_name": "vit_heatmap_predictor",
                        "num_frames": 16,
                        "depth": 1,
                        "num_heads": 2,
                        "predictor_embed_dim": 24,
                    },
                },
            },
        }


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """P01_01 and P01_02 have heatmaps of every frame, P02_01 has none."""
    root = tmp_path_factory.mktemp("study")
    for video_id in ("P01_01", "P01_02", "P02_01"):
        write_clip(root / "videos" / f"{video_id}.mp4", frames=FRAMES, width=64, height=48, fps=RATE)
    (root / "actions.csv").write_text(ACTIONS)
    (root / "heatmaps").mkdir()
    random = np.random.default_rng(0)
    for video_id in ("P01_01", "P01_02"):
        maps = random.random((FRAMES, 16, 16), dtype=np.float32).astype(np.float16)
        pts = np.arange(FRAMES) / RATE
        np.savez(
            root / "heatmaps" / f"{video_id}.npz",
            heatmap=maps,
            valid=np.ones(FRAMES, dtype=bool),
            inout=np.ones(FRAMES, dtype=np.float32),
            pts_seconds=pts,
        )
    return Study(root)


@pytest.fixture
def tiny(study: Study, tmp_path: Path) -> dict[str, Any]:
    """A fresh copy of the tiny config with a run folder of its own."""
    return copy.deepcopy(study.config(tmp_path / "run"))


@pytest.fixture
def many(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny config with ARMS, two probes each and held-out videos."""
    tiny["arms"] = ARMS
    tiny["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": 1e-3}, {"lr": 3e-3, "weight_decay": 0.1}]
    tiny["experiment"]["evaluation"] = {"held_out": 0.3}
    return tiny
