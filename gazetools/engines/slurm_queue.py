"""What Slurm's queue says of jobs: squeue is the truth, with or without accounting."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gazetools.schemas.errors import UsageError

_ASK_SECONDS = 10.0
"""Shortest time between two questions, so that the controller is not kept busy."""
_SURE_SECONDS = 30.0
"""A job counts as lost, or as never to start, after it looked so for so long: a requeued job passes through states that
look like an end, and a result needs some seconds to appear on a shared file system."""
_QUIET_SECONDS = 60.0
"""Longest wait for an answer of squeue."""

_ENDS = {
    "BOOT_FAIL": "its node did not boot",
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended without a result",
    "DEADLINE": "reached its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "needed more memory than --slurm memory=...",
    "PREEMPTED": "was preempted and not queued again",
    "REVOKED": "was revoked",
    "TIMEOUT": "reached its time limit",
}
"""States in which Slurm does nothing more for a job (man squeue, JOB STATE CODES) -> what happened to it."""
_NEVER = {
    "AccountNotAllowed": "account",
    "BadConstraints": "memory, cpus or gpus",
    "InvalidAccount": "account",
    "InvalidQOS": "account",
    "PartitionNodeLimit": "partition",
    "PartitionTimeLimit": "minutes",
    "QOSNotAllowed": "account",
}
"""Reasons for which a waiting job never starts (man squeue, JOB REASON CODES) -> the keys of --slurm behind them."""
_USUAL = {"None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency"}
"""Reasons for which jobs wait that need no word."""


@dataclass(frozen=True)
class QueuedJob:
    """What squeue says of one job."""

    state: str
    reason: str = "None"


def squeue() -> dict[str, QueuedJob] | None:
    """All jobs of this user by id (`17`, or `17_3` of an array), finished ones for some minutes; None: no answer.

    Not asked for single ids: squeue ends with the same code 1 for an unknown job and for a controller that is down.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_QUIET_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.strip().split("|", 2) for line in done.stdout.splitlines())
    return {row[0]: QueuedJob(*row[1:]) for row in rows if len(row) == 3}


def scancel(job_ids: Iterable[str]) -> None:
    """Cancel the jobs, whole arrays of them; one that has ended already is no error."""
    arrays = sorted({job_id.split("_")[0] for job_id in job_ids})
    subprocess.run(["scancel", *arrays], capture_output=True, check=False, timeout=_QUIET_SECONDS)


@dataclass
class QueueWatch:
    """Finds the jobs of which nothing more will come."""

    say: Callable[[str], None]
    ask: Callable[[], Mapping[str, QueuedJob] | None] = squeue
    _next_question: float = field(default=0.0, init=False)
    _last_seen: dict[str, QueuedJob] = field(default_factory=dict, init=False)
    _since: dict[tuple[str, str], float] = field(default_factory=dict, init=False)
    """(job id, "gone" or "stuck") -> since when it looks so."""
    _said: set[str] = field(default_factory=set, init=False)
    _answers: bool = field(default=True, init=False)

    def lost(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Those of `job_ids`, which have no result yet, that have ended -> how (`was cancelled`).

        While Slurm does not answer, no job is lost. Raises UsageError where a job can't ever start; it is cancelled.
        """
        now = time.monotonic()
        if now < self._next_question:
            return {}
        queue = self.ask()
        self._next_question = time.monotonic() + _ASK_SECONDS
        self._tell_silence(queue is not None)
        if queue is None:
            return {}
        ids = list(job_ids)
        found: dict[str, str] = {}
        for job_id in ids:
            job = queue.get(job_id)
            if job is not None:
                self._last_seen[job_id] = job
            if self._is_sure(job_id, "gone", job is None or job.state in _ENDS, now):
                found[job_id] = self._how(job_id, in_queue=job is not None)
            waits = job is not None and job.state == "PENDING"
            if job is not None and waits and self._is_sure(job_id, "stuck", job.reason in _NEVER, now):
                scancel(ids)
                raise _never(job_id, job.reason)
            if job is not None and waits:
                self._tell_reason(job_id, job.reason)
        return found

    def _is_sure(self, job_id: str, what: str, holds: bool, now: float) -> bool:
        if not holds:
            self._since.pop((job_id, what), None)
            return False
        return now - self._since.setdefault((job_id, what), now) >= _SURE_SECONDS

    def _how(self, job_id: str, *, in_queue: bool) -> str:
        last = self._last_seen.get(job_id)
        if last is None or not (in_queue or last.state in _ENDS):
            return "is gone from the queue without a result (cancelled, or ended with its node)"
        why = "" if last.reason in ("None", "") else f" ({last.reason})"
        return _ENDS[last.state] + why

    def _tell_silence(self, answers: bool) -> None:
        if answers != self._answers:
            self.say("Slurm answers again" if answers else "Slurm does not answer (squeue); the wait goes on")
        self._answers = answers

    def _tell_reason(self, job_id: str, reason: str) -> None:
        if reason in _USUAL or reason in self._said:
            return
        self._said.add(reason)
        array = job_id.partition("_")[0]
        held = f"; `scontrol release {array}` lets them start" if "held" in reason.lower() else ""
        self.say(f"job {job_id} waits: {reason[:300]}{held}")


def _never(job_id: str, reason: str) -> UsageError:
    return UsageError(
        f"Slurm took the jobs but will never start them: job {job_id} waits with the reason {reason}.",
        hint=f"They were cancelled. Change --slurm {_NEVER[reason]}; `scontrol show partition` shows the limits.",
    )
