"""The Slurm engine: its script, its options, and the same jobs on submitit's local executor."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gazetools.engines.slurm import ShardJob, run, script, shard_jobs
from gazetools.extraction.run import extract
from gazetools.progress import NoProgress
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.slurm import SlurmOptions
from tests.helpers.clips import write_clips
from tests.helpers.command_line import run_cli
from tests.helpers.disks import pretend_free
from tests.helpers.equal_stores import assert_stores_equal


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"), {"long": 600, "short": 20})


def test_the_script_is_a_shard_per_array_task(tmp_path: Path) -> None:
    slurm = SlurmOptions(jobs=12, parallel=4, minutes=90, partition="gpu", setup=["module load cuda"])
    options = ExtractOptions(heads="file:boxes dir", stride=2, allow_damaged=True)
    text = script(["some videos"], tmp_path, options, slurm)
    lines = text.splitlines()
    for line in (
        "#SBATCH --array=1-12%4", "#SBATCH --time=90", "#SBATCH --partition=gpu", "#SBATCH --gres=gpu:1",
        "#SBATCH --requeue", "#SBATCH --signal=B:USR1@90", "module load cuda",
    ):  # fmt: skip
        assert line in lines
    command = next(line for line in lines if " extract " in line)
    assert '--shard "$SLURM_ARRAY_TASK_ID/12"' in command
    assert f"'{Path.cwd() / 'some videos'}'" in command  # absolute: a job starts in another folder
    assert f"--heads 'file:{Path.cwd() / 'boxes dir'}' --stride 2 --allow-damaged" in command
    assert "--engine" not in command
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_the_dry_run_prints_the_script(clip: Path, tmp_path: Path) -> None:
    arguments = ["extract", str(clip), "-o", str(tmp_path / "s"), "--engine", "slurm", "--slurm", "jobs=3", "--dry-run"]
    assert "--array=1-3\n" in run_cli(*arguments).stdout
    assert "--array=1-3\n" in json.loads(run_cli(*arguments, "--json").stdout)["sbatch"]
    assert not (tmp_path / "s").exists()


def test_a_run_without_room_is_not_submitted(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shards would each see that they have room for their own part."""
    pretend_free(monkeypatch, free_bytes=100_000)
    arguments = ["extract", str(videos), "-o", str(tmp_path / "s"), "--engine", "slurm", "--model", "centre-prior"]
    refused = run_cli(*arguments, "--json")
    assert refused.exit_code == 4
    assert "needs" in json.loads(refused.stdout)["error"]["message"]
    assert not (tmp_path / "s" / ".slurm").exists()
    script = run_cli(*arguments, "--no-check-space", "--dry-run").stdout
    assert " --no-check-space --shard " in script


WRONG = [
    (["--engine", "slurm", "--slurm", "job=3"], "did you mean 'jobs'"),
    (["--engine", "slurm", "--slurm", "jobs"], "has no '='"),
    (["--engine", "slurm", "--slurm", "memory=lots"], "such as 32G"),
    (["--slurm", "jobs=3"], "needs --engine slurm"),
    (["--engine", "slurm", "--shard", "1/2"], "makes the shards itself"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_options_are_2(clip: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_run_without_submitit_or_slurm_is_3(clip: Path, tmp_path: Path) -> None:
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--engine", "slurm")
    assert done.exit_code == 3
    assert "--dry-run" in done.stderr


@pytest.mark.slow
def test_jobs_on_the_local_executor_give_the_store_of_one_run(videos: Path, tiny_model: Path, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra [slurm] is not installed: pip install -e '.[slurm]'")
    options = ExtractOptions(model=str(tiny_model), device="cpu")
    executor = submitit.LocalExecutor(folder=tmp_path / "jobs")
    report = run([str(videos)], tmp_path / "s", options, SlurmOptions(jobs=2), NoProgress(), executor=executor)
    assert {item.video_id: item.status for item in report.items} == {"long": "done", "short": "done"}
    extract(videos, tmp_path / "single", options=options)
    for name in ("long", "short"):
        assert_stores_equal(tmp_path / "s" / f"{name}.h5", tmp_path / "single" / f"{name}.h5")


def test_a_requeued_job_is_the_same_job(videos: Path, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra [slurm] is not installed: pip install -e '.[slurm]'")
    job = shard_jobs([str(videos)], tmp_path, ExtractOptions(), 4)[2]
    again = job.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function == job
    assert job.options["shard"] == "3/4"


class _LostJob:
    """A job that Slurm killed, as far as its submitter sees it."""

    job_id = "17_0"

    class paths:  # submitit's name
        stderr = "17_0_log.err"

    def done(self) -> bool:
        return True

    def result(self) -> None:
        raise RuntimeError("Job 17_0 has no result\nState: OUT_OF_MEMORY")


class _LosingExecutor:
    def update_parameters(self, **parameters: object) -> None:
        raise AssertionError("not used")

    def batch(self):  # type: ignore[no-untyped-def]
        import contextlib

        return contextlib.nullcontext()

    def submit(self, job: ShardJob) -> _LostJob:
        return _LostJob()


def test_a_lost_job_is_a_fault_that_names_its_log(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(FaultError, match=r"OUT_OF_MEMORY.*17_0_log\.err"):
        run([str(clip)], tmp_path, ExtractOptions(), SlurmOptions(jobs=1), NoProgress(), executor=_LosingExecutor())
    with pytest.raises(UsageError, match="makes the shards itself"):
        run([str(clip)], tmp_path, ExtractOptions(shard="1/2"), SlurmOptions(), NoProgress())
