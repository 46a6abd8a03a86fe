"""Killed with SIGKILL at random points and started again: the same losses and weights as without."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.progress import NoProgress
from gazetools.trainer import train
from gazetools.trainer.folder.checkpoints import list_checkpoints
from tests.helpers.runs import Listener, assert_same, final_state
from tests.trainer.conftest import Study

OVERRIDES = [
    "checkpoint_every=1",
    "experiment.optimization.num_epochs=3",
    "experiment.optimization.batch_size=1",
    "experiment.evaluation.held_out=0.3",
    "experiment.evaluation.horizons=[0.25, 1.0]",
    # draws from a generator whose state has to be restored
    "model_kwargs.pretrain_kwargs.predictor.heatmap_dropout=0.5",
]


class _Ticks(NoProgress):
    """Tells the parent how far the child is, by the length of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def advance(self, task: str, steps: int = 1) -> None:
        with self.path.open("ab") as file:
            file.write(b".")


def run_child(config: dict[str, Any], ticks: str, overrides: list[str]) -> None:
    """A run in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(int.from_bytes(os.urandom(4), "little"))  # whatever a new process has
    result = train(config, overrides=overrides, progress=_Ticks(Path(ticks)))
    os._exit(int(result.exit_code))


def run_and_kill(config: dict[str, Any], ticks: Path, draw: random.Random, overrides: list[str]) -> bool:
    """Whether it was killed before it ended by itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gazetools.trainer.run", "tests.trainer.test_kill"])
    before = ticks.stat().st_size if ticks.exists() else 0
    child = context.Process(target=run_child, args=(config, str(ticks), overrides))
    child.start()
    wanted, deadline = before + draw.randint(1, 12), time.monotonic() + 120
    while child.is_alive() and (ticks.stat().st_size if ticks.exists() else 0) < wanted:
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.001)
    time.sleep(draw.random() * 0.03)  # anywhere within a step, a validation or a save
    if child.is_alive() and child.pid is not None:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def check(
    study: Study, tiny: dict[str, Any], tmp_path: Path, *, kills: int, seed: int, more: Sequence[str] = ()
) -> None:
    overrides = [*OVERRIDES, *more]
    train(tiny, overrides=overrides)
    draw, config = random.Random(seed), study.config(tmp_path / "killed")
    done, rounds = 0, 0
    while done < kills:
        killed = run_and_kill(config, tmp_path / "ticks", draw, overrides)
        done, rounds = done + killed, rounds + 1
        if not killed:  # it ended first: the next one starts anew
            compare(tmp_path)
            (tmp_path / "killed").rename(tmp_path / f"ended{rounds}")
    train(config, overrides=overrides)
    compare(tmp_path)


def compare(tmp_path: Path) -> None:
    whole, resumed = (final_state(tmp_path / name) for name in ("run", "killed"))
    for part in ("predictors", "learners", "position", "counts", "processes"):
        assert_same(whole[part], resumed[part], part)
    files = sorted((tmp_path / "run").rglob("*.jsonl")) + sorted((tmp_path / "run").rglob("*.npz"))
    assert len(files) >= 4 + 4
    for path in files:
        other = tmp_path / "killed" / path.relative_to(tmp_path / "run")
        assert path.read_bytes() == other.read_bytes(), path.name
    assert len(list_checkpoints(tmp_path / "killed" / "checkpoints")) == 2


@pytest.mark.slow
def test_two_kills(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    check(study, tiny, tmp_path, kills=2, seed=1)


@pytest.mark.slow
def test_twenty_kills(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    check(study, tiny, tmp_path, kills=20, seed=2)


@pytest.mark.slow
def test_kills_with_options_that_keep_a_state_of_their_own(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    optimization = "experiment.optimization"
    options = [f"{optimization}.early_stopping={{patience: 1}}", f"{optimization}.ema={{decay: 0.9}}",
               f"{optimization}.class_weights={{}}", f"{optimization}.multihead_kwargs=[{{lr: 0.01}}]"]  # fmt: skip
    check(study, tiny, tmp_path, kills=4, seed=3, more=options)


def test_a_damaged_last_checkpoint_within_an_epoch_falls_back_and_ends_the_same(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    train(tiny, overrides=OVERRIDES)
    config = study.config(tmp_path / "killed")
    train(config, overrides=OVERRIDES, progress=Listener(signal_after_steps=3))
    last = list_checkpoints(tmp_path / "killed" / "checkpoints")[0] / "state.pt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 255
    last.write_bytes(data)
    listener = Listener()
    train(config, overrides=OVERRIDES, progress=listener)
    assert any("damaged" in line and "the one before" in line for line in listener.said)
    compare(tmp_path)
