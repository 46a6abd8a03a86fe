"""Faults of a training: numbers that are not finite in validation, a full disk, a lost process, refused configs."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.metrics.ranks import ranks
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.trainer import train
from gazetools.trainer.learn.metrics import TaskMetrics
from tests.helpers.command_line import run_cli
from tests.helpers.runs import Listener

ROOT = Path(__file__).parents[2]


# Numbers that are not finite


def absurd(tiny: dict[str, Any]) -> dict[str, Any]:
    """One step a epoch, after which the weights of `bad` are finite and its validation is not."""
    tiny["arms"] = ["none", {"name": "bad", "heatmap_lr": 1e30, "predictor_lr": 1e30}]
    tiny["experiment"]["optimization"] |= {"batch_size": 8, "num_epochs": 2}
    return tiny


def test_an_arm_whose_validation_is_not_finite_is_dropped_and_the_others_go_on(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    listener = Listener()
    result = train(absurd(tiny), progress=listener)
    assert list(result.failed) == ["bad"] and "not finite" in result.failed["bad"]
    assert list(result.final) == ["none"]
    assert any(line.startswith("DROPPED bad: loss nan on val_start in epoch 1") for line in listener.said)
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    assert document["failed"] == result.failed and document["status"] == "done"
    again = train(tiny)
    assert again.failed == result.failed and again.final == result.final, "it stays dropped in a resumed run"


def test_a_dropped_arm_stays_dropped_where_a_run_goes_on(tiny: dict[str, Any]) -> None:
    """Dropped after the first epoch, interrupted in the second, resumed: as without the interruption."""
    stopped = train(absurd(tiny), progress=Listener(signal_after_steps=2))
    assert stopped.status == "interrupted" and list(stopped.failed) == ["bad"]
    done = train(tiny)
    assert done.failed == stopped.failed and list(done.final) == ["none"]
    whole = train({**tiny, "folder": f"{tiny['folder']}_whole"})
    assert done.final == whole.final and done.failed == whole.failed


def test_a_model_alone_whose_validation_is_not_finite_ends_the_run(tiny: dict[str, Any]) -> None:
    config = absurd(tiny)
    config["arms"] = config["arms"][1:]
    with pytest.raises(FaultError, match=r"^bad: loss nan on val_start in epoch 1: not finite\. The state"):
        train(config)


@pytest.mark.parametrize("offset", [0, 15, 20, -90, -110])
def test_a_common_offset_of_the_logits_changes_no_figure(offset: float) -> None:
    """Cross-entropy leaves it free; sigmoids would saturate and make classes equal."""
    random = np.random.default_rng(0)
    scores = random.normal(0, 2, (500, 40)).astype(np.float32)
    label = np.where(random.random(500) < 0.5, scores.argmax(1), random.integers(0, 40, 500))
    expected = 100 * np.mean(scores.argmax(1) == label)
    metrics = TaskMetrics(40)
    metrics.update(torch.tensor(scores + np.float32(offset)), torch.tensor(label))
    assert metrics.values()["top1"] == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(
    ("row", "rank"),
    [
        ([float("nan")] * 4, 4),  # nothing is known of the clip
        ([0.0, float("nan"), 1.0, 2.0], 4),  # nor here, whichever class is the true one
        ([0.0, 3.0, 1.0, 2.0], 0),
        ([0.0, float("inf"), 1.0, 2.0], 0),
        ([1.0, 1.0, 1.0, 1.0], 3),
        ([0.0, float("-inf"), 1.0, 2.0], 3),
    ],
)
def test_logits_that_are_no_numbers_are_never_a_hit(row: list[float], rank: int) -> None:
    assert ranks(torch.tensor([row]), torch.tensor([1])).tolist() == [rank]
    metrics = TaskMetrics(4)
    metrics.update(torch.tensor([row]), torch.tensor([1]))
    assert metrics.values()["top1"] == 100.0 * (rank == 0)


# A full disk


def save_within(limit_bytes: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Save a checkpoint of about 4 MB in a process whose files may have so many bytes."""
    code = (
        "import signal, sys, pathlib, torch\n"
        "from gazetools.schemas.errors import FaultError\n"
        "from gazetools.trainer.folder.checkpoints import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "state = {'format': 'gazetools.training', 'weights': torch.zeros(1_000_000)}\n"
        "try:\n"
        "    save_checkpoint(pathlib.Path(sys.argv[1]), state, step=1)\n"
        "except FaultError as error:\n"
        "    print(error)\n"
        "    sys.exit(4)\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(
        command, preexec_fn=limit, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_full_disk_at_a_checkpoint_is_told_as_such(tmp_path: Path) -> None:
    full = save_within(1 << 20, tmp_path / "checkpoints")
    assert full.returncode == 4, full.stderr
    assert "No space left while writing" in full.stdout and "run the same command again" in full.stdout
    assert list((tmp_path / "checkpoints").iterdir()) == [], "nothing half-written"
    assert save_within(1 << 24, tmp_path / "checkpoints").returncode == 0


# Refused configs, lost processes


def test_a_refused_config_leaves_no_folder(tiny: dict[str, Any], tmp_path: Path) -> None:
    wrong = {**tiny, "folder": str(tmp_path / "new" / "run")}
    with pytest.raises(UsageError, match=r"missing\.csv"):
        train(wrong, overrides=["experiment.data.dataset_val=missing.csv"])
    assert not (tmp_path / "new").exists()


def test_weights_that_do_not_fit_leave_no_folder(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Which is found after the run folder was made; a folder that was there stays."""
    weights = tmp_path / "weights"
    (weights / "checkpoints").mkdir(parents=True)
    other = {**tiny, "folder": str(tmp_path / "new" / "run"), "classifier_checkpoint": str(weights)}
    (tmp_path / "indexes").mkdir()
    with pytest.raises(UsageError, match="weights"):
        train(other, overrides=[f"experiment.data.index_cache={tmp_path / 'indexes'}"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    with pytest.raises(UsageError, match="weights"):
        train(other, overrides=[f"experiment.data.index_cache={tmp_path / 'indexes'}"])
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.slow
def test_a_killed_process_is_told_as_lost_and_the_command_goes_on(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    tiny["experiment"]["optimization"] |= {"num_epochs": 60, "batch_size": 1}
    path.write_text(json.dumps({**tiny, "checkpoint_every": 1}))
    command = [sys.executable, "-m", "gazetools", "train", "--config", str(path), "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "run" / "checkpoints"
    while not list(folder.glob("step-*")):
        assert child.poll() is None
        time.sleep(0.1)
    os.kill(worker_of_rank_1(child.pid), signal.SIGKILL)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 4, said
    assert "Process 1 of 2 was lost" in said and "--processes 2" in said
    shorter = ["experiment.optimization.num_epochs=60"]
    done = run_cli("train", "--config", str(path), *shorter, "--dry-run")
    assert done.exit_code == 0, done.stderr


def worker_of_rank_1(launcher: int) -> int:
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            values = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"RANK=1" in values and b"WORLD_SIZE=2" in values:
            return int(path.parent.name)
    raise AssertionError(f"the launcher {launcher} has no worker of rank 1")
