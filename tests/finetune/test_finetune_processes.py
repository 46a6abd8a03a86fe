"""`finetune` in several processes, and killed: the same numbers as alone and in one go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.finetune.conftest import Configure

NO_DROPS = {"drop_path": 0, "inout_dropout": 0}


def start(config: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
    """The command, as a program of its own."""
    path = Path(config["folder"]).with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gazetools", "finetune", "--config", str(path), "--json", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def state_of(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(config["folder"]) / "state.safetensors")


def steps_in(config: dict[str, Any]) -> int:
    path = Path(config["folder"]) / "log.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_two_processes_learn_what_one_learns(configure: Configure, kept: bool) -> None:
    """The last batch has one head, so that the second process has none of it; the best epoch is not the last."""
    learning = {"epochs": 3, "batch_size": 23, "optimizer": {"lr": 3e-3}}
    # 12 pictures are one file of features and 6 held-out ones another: one process has nothing to compute.
    changes: dict[str, Any] = {"learning": learning, "model": NO_DROPS, "data": {"keep_features": kept}}
    one, two = configure("one", changes), configure("two", changes)
    results = []
    for config, arguments in ((one, ()), (two, ("--processes", "2"))):
        out, err = (process := start(config, *arguments)).communicate(timeout=300)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    alone, together = state_of(one), state_of(two)
    for name in (key for key in alone if key.startswith("network.")):
        torch.testing.assert_close(together[name], alone[name], rtol=1e-3, atol=2e-5, msg=name)
    assert results[0]["best"]["epoch"] == results[1]["best"]["epoch"]
    assert results[1]["best"]["value"] == pytest.approx(results[0]["best"]["value"], abs=1e-3)


@pytest.mark.slow
def test_killed_within_epochs_it_ends_with_the_same_bits(configure: Configure) -> None:
    changes = {"learning": {"epochs": 6, "batch_size": 3, "optimizer": {"lr": 3e-3}}, "data": {"workers": 1}}
    whole, killed = configure("whole", changes), {**configure("killed", changes), "checkpoint_every": 3}
    assert start(whole).wait(timeout=300) == 0
    kills = 0
    for wanted in (5, 14, 27):
        process = start(killed)
        while process.poll() is None and steps_in(killed) < wanted:
            time.sleep(0.01)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
    err = (process := start(killed)).communicate(timeout=300)[1]
    assert process.returncode == 0 and kills, err
    one, other = state_of(whole), state_of(killed)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    lines = [(Path(config["folder"]) / "log.jsonl").read_text() for config in (whole, killed)]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(configure: Configure) -> None:
    """The signal goes to the whole process group, as a terminal sends it: to the workers, too."""
    changes = {"learning": {"epochs": 40, "batch_size": 3, "optimizer": {"lr": 3e-3}}, "data": {"workers": 1}}
    config = {**configure("run", changes), "checkpoint_every": 1000}
    path = Path(config["folder"]).with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gazetools", "finetune", "--config", str(path), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while process.poll() is None and steps_in(config) < 12:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "the same command goes on" in err
    assert json.loads(out)["status"] == "interrupted" and json.loads(out)["steps_done"] >= 12
