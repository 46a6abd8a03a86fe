"""Shared by tests of runs: a `Progress` that records messages and sends signals, and comparisons of states."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gazetools.progress import NoProgress
from gazetools.trainer.folder.checkpoints import load_latest


class Listener(NoProgress):
    """Records messages; sends a signal to this process when a number of training steps is reached."""

    def __init__(self, *, signal_after_steps: int | None = None, number: int = signal.SIGTERM) -> None:
        self.said: list[str] = []
        self.tasks: list[str] = []
        self.tables: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = []
        self.steps = 0
        self.signal_after_steps = signal_after_steps
        self.number = number

    def start(self, task: str, total: int | None, *, unit: str = "frames") -> None:
        self.tasks.append(task)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.tables.append((title, columns, rows))

    def say(self, message: str) -> None:
        self.said.append(message)

    def advance(self, task: str, steps: int = 1) -> None:
        if task.endswith("train") and steps == 1:
            self.steps += 1
            if self.steps == self.signal_after_steps:
                os.kill(os.getpid(), self.number)


def final_state(folder: Path) -> dict[str, Any]:
    found = load_latest(folder / "checkpoints")
    assert found is not None
    return found.state


def learner_state(folder: Path, name: str) -> tuple[Any, Any]:
    """The saved probe `name` of a finished run, and the predictor under it."""
    state = final_state(folder)
    learner = state["learners"][name]
    trunks = [key for key in state["predictors"] if name.startswith(key)]
    return learner, state["predictors"][max(trunks, key=len)]


def assert_same(first: Any, second: Any, where: str = "") -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for place, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}[{place}]")
    else:
        assert first == second, where


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
