"""Start the processes of a run with torchrun, and report their outcome as one exit code."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.errors import EnvironmentLacksError, ExitCode, FaultError, UsageError
from gazetools.schemas.launch import LaunchOptions
from gazetools.trainer.processes.interruption import STOP_SIGNALS, WARNING_SIGNALS

_EXIT_FILE = "GAZETOOLS_EXIT_FILE"
_READY_FILE = "GAZETOOLS_READY_FILE"


def is_worker() -> bool:
    """Whether torchrun (ours or another's) or Slurm with torchrun's variables has started this process."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def devices_for(gpus: str) -> tuple[int, str]:
    """(processes, device) for `--gpus`: 0, a number or `all`."""
    if gpus != "all" and not gpus.isdigit():
        raise UsageError(f"--gpus {gpus}: a number or `all` is wanted.", hint="Use --gpus 0, --gpus 1 or --gpus all.")
    if gpus == "0":
        return 1, "cpu"
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    count = found if gpus == "all" else int(gpus)
    if count > found or count == 0:
        raise EnvironmentLacksError(
            f"--gpus {gpus}: torch {torch.__version__} sees {found} CUDA device(s).",
            hint="Use --gpus 0, or install a CUDA build of torch.",
        )
    return count, "cuda"


def torchrun_command(arguments: Sequence[str], *, processes: int, machines: LaunchOptions) -> list[str]:
    """The command `python -m torch.distributed.run ... -m gazetools ARGUMENTS`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    if machines.nodes == 1 and machines.rdzv_endpoint is None:
        command.append("--standalone")  # a free port on this machine
    else:
        command += ["--nnodes", str(machines.nodes), "--rdzv-backend", "c10d"]
        command += ["--rdzv-endpoint", machines.rdzv_endpoint or "", "--rdzv-id", machines.rdzv_id or "gazetools"]
        if machines.node_rank is not None:
            command += ["--node-rank", str(machines.node_rank)]
    return [*command, "-m", "gazetools", *arguments]


def launch(arguments: Sequence[str], *, processes: int, machines: LaunchOptions, stdout: TextIO | None = None) -> int:
    """Run `gazetools ARGUMENTS` in `processes` processes; the exit code is that of its first worker.

    What they print goes to the open file `stdout`; None: to this process's file 1.

    torchrun ends with 1 whatever a worker ended with (also after a saved interruption), so that the first worker
    writes its code to a file. SIGINT and SIGTERM are sent on to torchrun, which gives its workers 30 s. SIGUSR1 would
    kill torchrun: it goes to a worker that is ready to save, and all end as soon as they have saved.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, ready = Path(folder) / "code", Path(folder) / "ready"
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        environment |= {_EXIT_FILE: str(file), _READY_FILE: str(ready)}
        sent_on: list[int] = []
        child = subprocess.Popen(
            torchrun_command(arguments, processes=processes, machines=machines),
            env=environment,
            stdout=stdout,
            start_new_session=True,  # a terminal's Ctrl-C must not reach the workers twice
        )

        def send_on(number: int, frame: FrameType | None) -> None:
            sent_on.append(number)
            if number in STOP_SIGNALS:
                child.send_signal(number)
            elif ready.is_file():
                with suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(int(ready.read_text()), number)
            else:
                child.send_signal(signal.SIGTERM)  # nothing to save yet

        previous = {number: signal.signal(number, send_on) for number in (*STOP_SIGNALS, *WARNING_SIGNALS)}
        try:
            code = child.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if sent_on:
            return int(file.read_text()) if file.is_file() else int(ExitCode.INTERRUPTED)
        if code != 0:
            _refuse_lost(file, processes=processes, arguments=arguments)
        if file.is_file():
            return int(file.read_text())
    return code if code in {int(known) for known in ExitCode} and code != 1 else int(ExitCode.FAULT)


def _refuse_lost(file: Path, *, processes: int, arguments: Sequence[str]) -> None:
    """Raise FaultError where a worker of this machine has left no exit code: it was killed."""
    ended = {int(path.suffix[1:]) for path in file.parent.glob(f"{file.name}.*")}
    lost = [number for number in range(processes) if number not in ended]
    if ended and lost:
        names = ", ".join(map(str, lost))
        raise FaultError(
            f"Process {names} of {processes} was lost: it was killed from outside, for example because memory ran out; "
            "the others have ended.",
            hint=f"The same command goes on from the last checkpoint: {shlex.join(['gazetools', *arguments])} "
            f"--processes {processes}",
        )


def accept_warnings() -> None:
    """In the first worker of a machine: tell the launcher that it takes SIGUSR1; one worker's flag stops all."""
    name = os.environ.get(_READY_FILE)
    if name and os.environ.get("LOCAL_RANK", "0") == "0":
        write_bytes_atomic(Path(name), str(os.getpid()).encode())


def leave_exit_code(code: int) -> None:
    """Leave the exit code for the launcher: the first worker's is that of the run, the others' say that they ended."""
    name = os.environ.get(_EXIT_FILE)
    if not name:
        return
    Path(f"{name}.{os.environ.get('LOCAL_RANK', '0')}").write_text(str(code))
    if int(os.environ.get("RANK", "0")) == 0:
        Path(name).write_text(str(code))
