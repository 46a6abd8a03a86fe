"""A real Slurm of one node in a temporary folder: no systemd, no root, no accounting, no GPU, no cgroups."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_WAIT_SECONDS = 60.0
_CPUS = 4
"""Of the node as Slurm counts them, also on a machine with fewer."""

# A requeued job may start again once its credential has expired, after 120 s by default.
_CONFIG = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=8
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=50
MinJobAge={job_age_seconds}
KillWait=2
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES PriorityTier=1 MaxTime=60 State=UP
PartitionName=urgent Nodes={node} PriorityTier=9 MaxTime=60 State=UP
"""


def missing_programs() -> list[str]:
    """Names of the programs of Debian's slurm-wlm and munge that are not here."""
    names = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
    return [name for name in names if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True, kw_only=True)
class SlurmCluster:
    """A running cluster; `environment` is for the commands that use it."""

    folder: Path
    node: str
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """Stdout of one of Slurm's commands."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Job id -> state of all that squeue lists, finished ones too."""
        words = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").split()
        return dict(zip(words[::2], words[1::2], strict=True))

    def unfinished(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        return sorted(self.run("squeue", "-h", "-r", "-o", "%i").split())

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = _WAIT_SECONDS, what: str) -> None:
        """Return when `condition` holds; AssertionError with what the queue says where it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            queue = self.run("squeue", "-r", "-t", "all", "-o", "%i %T %r")
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{queue}"
            time.sleep(0.25)

    def wait_for(self, state: str, *, seconds: float = _WAIT_SECONDS) -> str:
        """The id of the first job that is in `state`, once there is one."""
        self.wait_until(lambda: state in self.jobs().values(), seconds=seconds, what=f"a job is {state}")
        return sorted(job for job, found in self.jobs().items() if found == state)[0]

    def drain(self) -> None:
        """Let no further job start."""
        self.run("scontrol", "update", f"nodename={self.node}", "state=drain", "reason=test")

    def resume(self) -> None:
        """Let jobs start again."""
        with contextlib.suppress(AssertionError):  # it was not drained
            self.run("scontrol", "update", f"nodename={self.node}", "state=resume")

    def clear(self) -> None:
        """Cancel whatever is queued or runs, and wait until the node is idle."""
        self.resume()
        self.run("scancel", f"--user={self.environment['SLURM_TEST_USER']}")
        self.wait_until(lambda: not self.unfinished(), what="the queue is empty")


@contextmanager
def running_slurm(folder: Path, *, job_age_seconds: int = 300) -> Iterator[SlurmCluster]:
    """A cluster for the length of the block; its processes end with it, by the ids in their own files.

    `folder` needs a short path: munge's socket is in it. `job_age_seconds`: how long a finished job can be asked for.
    """
    folder.mkdir(parents=True, mode=0o700)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    node, user = platform.node().split(".")[0], getpass.getuser()
    memory = next(int(n) for n in re.findall(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())) // 1024
    config = _CONFIG.format(
        node=node, user=user, folder=folder, ports=_free_ports(2), cpus=_CPUS, memory_mb=int(memory * 0.9),
        job_age_seconds=job_age_seconds,
    )  # fmt: skip
    (folder / "slurm.conf").write_text(config)
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o400)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
    environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "SLURM_TEST_USER": user}
    cluster = SlurmCluster(folder=folder, node=node, environment=environment)
    try:
        _start(cluster)
        yield cluster
    finally:
        with contextlib.suppress(AssertionError, OSError):
            cluster.clear()
        for name in ("slurmd", "slurmctld", "munged"):
            _end(folder / f"{name}.pid")


def _start(cluster: SlurmCluster) -> None:
    folder = cluster.folder
    munge = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    munge["seed-file"] = "munge.seed"
    commands = [["munged", "--force", *(f"--{option}={folder / name}" for option, name in munge.items())]]
    commands += [["slurmctld"], ["slurmd"]]
    for name, *arguments in commands:
        program = _program(name)
        assert program is not None
        with (folder / "start.log").open("a") as log:
            done = subprocess.run([program, *arguments], env=cluster.environment, stdout=log, stderr=log, check=False)
        assert done.returncode == 0, (folder / "start.log").read_text()

    def node_is_idle() -> bool:
        asked = ["sinfo", "-h", "-p", "main", "-o", "%T"]
        done = subprocess.run(asked, env=cluster.environment, capture_output=True, text=True, check=False)
        return done.stdout.strip() == "idle"

    deadline = time.monotonic() + _WAIT_SECONDS
    while not node_is_idle():
        assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()[-3000:]
        time.sleep(0.25)


def _end(pid_file: Path) -> None:
    """End the daemon whose id is in the file."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
