"""The engine `slurm`: the shards of an extraction as a job array, through submitit."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.engines.paths import absolute_inputs, absolute_options
from gazetools.engines.slurm_queue import QueueWatch
from gazetools.engines.slurm_submit import LOG_FOLDER, import_lines, settled, submit
from gazetools.extraction.command import extract_words
from gazetools.extraction.disk import check_space_for_run
from gazetools.extraction.disk_estimate import PlannedRun
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.report import read_report
from gazetools.extraction.run import decode_settings, extract, plan
from gazetools.io.atomic import check_writable_folder
from gazetools.progress import Progress
from gazetools.schemas.errors import ERRORS_BY_CODE, ExitCode, FaultError, GazetoolsError, UsageError
from gazetools.schemas.extract import ExtractOptions, ExtractReport
from gazetools.schemas.slurm import SlurmOptions
from gazetools.schemas.store import REPORT_NAME
from gazetools.store.listing import seems_complete

_POLL_SECONDS = 2.0
_NAMED = 5
"""Longest list of jobs or videos in a message."""
_BEFORE = (ExitCode.USAGE, ExitCode.ENVIRONMENT, ExitCode.FAULT)
"""Exit codes of several failed jobs, the one to take first."""


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

    Ending this process (Ctrl-C, SIGTERM) leaves the jobs in the queue; the same command or a plain `extract` later goes
    on from what they finished. All nodes share `output`; `executor` is submitit's, None: Slurm's.

    Raises UsageError as `extract`, for `--shard` and for what sbatch refuses, EnvironmentLacksError where submitit or
    Slurm is missing, FaultError where the store has no room for the run or a job was lost or failed; the message names
    the job, its log and what is not done.
    """
    if options.shard is not None:
        raise UsageError("--engine slurm makes the shards itself.", hint="Leave out --shard.")
    settings = settled(options, settings)
    items, head_files = plan(inputs, options)  # a typo fails before the jobs wait in the queue
    check_writable_folder(output, option="-o")
    usable = [item for item in items if item.problem is None]
    if options.check_space:  # each shard checks its own part only
        decoding = decode_settings(options)
        planned = PlannedRun(items=usable, store=output, options=options, head_files=head_files, decoding=decoding)
        check_space_for_run(planned, progress)
    jobs = shard_jobs(inputs, output, options, settings.jobs)
    if executor is None:
        submitted, watch = submit(jobs, output, settings, progress), QueueWatch(progress.say)
    else:
        with executor.batch():
            submitted, watch = [executor.submit(job) for job in jobs], None
    first = submitted[0]
    progress.say(f"submitted {len(submitted)} jobs, first {first.job_id}; logs in {Path(first.paths.stderr).parent}")
    array = _Array(submitted, watch, progress)
    try:
        array.wait()
    except KeyboardInterrupt:
        name = str(first.job_id).split("_")[0]
        stay = f"The jobs {name} stay in the queue (`squeue -j {name}`; `scancel {name}` ends them)."
        raise KeyboardInterrupt(
            f"{stay} Once they have ended, the same command goes on from what they finished."
        ) from None
    array.raise_if_failed(output, usable)
    return read_report(output / REPORT_NAME)


