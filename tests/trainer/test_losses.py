"""The probe's loss by name: a loss from outside trains through the command line, and the old key keeps its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from gazetools.schemas.training_optimization import LOSS_NAMES, OptimizationSettings
from gazetools.trainer import train
from gazetools.trainer.learn.losses import LOSSES, CrossEntropyLoss, FocalLoss, build_loss, register
from tests.helpers.command_line import run_cli

LOSS = "experiment.optimization.loss"


class MarginLoss:
    """A loss that the package does not have."""

    is_mean = True

    def __init__(self, settings: OptimizationSettings) -> None:
        self.calls = 0
        self.batch_size = settings.batch_size

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        assert logits.dtype == torch.float32 and len(logits) <= self.batch_size
        self.calls += 1
        return functional.multi_margin_loss(logits, labels) if len(labels) else logits.sum()


@pytest.fixture
def margin() -> Iterator[list[MarginLoss]]:
    """The losses that are built while `margin` is a name in the table."""
    built: list[MarginLoss] = []

    def build(settings: OptimizationSettings) -> MarginLoss:
        built.append(MarginLoss(settings))
        return built[-1]

    register("margin", build)
    yield built
    LOSS_NAMES.remove("margin")
    del LOSSES["margin"]


def test_a_loss_from_outside_trains_from_the_command_line(
    tiny: dict[str, Any], tmp_path: Path, margin: list[MarginLoss]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    done = run_cli("train", "--config", str(path), f"{LOSS}=margin", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "done" and document["config"]["experiment"]["optimization"]["loss"] == "margin"
    (loss,) = margin
    assert loss.calls > 0, "built once, called by the loop"
    others = [
        train({**tiny, "folder": str(tmp_path / name)}, overrides=[f"{LOSS}={name}"]) for name in list(LOSS_NAMES)[:2]
    ]
    assert document["metrics"]["train_loss"] not in {other.metrics["train_loss"] for other in others}


def test_an_unknown_loss_is_refused_with_the_known_ones(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    done = run_cli("train", "--config", str(path), f"{LOSS}=margin")
    assert done.exit_code == 2 and "'focal' or 'cross_entropy'" in done.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, FocalLoss),
        ({"use_focal_loss": False}, CrossEntropyLoss),
        ({"loss": "cross_entropy"}, CrossEntropyLoss),
        ({"loss": "focal", "use_focal_loss": False}, FocalLoss),
    ],
)
def test_without_a_name_use_focal_loss_decides(settings: dict[str, Any], expected: type) -> None:
    parsed = OptimizationSettings(**settings)
    assert isinstance(build_loss(parsed), expected)
    assert set(LOSSES) == set(LOSS_NAMES)
    # Checkpoints and results of versions without the key compare equal.
    assert ("loss" in parsed.model_dump(mode="json")) == ("loss" in settings)
