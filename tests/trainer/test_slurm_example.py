"""`examples/slurm_train.sh` with stand-ins for srun and scontrol: it saves, and queues again only after the warning."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm_train.sh"
STAND_INS = {
    # srun runs the task once and hands signals on to it, as Slurm's does
    "srun": "shift; \"$@\" & task=$!; trap 'kill -USR1 $task' USR1; code=0; wait $task || code=$?;"
    " while kill -0 $task 2>/dev/null; do code=0; wait $task || code=$?; done; exit $code",
    "scontrol": 'if [ "$1" = show ]; then echo node7; else echo "$@" >> "$CALLS"; fi',
    "gazetools": 'echo "$@" >> "$CALLS"; trap \'echo saved >> "$CALLS"; exit 130\' USR1; touch "$CALLS.ready";'
    ' for _ in $(seq 400); do sleep 0.05; done; exit "${CODE:-0}"',
}


@pytest.mark.parametrize(
    ("number", "queued"),
    [(signal.SIGUSR1, ["requeue 42"]), (signal.SIGTERM, [])],
    ids=["warned", "cancelled or preempted, which Slurm itself queues again"],
)
def test_it_saves_and_is_queued_again_after_the_warning(tmp_path: Path, number: int, queued: list[str]) -> None:
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_NNODES": "2", "SLURM_NODEID": "0", "SLURM_JOB_ID": "42",
    }  # fmt: skip
    job = subprocess.Popen(["bash", str(SCRIPT), "c.yaml", "seed=1"], env={**os.environ, **variables})
    deadline = time.monotonic() + 30
    while not calls.with_suffix(".ready").exists():
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    job.send_signal(number)
    assert job.wait(30) == 130
    assert calls.read_text().splitlines() == [
        "train --config c.yaml seed=1 --gpus all --nodes 2 --node-rank 0 --rdzv-id 42 --rdzv-endpoint node7:29500",
        "saved",
        *queued,
    ]


def test_the_warning_comes_minutes_before_the_limit_to_the_batch_shell() -> None:
    assert "#SBATCH --signal=B:USR1@300" in SCRIPT.read_text().splitlines()