@dataclass
class _Array:
    """The submitted jobs of one run."""

    jobs: Sequence[Any]
    watch: QueueWatch | None
    """Slurm's queue; None: submitit knows when a job of another executor has ended."""
    progress: Progress
    _lost: dict[str, str] = field(default_factory=dict, init=False)
    """Job id -> how a job without a result ended."""

    def wait(self) -> None:
        """Return when every job has a result or is lost; the others go on when one is lost."""
        self.progress.start("jobs", len(self.jobs), unit="jobs")
        waiting = list(self.jobs)
        while waiting:
            ended = [job for job in waiting if self._has_result(job)]
            if self.watch is not None:
                lost = self.watch.lost(job.job_id for job in waiting if job not in ended)
                for job_id, how in lost.items():
                    self.progress.say(f"job {job_id} {how}; the others go on")
                self._lost |= lost
                ended += [job for job in waiting if job.job_id in lost]
            waiting = [job for job in waiting if job not in ended]
            self.progress.advance("jobs", len(ended))
            if waiting and not ended:
                time.sleep(_POLL_SECONDS)
        self.progress.finish("jobs")

    def _has_result(self, job: Any) -> bool:
        if self.watch is None:
            return bool(job.done())
        path = Path(job.paths.result_pickle)
        with suppress(OSError):
            next(path.parent.iterdir(), None)  # a network file system looks again
        return path.exists()

    def raise_if_failed(self, output: Path, items: Sequence[VideoItem]) -> None:
        """Raise the error of the first job that has one, with all that failed and what is not done."""
        failed: dict[str, tuple[type[GazetoolsError], str]] = {}
        for job in self.jobs:
            if job.job_id in self._lost:
                failed[job.job_id] = FaultError, self._lost[job.job_id]
                continue
            try:
                job.result()
            except Exception as error:  # the pickled error of the job, or submitit's own for a lost job
                failed[job.job_id] = _reason(str(error) or type(error).__name__)
        if not failed:
            return
        place = {job.job_id: number for number, job in enumerate(self.jobs, 1)}
        named = [f"job {job} (shard {place[job]}/{len(self.jobs)}) {why}" for job, (_, why) in failed.items()]
        undone = [item.video_id for item in items if seems_complete(output, item.video_id) is None]
        more = ", ..." if len(undone) > _NAMED else ""
        missing = f"{len(undone)} of {len(items)} videos are not done: {', '.join(undone[:_NAMED])}{more}."
        log = next(Path(job.paths.stderr) for job in self.jobs if job.job_id in failed)
        kind = min((kind for kind, _ in failed.values()), key=lambda kind: _BEFORE.index(kind.exit_code))
        raise kind(
            f"{len(failed)} of {len(self.jobs)} jobs have no result: {'; '.join(named[:_NAMED])}"
            f"{'; ...' if len(named) > _NAMED else ''}. {missing if undone else 'All videos are done.'}",
            hint=f"A log, if the job began, is {log}. The same command goes on from what is finished.",
            jobs={job: why for job, (_, why) in failed.items()},
            not_done=undone,
        )


def _reason(text: str) -> tuple[type[GazetoolsError], str]:
    """Kind and words of the error of a job, from the text that submitit made of its traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rulers = [number for number, line in enumerate(lines) if set(line) == {"-"}]
    if len(rulers) >= 2 and "failed during processing" in lines[0]:  # its traceback is between two rulers
        lines = lines[: rulers[-1]]
    raised = re.fullmatch(r"gazetools\.schemas\.errors\.(\w+): (.*)", lines[-1])
    kind = next((kind for kind in ERRORS_BY_CODE.values() if raised and kind.__name__ == raised[1]), FaultError)
    return kind, f"failed: {(raised[2] if raised else lines[-1])[:300]}"


def script(inputs: Sequence[str], output: Path, options: ExtractOptions, settings: SlurmOptions) -> str:
    """The job array as a script for `sbatch`, for clusters without submitit; each task runs `extract --shard I/N`.

    It runs from any folder and needs none: its tasks make the store and the folder of their logs.
    """
    settings = settled(options, settings)
    jobs = shard_jobs(inputs, output, options, settings.jobs)
    logs = shlex.quote(str(output.absolute() / LOG_FOLDER))
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
        "#SBATCH --output=/dev/null",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@90",
        "",
        "# Slurm starts no job whose --output is in a folder that is not there, so the task opens its log itself.",
        f"logs={logs}",
        'mkdir -p "$logs" && chmod 700 "$logs" || exit 73  # 73: the store can not be written on this node',
        'exec >> "$logs/${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}.log" 2>&1 < /dev/null || exit 73',
        *import_lines(),
        *settings.setup,
        "",
        "# 90 s before the time limit: go back to the queue; what is finished is kept.",
        "again() {",
        '  kill "$pid"',
        f'  if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {settings.requeues} ]; then',
        f'    echo "not queued again: restarted {settings.requeues} times (--slurm requeues)"; wait "$pid"; exit 1',
        "  fi",
        '  echo "the time limit is near: queued again"',
        '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; exit 0',
        "}",
        "trap again USR1",
        f'{_command(jobs[0])} --shard "$SLURM_ARRAY_TASK_ID/{settings.jobs}" &',
        "pid=$!",
        'wait "$pid"',
    ]
    return "\n".join(lines) + "\n"


def _command(job: ShardJob) -> str:
    """The `gazetools extract` command of a job, without its shard."""
    words = extract_words(job.inputs, job.output, ExtractOptions(**job.options))
    return shlex.join([sys.executable, "-m", "gazetools", *words])
