"""The seeds of a study as a real Slurm array and on a real Ray cluster: one killed, resumed alone, all equal."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.trainer import train
from gazetools.trainer.processes.one_run import only_run_in
from gazetools.trainer.processes.world import World
from gazetools.trainer.report.run import report
from tests.engines.ray_cluster import TOKEN, running_ray
from tests.engines.slurm_cluster import SlurmCluster, missing_programs, running_slurm
from tests.helpers.runs import assert_same, final_state, lines
from tests.trainer.conftest import Study

ROOT = Path(__file__).parents[2]
SLURM, RAY = ROOT / "examples" / "slurm_seeds.sh", ROOT / "examples" / "ray_seeds.py"
SEEDS, EPOCHS = [0, 1, 2], 12
pytestmark = pytest.mark.slow
needs_slurm = pytest.mark.skipif(
    bool(missing_programs()), reason="Slurm is not installed: apt-get install slurm-wlm munge (one node is enough)"
)
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra [ray] is not installed: pip install -e '.[ray]'"
)


def _study(study: Study, folder: Path) -> Path:
    """The config of three trainings, long enough to be killed amid one; its file."""
    config: dict[str, Any] = study.config(folder)
    config |= {"arms": ["none", "estimated"], "seeds": len(SEEDS), "checkpoint_every": 1}
    config["experiment"]["optimization"] |= {"num_epochs": EPOCHS, "batch_size": 1}
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / "study.json"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def one_after_the_other(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the study trained by one command, in a process like those of the arrays."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    command = [sys.executable, "-m", "gazetools", "train", "--config", str(_study(study, folder))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def _losses(path: Path) -> list[dict[str, float]]:
    """Epoch and losses of every line of a history, of all arms."""
    found = [
        {key: value for key, value in row.items() if key == "epoch" or key.endswith("_loss")} for row in lines(path)
    ]
    assert len(found) == EPOCHS and all(len(row) > len(SEEDS) for row in found)
    return found


def _assert_equal_and_joined(folder: Path, alone: Path, out: Path) -> None:
    """Weights, history of losses and every predicted score are equal to the bit; one report reads the folder."""
    document = json.loads((folder / "result.json").read_text())
    assert document["status"] == "done"
    assert [(one["seed"], one["status"]) for one in document["trainings"]] == [(seed, "done") for seed in SEEDS]
    for seed in SEEDS:
        mine, theirs = folder / f"seed_{seed}", alone / f"seed_{seed}"
        for part in ("learners", "predictors"):
            assert_same(final_state(mine)[part], final_state(theirs)[part], f"seed {seed} {part}")
        for name in ("none", "estimated"):
            files = [path / "predictions" / name / "val_start.npz" for path in (mine, theirs)]
            with np.load(files[0]) as first, np.load(files[1]) as second:
                assert set(first.files) == set(second.files)
                for key in first.files:
                    assert np.array_equal(first[key], second[key]), (seed, name, key)
        histories = [_losses(path / "metrics.jsonl") for path in (mine, theirs)]
        assert histories[0] == histories[1], seed
    found = report([folder], output=out, k=1, examples=0)
    assert found["primary"]["seeds"] == len(SEEDS) and found["statistics"]["varies"] == "training"


def _amid(folder: Path, seed: int) -> bool:
    """Whether that training has some checkpoints and is not done."""
    path = folder / f"seed_{seed}"
    return len(list(path.glob("checkpoints/step-*"))) > 0 and not (path / "result.json").exists()


def _training_in(folder: Path) -> int:
    """Id of the process that trains there, which its lock names."""
    (lock,) = folder.glob(".work/*.lock")
    found = re.fullmatch(r"process (\d+) on .*", lock.read_text())
    assert found, lock.read_text()
    return int(found[1])


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with running_slurm(folder / "c") as running:
            (folder / "bin").mkdir()
            (folder / "bin" / "gazetools").write_text(f'#!/bin/bash\nexec {sys.executable} -m gazetools "$@"\n')
            (folder / "bin" / "gazetools").chmod(0o755)
            running.environment["PATH"] = f"{folder / 'bin'}:{running.environment['PATH']}"
            running.environment.update(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _submit(slurm: SlurmCluster, config: Path, array: str) -> str:
    """Id of the array, submitted as docs/training.md says, with less memory and CPUs."""
    sized = ["--parsable", f"--array={array}", "--cpus-per-task=1", "--mem=1G", "--time=50"]
    log = f"--output={config.parent}/%A_%a.log"
    return slurm.run("sbatch", *sized, log, str(SLURM), str(config)).strip()


def _exit_codes(slurm: SlurmCluster, array: str) -> dict[str, str]:
    """Task -> Slurm's `code:signal` of the ended tasks of an array."""
    slurm.wait_until(lambda: not slurm.unfinished(), seconds=400, what="the array has ended")
    found = {}
    for line in slurm.run("scontrol", "-o", "show", "job", array).splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        found[words["ArrayTaskId"]] = words["ExitCode"]
    return found


