"""One run at a time in a run folder: the second one is refused with the name of the first, a dead one is in no way."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gazetools.schemas.errors import ExitCode
from gazetools.store.lock import BusyError
from gazetools.trainer import train
from gazetools.trainer.processes.one_run import only_run_in
from gazetools.trainer.processes.world import World

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
HOLDER = """
import sys, time, pathlib
from gazetools.trainer.processes.one_run import only_run_in
from gazetools.trainer.processes.world import World
with only_run_in(pathlib.Path(sys.argv[1]), World()):
    print("held", flush=True)
    time.sleep(600)
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_in_one_folder_is_refused_and_changes_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    train(tiny, overrides=["experiment.optimization.num_epochs=1"])
    folder = tmp_path / "run"
    with only_run_in(folder, World()):
        before = files(folder)
        with pytest.raises(BusyError) as caught:
            train(tiny, overrides=["experiment.optimization.num_epochs=1"])
        assert files(folder) == before
        assert train(tiny, dry_run=True).status == "dry_run", "looking is free"
    assert caught.value.exit_code == ExitCode.USAGE
    where = f"(process {os.getpid()} on {platform.node()})"
    assert caught.value.message == f"Another run trains in {folder} {where}."
    assert train(tiny, overrides=["experiment.optimization.num_epochs=1"]).status == "done"
    assert not (folder / ".work").exists(), "nothing of the lock is left"


def test_the_lock_of_a_killed_run_is_taken_over(tiny: dict[str, Any], tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tiny["folder"]], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=rf"process {child.pid} on "):
        train(tiny)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list((tmp_path / "run" / ".work").glob("*.lock")), "its file stays, which must be in nobody's way"
    assert train(tiny).status == "done"


def test_a_measurement_may_run_while_the_folder_trains(tiny: dict[str, Any], tmp_path: Path) -> None:
    train(tiny)
    with only_run_in(tmp_path / "run", World()):
        assert train(tiny, overrides=["val_only=true"]).status == "done"


def start(config: dict[str, Any], name: str, *options: str) -> subprocess.Popen[str]:
    path = Path(config["folder"]).parent / f"{name}.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "gazetools", "train", "--config", str(path), *options]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_processes_of_a_run_hold_its_folder_together(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = {**tiny, "checkpoint_every": 1}
    config["experiment"]["optimization"] |= {"batch_size": 1, "num_epochs": 400}
    first = start(config, "first", "--processes", "2")
    while not list((tmp_path / "run" / "checkpoints").glob("step-*")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    second = start(config, "second", "--processes", "2")
    _, said = second.communicate(timeout=300)
    assert second.returncode == 2, said
    assert f"Another run trains in {tmp_path / 'run'} (process " in said and f"on {platform.node()})" in said
    assert first.poll() is None, "the first one goes on"
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=300)
    assert first.returncode == 130, said


@pytest.mark.slow
def test_shares_of_one_study_run_at_the_same_time(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = {**tiny, "seeds": 2, "arms": ["none", "estimated"]}
    shares = [start(config, f"share{seed}", "--only-seed", str(seed)) for seed in (0, 1)]
    for share in shares:
        _, said = share.communicate(timeout=300)
        assert share.returncode == 0, said
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    assert document["status"] == "done"
    assert [one["status"] for one in document["trainings"]] == ["done", "done"]
