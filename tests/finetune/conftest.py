"""A small set of labelled gaze, a tiny model, and a config that trains it in about a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.gaze_sets import write_gaze_set

Configure = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def gaze_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 heads in 18 pictures of 6 videos; every fifth looks outside."""
    return write_gaze_set(tmp_path_factory.mktemp("gaze"))


@pytest.fixture
def configure(tmp_path: Path, tiny_model: Path, gaze_labels: Path) -> Configure:
    """Makes a config: `configure("run", {"learning": {"epochs": 3}})`; 24 heads to learn from, 3 steps an epoch."""

    def make(name: str = "run", changes: dict[str, Any] | None = None) -> dict[str, Any]:
        config: dict[str, Any] = {
            "folder": str(tmp_path / name),
            "device": "cpu",
            "model": {"name": str(tiny_model)},
            "data": {"train": [{"kind": "labels", "path": str(gaze_labels)}], "held_out": 0.3, "workers": 0},
            "learning": {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 3e-3}},
            "checkpoint_every": 2,
            "log_every": 1,
        }
        for key, value in (changes or {}).items():
            config[key] = {**config[key], **value} if isinstance(config.get(key), dict) else value
        return config

    return make