@needs_slurm
@pytest.mark.parametrize("way", ["cancelled", "killed"])
def test_a_slurm_array_trains_the_seeds_of_one_study(
    slurm: SlurmCluster, study: Study, one_after_the_other: Path, tmp_path: Path, way: str
) -> None:
    """scancel gives the task time to save, and does not queue it again; SIGKILL to its training gives none."""
    folder = tmp_path / "run"
    config = _study(study, folder)
    array = _submit(slurm, config, "0-2")
    slurm.wait_until(lambda: _amid(folder, 1), seconds=200, what="seed 1 has a checkpoint")
    if way == "cancelled":
        # Halted, so that it can't end before the signal comes; Slurm itself lets it go on with the signal.
        os.kill(_training_in(folder / "seed_1"), signal.SIGSTOP)
        slurm.run("scancel", f"{array}_1")
    else:
        os.kill(_training_in(folder / "seed_1"), signal.SIGKILL)
    codes = _exit_codes(slurm, array)
    assert codes["0"] == codes["2"] == "0:0", codes
    assert codes["1"] == "137:0" if way == "killed" else codes["1"] != "0:0", codes
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    before = {seed: (folder / f"seed_{seed}" / "result.json").read_bytes() for seed in (0, 2)}
    again = _submit(slurm, config, "1")
    assert _exit_codes(slurm, again) == {"1": "0:0"}
    assert "esum" in (config.parent / f"{again}_1.log").read_text(), "it goes on from a checkpoint and says so"
    assert before == {seed: (folder / f"seed_{seed}" / "result.json").read_bytes() for seed in (0, 2)}
    _assert_equal_and_joined(folder, one_after_the_other, tmp_path / "report")


@needs_slurm
def test_a_warned_task_saves_and_is_queued_again(
    slurm: SlurmCluster, study: Study, one_after_the_other: Path, tmp_path: Path
) -> None:
    """The signal that Slurm sends before the time limit, to the batch shell of one task."""
    folder = tmp_path / "run"
    array = _submit(slurm, _study(study, folder), "0-2")
    slurm.wait_until(lambda: _amid(folder, 2), seconds=200, what="seed 2 has a checkpoint")
    slurm.run("scancel", "--signal=USR1", "--batch", f"{array}_2")
    assert set(_exit_codes(slurm, array).values()) == {"0:0"}
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", f"{array}_2")
    _assert_equal_and_joined(folder, one_after_the_other, tmp_path / "report")


@needs_slurm
def test_wrong_tasks_of_an_array_end_with_two(slurm: SlurmCluster, study: Study, tmp_path: Path) -> None:
    """A seed that the config lacks, and one that is being trained elsewhere; nothing is trained."""
    folder = tmp_path / "run"
    config = _study(study, folder)
    with only_run_in(folder / "seed_1", World()):
        array = _submit(slurm, config, "1,7")
        assert _exit_codes(slurm, array) == {"1": "2:0", "7": "2:0"}
    logs = {task: (tmp_path / f"{array}_{task}.log").read_text() for task in (1, 7)}
    assert "--only-seed 7: the config's seeds are 0, 1, 2." in logs[7]
    assert "Another run trains in" in logs[1] and f"process {os.getpid()}" in logs[1]
    assert not list(folder.glob("seed_*/checkpoints/*"))


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    with running_ray(2, PYTHONPATH=str(ROOT)) as nodes:
        yield nodes.address


def _ray(address: str, config: Path, seeds: list[int]) -> subprocess.Popen[str]:
    """The example as a user runs it."""
    words = [sys.executable, str(RAY), str(config), "--address", address, "--seeds", *map(str, seeds)]
    environment = {**os.environ, "RAY_AUTH_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=config.parent
    )


def _kill_training(folder: Path, seed: int) -> None:
    """SIGKILL to the process that holds the training's folder, once it has a checkpoint."""
    deadline = time.monotonic() + 200
    while not _amid(folder, seed):
        assert time.monotonic() < deadline, "the training does not begin"
        time.sleep(0.05)
    os.kill(_training_in(folder / f"seed_{seed}"), signal.SIGKILL)


@needs_ray
def test_ray_tasks_train_the_seeds_of_one_study(
    ray_address: str, study: Study, one_after_the_other: Path, tmp_path: Path
) -> None:
    """One is killed: Ray starts it again, and it goes on from its checkpoint."""
    folder = tmp_path / "run"
    run = _ray(ray_address, _study(study, folder), SEEDS)
    _kill_training(folder, 1)
    out, err = run.communicate(timeout=400)
    assert run.returncode == 0, (out, err)
    assert [line for line in out.splitlines() if line.startswith("seed")] == [f"seed {s}: done (exit 0)" for s in SEEDS]
    _assert_equal_and_joined(folder, one_after_the_other, tmp_path / "report")


@needs_ray
def test_wrong_seeds_on_ray_end_with_two(ray_address: str, study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with only_run_in(folder / "seed_1", World()):
        run = _ray(ray_address, _study(study, folder), [1, 7])
        out, err = run.communicate(timeout=200)
    assert run.returncode == 2, (out, err)
    assert "seed 7: --only-seed 7: the config's seeds are 0, 1, 2." in out
    assert f"seed 1: Another run trains in {folder / 'seed_1'}" in out
    assert not list(folder.glob("seed_*/checkpoints/*"))


def test_a_study_by_parts_in_this_process_is_the_same(study: Study, one_after_the_other: Path, tmp_path: Path) -> None:
    """What the arrays rest on, without a cluster: any order, each in its own call."""
    config = json.loads(_study(study, tmp_path / "run").read_text())
    for seed in (2, 0, 1):
        train(config, only_seed=seed)
    _assert_equal_and_joined(tmp_path / "run", one_after_the_other, tmp_path / "report")
