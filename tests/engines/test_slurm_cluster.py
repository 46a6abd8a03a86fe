"""The Slurm engine on a real Slurm of one node: jobs that end well, are lost, preempted, refused; printed scripts."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.slurm_cluster import SlurmCluster, missing_programs, running_slurm
from tests.helpers.clips import write_clips
from tests.helpers.equal_stores import assert_stores_equal, extract_alone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing_programs()), reason="Slurm is not installed: apt-get install slurm-wlm munge (one node is enough)"
    ),
]
FRAMES = {"long": 700, "a/short": 20, "b/short": 30}
SMALL = ["--slurm", "cpus=1", "--slurm", "memory=1G"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed: pip install -e '.[slurm]'")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with running_slurm(folder / "c", job_age_seconds=20) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _idle(cluster: SlurmCluster) -> Iterator[None]:
    yield
    cluster.clear()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"), FRAMES)


@pytest.fixture(scope="module")
def single(videos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract_alone(videos, tmp_path_factory.mktemp("single"), model=tiny_model)


class _Command:
    """`gazetools extract --engine slurm --json` in a process of its own."""

    def __init__(self, cluster: SlurmCluster, *words: Any, folder: Path, more: tuple[str, ...] = ("--json",)) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "gazetools", "extract", *map(str, words), "--device", "cpu", *more]
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [*command, "--engine", "slurm", *SMALL], stdout=out, stderr=err, env=cluster.environment, cwd=folder
            )

    def ended(self, *, seconds: float = 240) -> tuple[int, dict[str, Any], str]:
        """(exit code, document, stderr); TimeoutExpired where it waits longer."""
        try:
            code = self.process.wait(timeout=seconds)
        finally:
            self.process.kill()
            self.process.wait()
        text, said = (self.folder / "out").read_text(), (self.folder / "err").read_text()
        assert text.startswith("{"), (text, said)
        assert text.count("\n") == 1, "one document and nothing else"
        return code, json.loads(text), said


def _assert_whole(store: Path, single: Path, statuses: frozenset[str] = frozenset({"done"})) -> None:
    for name in FRAMES:
        assert_stores_equal(store / f"{name}.h5", single / f"{name}.h5")
    report = json.loads((store / "extract_report.json").read_text())
    assert {item["video_id"] for item in report["items"]} == set(FRAMES)
    assert {item["status"] for item in report["items"]} <= statuses


def test_jobs_give_the_store_of_one_run(
    cluster: SlurmCluster, videos: Path, single: Path, tiny_model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "it's a store"
    asked = ["--slurm", "jobs=2", "--slurm", "setup=echo made ready"]
    code, document, said = _Command(
        cluster, videos, "-o", store, "--model", tiny_model, *asked, folder=tmp_path
    ).ended()
    assert code == 0, said
    assert {item["video_id"]: item["status"] for item in document["items"]} == dict.fromkeys(FRAMES, "done")
    _assert_whole(store, single)
    assert oct((store / ".slurm").stat().st_mode)[-3:] == "700"
    # again with all done, from another submission folder: old results of the same job ids do not count as new ones
    first = next((store / ".slurm").iterdir())
    code, _, said = _Command(cluster, videos, "-o", store, "--model", tiny_model, *asked, folder=tmp_path).ended()
    assert code == 0, said
    assert len(list((store / ".slurm").iterdir())) == 2
    assert first.is_dir()


def _begin_two_long_jobs(cluster: SlurmCluster, videos: Path, model: Path, folder: Path) -> tuple[_Command, str]:
    """A command whose two jobs wait for the file `go` in `folder`, and the id of their array; both jobs run."""
    asked = ["--slurm", "jobs=2", "--slurm", f"setup=until [ -e {folder / 'go'} ]; do sleep 0.2; done"]
    command = _Command(cluster, videos, "-o", folder / "s", "--model", model, *asked, folder=folder)
    cluster.wait_until(lambda: list(cluster.jobs().values()).count("RUNNING") == 2, what="two jobs run")
    return command, min(job for job, state in cluster.jobs().items() if state == "RUNNING").split("_")[0]


def test_one_cancelled_task_is_named_and_the_other_goes_on(
    cluster: SlurmCluster, videos: Path, single: Path, tiny_model: Path, tmp_path: Path
) -> None:
    command, array = _begin_two_long_jobs(cluster, videos, tiny_model, tmp_path)
    cluster.run("scancel", f"{array}_1")
    (tmp_path / "go").touch()
    code, document, said = command.ended()
    assert code == 4, said
    error = document["error"]
    assert f"1 of 2 jobs have no result: job {array}_1 (shard 2/2) was cancelled" in error["message"]
    assert list(error["details"]["jobs"]) == [f"{array}_1"]
    assert error["details"]["not_done"], "the share of the lost job"
    assert all(name in error["message"] for name in error["details"]["not_done"])
    done = set(FRAMES) - set(error["details"]["not_done"])
    assert done == {name for name in FRAMES if (tmp_path / "s" / f"{name}.json").exists()}
    code, _, said = _Command(
        cluster, videos, "-o", tmp_path / "s", "--model", tiny_model, "--slurm", "jobs=2", folder=tmp_path
    ).ended()
    assert code == 0, said
    for name in FRAMES:
        assert_stores_equal(tmp_path / "s" / f"{name}.h5", single / f"{name}.h5")


@pytest.mark.parametrize("way", ["cancelled in the queue", "node fails", "killed on the node"])
def test_lost_jobs_are_noticed_without_accounting(
    cluster: SlurmCluster, videos: Path, tmp_path: Path, way: str
) -> None:
    if way == "cancelled in the queue":
        cluster.drain()
    setup = "setup=sleep 4; kill -9 $$" if way == "killed on the node" else "setup=sleep 30"
    asked = ["--slurm", "jobs=1", "--slurm", setup]
    command = _Command(cluster, videos, "-o", tmp_path / "s", "--model", "centre-prior", *asked, folder=tmp_path)
    cluster.wait_until(lambda: bool(cluster.unfinished()), what="the job is in the queue")
    job = cluster.unfinished()[-1]
    began = time.monotonic()
    if way == "cancelled in the queue":
        time.sleep(1)
        cluster.run("scancel", job)
    elif way == "node fails":
        cluster.wait_for("RUNNING")
        cluster.run("scontrol", "update", f"jobid={job}", "requeue=0")
        cluster.run("scontrol", "update", f"nodename={cluster.node}", "state=down", "reason=test")
    code, document, said = command.ended()
    assert time.monotonic() - began < 120
    assert code == 4, said
    assert f"job {job} (shard 1/1)" in document["error"]["message"]
    assert "3 of 3 videos are not done" in document["error"]["message"]
    assert "same command goes on" in document["error"]["hint"]
    if way == "cancelled in the queue":
        assert "waits: " in said, "why the job does not start"


def test_a_preempted_job_goes_on_afterwards(
    cluster: SlurmCluster, videos: Path, single: Path, tiny_model: Path, tmp_path: Path
) -> None:
    asked = ["--slurm", "jobs=1", "--slurm", "setup=sleep 6", "--slurm", "partition=main"]
    command = _Command(cluster, videos, "-o", tmp_path / "s", "--model", tiny_model, *asked, folder=tmp_path)
    job = cluster.wait_for("RUNNING")
    cluster.run("sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5")
    cluster.wait_until(lambda: cluster.jobs().get(job) != "RUNNING", what="the job was preempted")
    code, _, said = command.ended()
    assert code == 0, said
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", job)
    _assert_whole(tmp_path / "s", single)


def test_a_task_that_reaches_its_time_limit_is_queued_again(
    cluster: SlurmCluster, tiny_model: Path, tmp_path: Path
) -> None:
    """As Slurm does it 90 s before the limit: the signal of the engine, here amid a video."""
    videos, store = write_clips(tmp_path / "v", {"long": 4000}), tmp_path / "s"
    command = _Command(cluster, videos, "-o", store, "--model", tiny_model, "--slurm", "jobs=1", folder=tmp_path)
    job = cluster.wait_for("RUNNING")
    cluster.wait_until(lambda: len(list(store.glob(".work/*/piece_*.npz"))) >= 2, what="two pieces are made")
    cluster.run("scancel", "--signal=USR2", job)
    code, document, said = command.ended()
    assert code == 0, said
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", job)
    assert document["items"][0]["frames"] == 4000
    assert document["items"][0]["resumed_frames"] >= 512, "it went on from its pieces"


REFUSED = [
    (["partition=nowhere"], "invalid partition specified: nowhere", "partition (this run asked for partition=nowhere)"),
    (["gpus=1"], "generic resource (gres)", "gpus (this run asked for gpus=1)"),
    (["memory=9000G"], "Memory specification can not be satisfied", "memory (this run asked for memory=9000G)"),
    (["jobs=400"], "Invalid job array specification", "jobs (this run asked for jobs=400)"),
    (["minutes=100000"], "PartitionTimeLimit", "minutes"),
]


@pytest.mark.parametrize(("asked", "words", "keys"), REFUSED, ids=[asked[0] for asked, *_ in REFUSED])
def test_what_slurm_refuses_is_wrong_usage(
    cluster: SlurmCluster, videos: Path, tmp_path: Path, asked: list[str], words: str, keys: str
) -> None:
    pairs = [word for pair in [*([] if "jobs" in asked[0] else ["jobs=1"]), *asked] for word in ("--slurm", pair)]
    command = [sys.executable, "-m", "gazetools", "extract", str(videos), "-o", str(tmp_path / "s"), "--json"]
    command += ["--model", "centre-prior", "--device", "cpu", "--engine", "slurm", "--slurm", "cpus=1"]
    if "memory" not in asked[0]:
        command += ["--slurm", "memory=1G"]
    done = subprocess.run(
        [*command, *pairs], env=cluster.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    error = json.loads(done.stdout)["error"]
    assert words in error["message"]
    assert keys in error["hint"]
    assert not cluster.unfinished(), "nothing stays in the queue"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_jobs_stay_when_their_command_is_ended(
    cluster: SlurmCluster, videos: Path, single: Path, tiny_model: Path, tmp_path: Path, number: int
) -> None:
    command, array = _begin_two_long_jobs(cluster, videos, tiny_model, tmp_path)
    cluster.wait_until(lambda: "submitted 2 jobs" in (tmp_path / "err").read_text(), what="the command waits")
    command.process.send_signal(number)
    code, document, said = command.ended(seconds=60)
    (tmp_path / "go").touch()
    assert code == 130, said
    assert f"The jobs {array} stay in the queue" in document["error"]["message"]
    assert "Traceback" not in said
    # the same command sees them, and shares the work with them
    code, _, said = _Command(
        cluster, videos, "-o", tmp_path / "s", "--model", tiny_model, "--slurm", "jobs=2", folder=tmp_path
    ).ended()
    assert code == 0, said
    assert f"jobs {array} of an earlier command" in said
    for name in FRAMES:
        assert_stores_equal(tmp_path / "s" / f"{name}.h5", single / f"{name}.h5")


PRINTED = [
    ("s", "plain"),
    ('it\'s "new" & far/s', "quotes and a folder that is not there"),
    ("100% %j \\ é/s", "signs"),
]


@pytest.mark.parametrize(("name", "_why"), PRINTED, ids=[why for _, why in PRINTED])
def test_the_printed_script_runs_as_printed(
    cluster: SlurmCluster, videos: Path, single: Path, tiny_model: Path, tmp_path: Path, name: str, _why: str
) -> None:
    """From another folder, in a shell that does not know this python."""
    odd = tmp_path / 'my videos\' "copy"'
    shutil.copytree(videos, odd)
    store = tmp_path / name
    command = [sys.executable, "-m", "gazetools", "extract", str(odd), "-o", str(store), "--model", str(tiny_model)]
    command += ["--device", "cpu", "--engine", "slurm", *SMALL, "--slurm", "jobs=2", "--dry-run"]
    script = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=True).stdout
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "printed.sbatch").write_text(script)
    bare = {key: value for key, value in cluster.environment.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    bare["PATH"] = "/usr/bin:/bin"
    subprocess.run(["sbatch", "printed.sbatch"], env=bare, cwd=tmp_path / "elsewhere", check=True)
    cluster.wait_until(lambda: not cluster.unfinished(), seconds=120, what="the tasks have ended")
    _assert_whole(store, single)
    assert len(list((store / ".slurm").glob("*.log"))) == 2
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["printed.sbatch"]


def test_the_printed_script_goes_back_to_the_queue_before_its_limit(
    cluster: SlurmCluster, videos: Path, tiny_model: Path, single: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "gazetools", "extract", str(videos), "-o", str(tmp_path / "s")]
    command += ["--model", str(tiny_model), "--device", "cpu", "--engine", "slurm", *SMALL, "--slurm", "jobs=1"]
    script = subprocess.run(
        [*command, "--dry-run"], env=cluster.environment, capture_output=True, text=True, check=True
    ).stdout
    began, held = tmp_path / "began", "kill -STOP $pid; touch began; sleep 3; kill -CONT $pid"
    assert "pid=$!" in script
    # The extraction is halted until the signal has come; after the requeue it is held for the same time.
    (tmp_path / "job").write_text(script.replace("pid=$!", f"pid=$!; {held.replace('began', str(began))}"))
    array = cluster.run("sbatch", "--parsable", str(tmp_path / "job")).strip()
    cluster.wait_until(began.exists, what="the job has begun")
    cluster.run("scancel", "--signal=USR1", "--batch", f"{array}_1")
    cluster.wait_until(lambda: not cluster.unfinished(), seconds=120, what="the task has ended")
    assert "the time limit is near: queued again" in (tmp_path / "s" / ".slurm" / f"{array}_1.log").read_text()
    _assert_whole(tmp_path / "s", single, frozenset({"done", "complete"}))  # it may have ended a video before


def test_arrays_with_holes_are_refused_in_their_jobs(cluster: SlurmCluster, videos: Path, tmp_path: Path) -> None:
    """Slurm's own environment, as a hand-written script sees it."""
    command = f"{sys.executable} -m gazetools extract {videos} -o {tmp_path / 's'} --model centre-prior --device cpu"
    for spec, count in (("1,3,7-9", 0), ("2-6:2", 3)):
        array = cluster.run(
            "sbatch", "--parsable", f"--array={spec}", "--mem=1G", "-o", f"{tmp_path}/%A_%a.txt", "--wrap", command
        ).strip()
        cluster.wait_until(lambda: not cluster.unfinished(), seconds=120, what=f"the array {spec} has ended")
        logs = [path.read_text() for path in tmp_path.glob(f"{array}_*.txt")]
        assert sum("doing shard" in log for log in logs) == count
        assert sum("has holes" in log for log in logs) == (0 if count else 5)
