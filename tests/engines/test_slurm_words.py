"""What Slurm says, without Slurm: lost jobs by squeue's answers, refusals of sbatch, GPUs to ask for, errors."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from gazetools.engines import slurm_queue
from gazetools.engines.slurm import _Array, _reason, script
from gazetools.engines.slurm_queue import QueuedJob, QueueWatch, squeue
from gazetools.engines.slurm_submit import _refused, check_log_path, import_lines, settled
from gazetools.extraction.inputs import VideoItem
from gazetools.schemas.errors import EnvironmentLacksError, FaultError, GazetoolsError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.slurm import SlurmOptions
from tests.helpers.runs import Listener

RUNS, WAITS = QueuedJob("RUNNING"), QueuedJob("PENDING", "Priority")


def _watch(
    answers: list[Mapping[str, QueuedJob] | None], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], Listener]:
    """How job 7_1 was lost at each of the answers, which are 20 s apart."""
    listener, clock = Listener(), [1000.0]
    monkeypatch.setattr(slurm_queue.time, "monotonic", lambda: clock[0])
    waiting = iter(answers)
    watch = QueueWatch(listener.say, ask=lambda: next(waiting))
    found = []
    for _ in answers:
        found.append(watch.lost(["7_1"]).get("7_1", ""))
        clock[0] += 20
    return found, listener


LOST = [
    ([{"7_1": QueuedJob("CANCELLED")}] * 3, ["", "", "was cancelled"], "cancelled, and still listed"),
    ([{"7_1": RUNS}, {}, {}, {}], ["", "", "", "is gone"], "it vanished; its last state says nothing"),
    ([{"7_1": QueuedJob("TIMEOUT", "TimeLimit")}, {}, {}], ["", "", "reached its time limit (TimeLimit)"], "last seen"),
    ([{"7_1": QueuedJob("NODE_FAIL")}, {"7_1": WAITS}, {"7_1": RUNS}, {}], [""] * 4, "queued again in between"),
    ([{"7_1": QueuedJob("PREEMPTED")}, {"7_1": WAITS}, {"7_1": RUNS}], [""] * 3, "preempted and queued again"),
    ([{}, None, None, None, {"7_1": RUNS}], [""] * 5, "a controller that is down loses nothing"),
    ([{}, None, {}], ["", "", "is gone"], "gone before and after it was down"),
    ([{"7_2": QueuedJob("CANCELLED"), "7_1": RUNS}] * 4, [""] * 4, "another task of the array"),
    ([{"7_1": QueuedJob("SUSPENDED")}] * 4, [""] * 4, "a state that comes back"),
    ([{"7_1": QueuedJob("COMPLETED")}] * 3, ["", "", "ended without a result"], "ended well for Slurm"),
    ([{"7_1": QueuedJob("OUT_OF_MEMORY")}] * 3, ["", "", "needed more memory"], "memory"),
]


@pytest.mark.parametrize(("answers", "lost", "_why"), LOST, ids=[why for *_, why in LOST])
def test_a_job_is_lost_when_squeue_says_so_for_a_while(
    answers: list[Mapping[str, QueuedJob] | None], lost: list[str], _why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = _watch(answers, monkeypatch)
    assert [bool(how) for how in found] == [bool(how) for how in lost]
    assert all(want in how for want, how in zip(lost, found, strict=True))


def test_what_the_wait_is_for_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drained = QueuedJob("PENDING", "Nodes required for job are DOWN, DRAINED or reserved")
    held = QueuedJob("PENDING", "JobHeldUser")
    found, listener = _watch(
        [{"7_1": WAITS}, None, None, {"7_1": drained}, {"7_1": drained}, {"7_1": held}], monkeypatch
    )
    assert not any(found)
    assert [text.split(":")[0].split(" (")[0] for text in listener.said] == [
        "Slurm does not answer", "Slurm answers again", "job 7_1 waits", "job 7_1 waits",
    ]  # fmt: skip
    assert "scontrol release 7" in listener.said[-1]


@pytest.mark.parametrize("reason", ["PartitionTimeLimit", "InvalidAccount", "QOSNotAllowed"])
def test_a_job_that_can_never_start_is_wrong_usage(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[list[str]] = []
    monkeypatch.setattr(slurm_queue, "scancel", lambda ids: cancelled.append(list(ids)))
    with pytest.raises(UsageError, match=rf"never start them: job 7_1 .*{reason}.*Change --slurm"):
        _watch([{"7_1": QueuedJob("PENDING", reason)}] * 3, monkeypatch)
    assert cancelled == [["7_1"]]
    found, _ = _watch([{"7_1": QueuedJob("PENDING", reason)}, {"7_1": RUNS}], monkeypatch)
    assert not any(found), "for a moment only"


def _program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "squeue").write_text(f"#!/bin/bash\n{text}\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_squeue_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "echo '7_1|RUNNING|None'; echo '8|PENDING|(a, b|c)'; echo; echo odd", monkeypatch)
    assert squeue() == {"7_1": RUNS, "8": QueuedJob("PENDING", "(a, b|c)")}
    _program(tmp_path, "exit 0", monkeypatch)
    assert squeue() == {}
    _program(tmp_path, "echo '7_1|RUNNING|None'; echo 'slurm_load_jobs error' >&2; exit 1", monkeypatch)
    assert squeue() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert squeue() is None


_FAILED = "sbatch: error: Batch job submission failed: "
REFUSALS = [
    (
        "sbatch: error: invalid partition specified: a\n" + _FAILED + "Invalid partition name specified",
        2,
        "partition (this run asked for partition=a)",
    ),
    (
        "sbatch: error: Invalid generic resource (gres) specification",
        2,
        "gpus (this run asked for gpus=1)",
    ),
    (
        "sbatch: error: Memory specification can not be satisfied\n"
        + _FAILED
        + "Requested node configuration is not available",
        2,
        "memory (this run asked for memory=32G)",
    ),
    (
        _FAILED + "Requested node configuration is not available",
        2,
        "cpus, memory or gpus",
    ),
    (
        _FAILED + "Invalid account or account/partition combination specified",
        2,
        "account or partition (this run asked for partition=a)",
    ),
    (
        _FAILED + "Requested time limit is invalid (missing or exceeds some limit)",
        2,
        "minutes (this run asked for minutes=60)",
    ),
    (
        "sbatch: error: CPU count per node can not be satisfied",
        2,
        "cpus (this run asked for cpus=8)",
    ),
    (
        _FAILED + "Invalid job array specification",
        2,
        "jobs (this run asked for jobs=8)",
    ),
    (
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        + _FAILED
        + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        2,
        "jobs, parallel, minutes or account",
    ),
    (
        "sbatch: error: a rule of this site's plugin: ask for a project",
        2,
        "Change --slurm; no job was submitted",
    ),
    (
        _FAILED + "Unable to contact slurm controller (connect failure)",
        3,
        "sinfo",
    ),
    (
        _FAILED + "Socket timed out on send/recv operation",
        3,
        "sinfo",
    ),
    (
        "sbatch: error: Munge encode failed: Failed to access the socket",
        3,
        "sinfo",
    ),
    (
        "sbatch: error: ClusterName needs to be specified\nsbatch: fatal: Unable to process configuration file",
        3,
        "sinfo",
    ),
    (
        "sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: Could not establish a configuration source",
        3,
        "sinfo",
    ),
    (
        "",
        3,
        "sinfo",
    ),
]


@pytest.mark.parametrize(("text", "code", "hint"), REFUSALS, ids=[f"{c} {h[:20]} {len(t)}" for t, c, h in REFUSALS])
def test_a_refusal_is_told_in_the_words_of_sbatch(text: str, code: int, hint: str) -> None:
    error = _refused(text, SlurmOptions(partition="a", gpus=1))
    assert int(error.exit_code) == code
    assert " ".join(text.split()) in error.message
    assert hint in (error.hint or "")
    assert len(_refused("sbatch: error: " + "x" * 9000, SlurmOptions()).message) < 700


GPUS = [
    ("cpu", None, 0), ("cpu,cpu", None, 0), ("auto", None, 1), ("cuda", None, 1), ("cuda:0,cuda:1", None, 2),
    ("cuda:1", None, 2), ("cuda,cuda", None, 1), ("auto", 0, 0), ("auto", 3, 3), ("cpu", 1, 1), ("cuda:0", 4, 4),
]  # fmt: skip


@pytest.mark.parametrize(("device", "given", "asked"), GPUS)
def test_gpus_are_asked_for_as_the_device_needs(device: str, given: int | None, asked: int, tmp_path: Path) -> None:
    options, slurm = ExtractOptions(device=device), SlurmOptions(gpus=given)
    assert settled(options, slurm).gpus == asked
    text = script(["v"], tmp_path, options, slurm)
    assert (f"#SBATCH --gres=gpu:{asked}\n" in text) is bool(asked)
    assert ("gres" in text) is bool(asked)


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0), ("cuda:0,cuda:1", 1), ("cuda:3", 2)])
def test_a_device_without_its_gpu_is_wrong_usage(device: str, gpus: int) -> None:
    with pytest.raises(UsageError, match=rf"--device {device} needs \d GPU.* --slurm gpus={gpus}"):
        settled(ExtractOptions(device=device), SlurmOptions(gpus=gpus))


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("plain", True),
        ('it\'s a "store"', True),
        ("100%", True),
        ("é", True),
        ("50%j", False),
        ("a\\b", False),
        ("%A_%a", False),
    ],
)
def test_a_path_that_slurm_would_read_as_a_pattern_is_refused(name: str, fits: bool, tmp_path: Path) -> None:
    if fits:
        check_log_path(tmp_path / name)
    else:
        with pytest.raises(UsageError, match=r"meanings of their own.*--dry-run"):
            check_log_path(tmp_path / name)


ERRORS: list[tuple[str, type[GazetoolsError], str]] = [
    ("Job (task=0) failed during processing with trace:\n-----\nTraceback (most recent call last):\n  File\n"
     "gazetools.schemas.errors.EnvironmentLacksError: No weights. Get them.\n\n-----\nYou can check full logs with "
     "'job.stderr(0)'or at paths:\n  - /s/17_0_log.err\n  - /s/17_0_log.out",
     EnvironmentLacksError, "No weights. Get them."),
    ("Job (task=0) failed during processing with trace:\n-----\nTraceback\nMemoryError\n\n-----\nYou can\n  - /x",
     FaultError, "failed: MemoryError"),
    ("Job 17_0 (task: 0) with path /x\nhas not produced any output (state: FAILED)", FaultError, "state: FAILED"),
    ("OneLine", FaultError, "failed: OneLine"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "words"), ERRORS, ids=[words for *_, words in ERRORS])
def test_the_error_of_a_job_is_found_in_its_text(text: str, kind: type[GazetoolsError], words: str) -> None:
    assert _reason(text)[0] is kind
    assert words in _reason(text)[1]


class _Job:
    """A submitted job as far as the engine looks at it."""

    def __init__(self, job_id: str, error: str | None) -> None:
        self.job_id = job_id
        self.paths = type("paths", (), {"stderr": f"{job_id}.err"})
        self.error = error

    def result(self) -> None:
        if self.error:
            raise RuntimeError(self.error)


def test_everything_that_failed_is_in_one_error(tmp_path: Path) -> None:
    lacks = "gazetools.schemas.errors.EnvironmentLacksError: No weights."
    jobs = [_Job("5_0", None), _Job("5_1", "boom"), _Job("5_2", lacks), *(_Job(f"5_{n}", "x") for n in range(3, 9))]
    items = [VideoItem(video_id=f"v{n}", path=tmp_path / f"v{n}.mp4") for n in range(7)]
    with pytest.raises(EnvironmentLacksError) as raised:  # 3 before 4
        _Array(jobs, None, Listener()).raise_if_failed(tmp_path, items)
    message = raised.value.message
    assert (
        "8 of 9 jobs have no result: job 5_1 (shard 2/9) failed: boom; job 5_2 (shard 3/9) failed: No weights."
        in message
    )
    assert "; .... 7 of 7 videos are not done: v0, v1, v2, v3, v4, ..." in message
    assert len(raised.value.details["jobs"]) == 8
    assert len(raised.value.details["not_done"]) == 7
    assert "5_1.err" in str(raised.value)
    _Array(jobs[:1], None, Listener()).raise_if_failed(tmp_path, items)


def test_a_job_finds_this_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a checkout that is not installed, the jobs get its folder; from site-packages, nothing."""
    import gazetools

    root = Path(gazetools.__file__).resolve().parents[1]
    monkeypatch.setattr("gazetools.engines.slurm_submit.site.getsitepackages", lambda: [str(tmp_path)])
    shown = subprocess.run(
        ["bash", "-c", f"{import_lines()[0]}; echo $PYTHONPATH"],
        env={"PYTHONPATH": "/before"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.strip() == f"{root}:/before"
    monkeypatch.setattr("gazetools.engines.slurm_submit.site.getsitepackages", lambda: [str(root)])
    assert import_lines() == []
