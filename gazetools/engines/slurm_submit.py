"""The submission of a job array through submitit, and what sbatch's refusals mean."""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import site
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from gazetools.engines.registry import import_for
from gazetools.engines.slurm_queue import squeue
from gazetools.progress import Progress
from gazetools.schemas.errors import EnvironmentLacksError, GazetoolsError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.slurm import SlurmOptions

LOG_FOLDER = ".slurm"
"""Folder of the store for submitit's pickles and the logs of the jobs, readable by its owner only."""

_REFUSALS = (
    (r"invalid partition", "partition"),
    (r"generic resource|\bgres\b|gpu", "gpus"),
    (r"memory specification", "memory"),
    (r"invalid account|account/partition|user.s group not permitted", "account or partition"),
    (r"submit limit|qos|policy", "jobs, parallel, minutes or account"),
    (r"time.?limit|--time|requested time", "minutes"),
    (r"cpu count|--cpus-per-task|more processors", "cpus"),
    (r"job array|array specification|--array", "jobs"),
    (r"node configuration", "cpus, memory or gpus"),
)
"""Words of sbatch -> keys of --slurm behind them; the first that fits. Seen on Slurm 22.05, or in its slurm_errno.c."""
_NOT_THE_USER = re.compile(
    r"unable to contact|socket timed out|temporarily unable|communication|connection|munge|authentication|slurmctld|"
    r"configuration source|configuration file|ClusterName|system is currently|zero bytes",
    re.IGNORECASE,
)
"""Words of sbatch about a cluster that does not work."""


def settled(options: ExtractOptions, slurm: SlurmOptions) -> SlurmOptions:
    """`slurm` with the number of GPUs that `--device` needs; UsageError where the two contradict each other."""
    named = [int(device.partition(":")[2] or 0) + 1 for device in options.devices if device.startswith("cuda")]
    needed = max(named) if named else int("auto" in options.devices)
    if slurm.gpus is None:
        return slurm.model_copy(update={"gpus": needed})
    if named and slurm.gpus < needed:
        raise UsageError(
            f"--device {options.device} needs {needed} GPU(s) and --slurm gpus={slurm.gpus} asks for {slurm.gpus}.",
            hint="Leave gpus out, or use --device cpu.",
        )
    return slurm


def check_log_path(store: Path) -> None:
    """UsageError where Slurm could not write logs below `store`: it reads %x as a pattern and drops a backslash."""
    if re.search(r"%\w|\\|\n", str(store.absolute())):
        raise UsageError(
            f"Slurm can't write logs below {store.absolute()}: in its paths % and \\ have meanings of their own.",
            hint="Choose a store without these characters, or hand the script of --dry-run to sbatch.",
        )


def import_lines() -> list[str]:
    """Shell lines with which a job imports this gazetools wherever it starts; none where it is installed."""
    root = Path(__file__).resolve().parents[2]
    installed = [Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())]
    if root in installed:
        return []
    return [f"export PYTHONPATH={shlex.quote(str(root))}${{PYTHONPATH:+:$PYTHONPATH}}"]


def submit(jobs: Sequence[Any], store: Path, slurm: SlurmOptions, progress: Progress) -> list[Any]:
    """The submitted jobs, of one array; their pickles and logs are in a new folder, never among those of older jobs.

    Raises EnvironmentLacksError where submitit or Slurm is missing or does not answer, UsageError with sbatch's own
    text where it refuses what the settings ask for.
    """
    check_log_path(store)
    _tell_of_earlier_jobs(store / LOG_FOLDER, progress)
    executor = _executor(store, slurm)
    try:
        with redirect_stdout(sys.stderr), executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except Exception as error:  # submitit raises kinds of its own, with the text of sbatch
        raise _refused(str(error), slurm) from error
    return submitted


def _executor(store: Path, slurm: SlurmOptions) -> Any:
    with redirect_stdout(sys.stderr):
        submitit = import_for("slurm", "submitit", otherwise="print a script with --dry-run")
    _keep_off_stdout(logging.getLogger("submitit"))
    # Of its own: after a new start of Slurm's numbers, an old result would pass for that of a new job of the same id.
    folder = store.absolute() / LOG_FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    for private in (folder.parent, folder):
        private.chmod(0o700)  # they hold pickles, which run code when they are read
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=slurm.requeues)
    except Exception as error:  # submitit raises RuntimeError and others where sbatch is missing
        raise EnvironmentLacksError(
            f"Slurm can't be used from here: {error}.",
            hint="Run this on a login node, or print a script with --engine slurm --dry-run.",
        ) from error
    parameters = {
        "timeout_min": slurm.minutes,
        "cpus_per_task": slurm.cpus,
        "slurm_mem": slurm.memory,
        "gpus_per_node": slurm.gpus,
        "slurm_array_parallelism": slurm.parallel,
        "slurm_partition": slurm.partition,
        "slurm_account": slurm.account,
        "slurm_setup": [*import_lines(), *slurm.setup],
    }
    given = {name: value for name, value in parameters.items() if value}  # 0, None and an empty list: not asked for
    executor.update_parameters(
        name="gazetools-extract", slurm_signal_delay_s=90, slurm_additional_parameters={"requeue": True}, **given
    )
    return executor


def _keep_off_stdout(logger: logging.Logger) -> None:
    """Stdout is for the result; submitit's logger has a handler for it and another one for stderr."""
    for handler in list(logger.handlers):
        if getattr(handler, "stream", None) in (sys.stdout, sys.__stdout__):
            logger.removeHandler(handler)


def _refused(text: str, slurm: SlurmOptions) -> GazetoolsError:
    """The error to raise for sbatch's words."""
    text = " ".join(line.strip() for line in text.splitlines())[:600]
    if not text or _NOT_THE_USER.search(text):
        return EnvironmentLacksError(
            f"Slurm did not take the jobs: {text or 'sbatch said nothing'}",
            hint="`sinfo` shows whether the cluster works; or print a script with --engine slurm --dry-run.",
        )
    keys = next((keys for pattern, keys in _REFUSALS if re.search(pattern, text, re.IGNORECASE)), None)
    if keys is None:
        return UsageError(f"sbatch refused the jobs: {text}", hint="Change --slurm; no job was submitted.")
    names = [name for name in SlurmOptions.model_fields if re.search(rf"\b{name}\b", keys)]
    asked = ", ".join(f"{name}={value}" for name in names if (value := getattr(slurm, name)) is not None)
    return UsageError(
        f"sbatch refused the jobs: {text}",
        hint=f"Change --slurm {keys} (this run asked for {asked or 'the default'}); no job was submitted.",
    )


def _tell_of_earlier_jobs(folder: Path, progress: Progress) -> None:
    """Say which jobs of earlier submissions for this store are still in the queue: they do the same work."""
    earlier = {path.name.split("_")[0] for path in folder.glob("*/*_submission.sh")}
    if not earlier:
        return
    here = {job_id.split("_")[0] for job_id, job in (squeue() or {}).items() if job.state in ("PENDING", "RUNNING")}
    if queued := sorted(earlier & here):
        progress.say(
            f"jobs {', '.join(queued)} of an earlier command for this store are still in the queue and share its work; "
            f"`scancel {' '.join(queued)}` ends them"
        )
