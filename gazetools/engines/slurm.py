"""The engine `slurm`: the shards of an extraction as a job array, through submitit."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.engines.paths import absolute_inputs, absolute_options
from gazetools.engines.registry import import_for
from gazetools.extraction.disk import check_space_for_run
from gazetools.extraction.disk_estimate import PlannedRun
from gazetools.extraction.report import read_report
from gazetools.extraction.run import decode_settings, extract, plan
from gazetools.io.atomic import check_writable_folder
from gazetools.progress import Progress
from gazetools.schemas.errors import EnvironmentLacksError, FaultError, UsageError
from gazetools.schemas.extract import ExtractOptions, ExtractReport
from gazetools.schemas.slurm import SlurmOptions
from gazetools.schemas.store import REPORT_NAME

_LOG_FOLDER = ".slurm"
"""Folder of the store for submitit's pickles and the logs of the jobs, readable by its owner only."""
_POLL_SECONDS = 5.0


@dataclass(frozen=True)
class ShardJob:
    """One array task: `extract --shard I/N` on its node. An object, so that submitit can pickle it."""

    inputs: tuple[str, ...]
    output: str
    options: dict[str, Any]

    def __call__(self) -> None:
        """Extract the shard; its report is in the store."""
        extract(self.inputs, self.output, options=ExtractOptions(**self.options))

    def checkpoint(self) -> Any:
        """The same job again, at a time-out or a preemption; finished pieces and videos are in the store."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def shard_jobs(inputs: Sequence[str], output: Path, options: ExtractOptions, jobs: int) -> list[ShardJob]:
    """One job per shard, with absolute paths; `extract --shard` balances the shards itself."""
    absolute = tuple(absolute_inputs(inputs))
    settings = {**absolute_options(options).model_dump(), "engine": "local"}
    return [
        ShardJob(absolute, str(output.absolute()), {**settings, "shard": f"{index + 1}/{jobs}"})
        for index in range(jobs)
    ]


def run(
    inputs: Sequence[str],
    output: Path,
    options: ExtractOptions,
    settings: SlurmOptions,
    progress: Progress,
    *,
    executor: Any = None,
) -> ExtractReport:
    """Submit the job array, wait for it and return the merged report of all shards.

    Ending this process (Ctrl-C) leaves the jobs in the queue; the same command or a plain `extract` later goes on from
    what they finished. All nodes share `output`; `executor` is submitit's, None: Slurm's.

    Raises UsageError as `extract` and for `--shard`, EnvironmentLacksError where submitit or Slurm is missing,
    FaultError where the store has no room for the run or a job failed; the message names its log.
    """
    if options.shard is not None:
        raise UsageError("--engine slurm makes the shards itself.", hint="Leave out --shard.")
    items, head_files = plan(inputs, options)  # a typo fails before the jobs wait in the queue
    check_writable_folder(output, option="-o")
    if options.check_space:  # each shard checks its own part only
        usable, decoding = [item for item in items if item.problem is None], decode_settings(options)
        planned = PlannedRun(items=usable, store=output, options=options, head_files=head_files, decoding=decoding)
        check_space_for_run(planned, progress)
    if executor is None:
        executor = _slurm_executor(output, settings)
    jobs = shard_jobs(inputs, output, options, settings.jobs)
    with executor.batch():
        submitted = [executor.submit(job) for job in jobs]
    progress.say(f"submitted {len(submitted)} jobs, first {submitted[0].job_id}; logs in {output / _LOG_FOLDER}")
    progress.start("jobs", len(submitted), unit="jobs")
    waiting = list(submitted)
    while waiting:
        ended = [job for job in waiting if job.done()]
        waiting = [job for job in waiting if job not in ended]
        progress.advance("jobs", len(ended))
        if not ended:
            time.sleep(_POLL_SECONDS)
    progress.finish("jobs")
    for job in submitted:  # a job without a report has failed; failed videos are in the reports instead
        try:
            job.result()
        except Exception as error:  # the pickled error of the job, or submitit's own for a lost job
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise FaultError(
                f"Job {job.job_id} failed: {last[0]}",
                hint=f"Its log is {job.paths.stderr}. Run the same command again: finished videos are kept.",
            ) from error
    return read_report(output / REPORT_NAME)


def script(inputs: Sequence[str], output: Path, options: ExtractOptions, settings: SlurmOptions) -> str:
    """The job array as a script for `sbatch`, for clusters without submitit; each task runs `extract --shard I/N`."""
    jobs = shard_jobs(inputs, output, options, settings.jobs)
    logs = shlex.quote(str(output.absolute() / _LOG_FOLDER / "%A_%a.log"))
    throttle = f"%{settings.parallel}" if settings.parallel else ""
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=gazetools-extract",
        f"#SBATCH --array=1-{settings.jobs}{throttle}",
        f"#SBATCH --time={settings.minutes}",
        f"#SBATCH --cpus-per-task={settings.cpus}",
        f"#SBATCH --mem={settings.memory}",
        *([f"#SBATCH --gres=gpu:{settings.gpus}"] if settings.gpus else []),
        *([f"#SBATCH --partition={settings.partition}"] if settings.partition else []),
        *([f"#SBATCH --account={settings.account}"] if settings.account else []),
        f"#SBATCH --output={logs}",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@90",
        "",
        "# 90 s before the time limit: go back to the queue; what is finished is kept.",
        'trap \'scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; kill "$pid"; exit 0\' USR1',
        *settings.setup,
        f'{_command(jobs[0])} --shard "$SLURM_ARRAY_TASK_ID/{settings.jobs}" &',
        "pid=$!",
        'wait "$pid"',
    ]
    return "\n".join(lines) + "\n"


def _command(job: ShardJob) -> str:
    """The `gazetools extract` command of a job, without its shard."""
    defaults = ExtractOptions().model_dump()
    words = [sys.executable, "-m", "gazetools", "extract", *job.inputs, "-o", job.output]
    for name, value in job.options.items():
        if value == defaults[name] or name in {"shard", "engine"}:
            continue
        words.append(("--no-" if value is False else "--") + name.replace("_", "-"))
        if not isinstance(value, bool):
            words.append(str(value))
    return shlex.join(words)


def _slurm_executor(output: Path, slurm: SlurmOptions) -> Any:
    submitit = import_for("slurm", "submitit", otherwise="print a script with --dry-run")
    folder = output.absolute() / _LOG_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # it holds pickles, which run code when they are read
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
        "slurm_setup": slurm.setup,
    }
    given = {name: value for name, value in parameters.items() if value}  # 0, None and an empty list: not asked for
    executor.update_parameters(name="gazetools-extract", slurm_signal_delay_s=90, **given)
    return executor
