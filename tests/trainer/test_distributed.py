"""Several gloo processes on the CPU: the numbers of one process, clean stops, refusals."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.schemas.errors import UsageError
from gazetools.schemas.launch import LaunchOptions
from gazetools.trainer import train
from gazetools.trainer.folder.predictions import read_predictions
from gazetools.trainer.learn.feed import training_steps, validation_batches
from gazetools.trainer.processes.launch import torchrun_command
from gazetools.trainer.processes.world import World, add_trees
from tests.helpers.command_line import run_cli
from tests.helpers.runs import Listener, assert_same, final_state, lines
from tests.trainer.conftest import Study

# float32 gradients added in another order
RELATIVE = 1e-5


def work(rank: int, size: int, port: int, config: dict[str, Any], overrides: list[str], stop_after: int | None) -> None:
    """One process of a run."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    listener = Listener(signal_after_steps=stop_after if rank == 0 else None)
    result = train(config, overrides=overrides, progress=listener)
    os._exit(int(result.exit_code))


def run_together(
    config: dict[str, Any],
    overrides: list[str],
    *,
    size: int = 2,
    stop_after: int | None = None,
    target: Callable[..., None] = work,
) -> list[int | None]:
    """Exit codes of `size` processes."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gazetools.trainer.run", "tests.trainer.test_distributed"])
    children = [
        context.Process(target=target, args=(rank, size, port, config, overrides, stop_after)) for rank in range(size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(180)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    return codes


def test_two_processes_give_the_numbers_of_one_with_the_doubled_batch(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["arms"] = ["estimated", "none"]
    common = ["experiment.evaluation.held_out=0.3", "experiment.optimization.clip_grad_norm=1"]
    alone = train(tiny, overrides=[*common, "experiment.optimization.batch_size=2"])
    together = {**study.config(tmp_path / "two"), "arms": ["estimated", "none"]}
    assert run_together(together, [*common, "experiment.optimization.batch_size=1"]) == [0, 0]
    written = json.loads((tmp_path / "two" / "result.json").read_text())
    assert written["processes"] == 2 and written["steps_done"] == alone.steps_done
    for epoch in range(2):
        name = f"steps/epoch_{epoch:04d}.jsonl"
        pairs = zip(lines(tmp_path / "run" / name), lines(tmp_path / "two" / name), strict=True)
        for mine, other in pairs:
            assert other["loss"] == pytest.approx(mine["loss"], rel=RELATIVE)
    for name, splits in alone.final.items():
        for split, values in splits.items():
            found = written["final"][name][split]
            assert found["clips"] == values["clips"], "every clip once"
            assert found == pytest.approx(values, rel=1e-4)
            mine, other = (
                read_predictions(tmp_path / run / "predictions" / name / f"{split}.npz").arrays
                for run in ("run", "two")
            )
            assert mine["clip"].tolist() == other["clip"].tolist()
            assert torch.allclose(torch.tensor(mine["score_action"]), torch.tensor(other["score_action"]), atol=1e-4)


def test_two_processes_stopped_and_resumed_give_identical_weights(study: Study, tmp_path: Path) -> None:
    override = ["experiment.optimization.batch_size=1", "model_kwargs.pretrain_kwargs.predictor.heatmap_dropout=0.5"]
    configs = [study.config(tmp_path / name) for name in ("whole", "stopped")]
    assert run_together(configs[0], override) == [0, 0]
    assert run_together(configs[1], override, stop_after=2) == [130, 130]
    with pytest.raises(UsageError, match=r"written by 2 process\(es\), this run has 1"):
        train(configs[1], overrides=override)
    assert run_together(configs[1], override) == [0, 0]
    whole, resumed = (final_state(tmp_path / name) for name in ("whole", "stopped"))
    for part in ("predictors", "learners", "position", "counts", "processes"):
        assert_same(whole[part], resumed[part], part)


def test_steps_and_batches_of_several_ranks_are_those_of_one() -> None:
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).numpy()
    whole = training_steps(order, batch_size=6, accumulation=1, world=World())
    parts = [training_steps(order, batch_size=1, accumulation=2, world=World(rank=r, size=3)) for r in range(3)]
    for number, step in enumerate(whole):
        ranks = [part[number] for part in parts]
        assert all(len(micro_batches) == 2 for micro_batches in ranks), "every rank takes as many batches"
        assert [clip for rank in ranks for batch in rank for clip in batch] == step[0]
    assert training_steps(order, batch_size=6, accumulation=1, world=World(), skip_steps=2) == whole[2:]
    chosen = [validation_batches(order, batch_size=4, world=World(rank=r, size=4)) for r in range(4)]
    together = [batch for part in chosen for batch in part]
    assert sorted(clip for batch in together for clip in batch) == list(range(23))
    assert sorted(together) == sorted(validation_batches(order, batch_size=4, world=World()))


def test_trees_add_up() -> None:
    trees = [{"a": 1, "b": {"x": torch.tensor([1, 2])}}, {"a": 2.5, "b": {"x": torch.tensor([3, 4])}, "c": 7}]
    total = add_trees(trees)
    assert (total["a"], total["b"]["x"].tolist(), total["c"]) == (3.5, [4, 6], 7)


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        ({}, ["--standalone"]),
        (
            {"nodes": 2, "node_rank": 1, "rdzv_endpoint": "first:29500", "rdzv_id": "x"},
            ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "first:29500", "--rdzv-id", "x",
             "--node-rank", "1"],
        ),
    ],
)  # fmt: skip
def test_the_command_that_is_launched(machines: dict[str, Any], expected: list[str]) -> None:
    options = LaunchOptions(config=Path("c.yaml"), **machines)
    command = torchrun_command(["train", "--config", "c.yaml"], processes=4, machines=options)
    head = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4"]
    assert command == [*head, *expected, "-m", "gazetools", "train", "--config", "c.yaml"]


@pytest.mark.slow
def test_processes_from_the_command_line(tiny: dict[str, Any], tmp_path: Path, capfd: Any) -> None:
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    done = run_cli("train", "--config", str(path), "--processes", "2", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert document["status"] == "done" and document["processes"] == 2
    again = run_cli("train", "--config", str(path), "--processes", "2", "experiment.optimization.batch_size=7")
    assert again.exit_code == 2, "the first worker's exit code, not torchrun's"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_the_launcher_saves_and_ends_with_130(tiny: dict[str, Any], tmp_path: Path, number: int) -> None:
    """As Slurm warns or preempts the task of a machine, which is the launcher."""
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    command = [sys.executable, "-m", "gazetools", "train", "--config", str(path), "--processes", "2"]
    command += ["experiment.optimization.num_epochs=50", "experiment.optimization.batch_size=1"]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(command, stderr=log, stdout=log)
        deadline = time.monotonic() + 240
        while "step 2 loss" not in (tmp_path / "log").read_text():
            assert child.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        child.send_signal(number)
        assert child.wait(120) == 130, (tmp_path / "log").read_text()
    steps = final_state(tmp_path / "run")["position"]["global_step"]
    assert 0 < steps < 150
