"""The Ray engine on a real cluster of two worker nodes on this machine; one of them is killed amid the run."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.ray_cluster import TOKEN, RayNodes, running_ray
from tests.helpers.clips import write_clip, write_clips
from tests.helpers.equal_stores import assert_stores_equal, extract_alone
from tests.helpers.process_tree import descendants

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra [ray] is not installed: pip install -e '.[ray]'"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc: needs Linux"),
]
FRAMES = {"long": 3000, "a/one": 300, "b/two": 200, "b/three": 20}


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """Two nodes of one CPU each."""
    with running_ray(1, 1) as running:
        yield running


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"), FRAMES)


@pytest.fixture(scope="module")
def single(videos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract_alone(videos, tmp_path_factory.mktemp("single"), model=tiny_model)


def _extract(
    videos: Path, store: Path, model: Path, address: str, *, token: str = TOKEN,
    amid: Callable[[], None] | None = None,
) -> tuple[int, dict[str, Any], str]:  # fmt: skip
    """(exit code, report, stderr) of the command; `amid` is called once when pieces have been finished."""
    command = [sys.executable, "-m", "gazetools", "extract", str(videos), "-o", str(store), "--model", str(model)]
    # auto would compare number types on a CPU that has bfloat16, and leave its record in the store
    command += ["--engine", "ray", "--ray", f"address={address}", "--dtype", "float32", "--json"]
    environment = {**os.environ, "RAY_AUTH_TOKEN": token, "OMP_NUM_THREADS": "1"}
    with (store.parent / "out").open("w+") as out, (store.parent / "err").open("w+") as err:
        run = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        while run.poll() is None:
            if amid is not None and len(list(store.glob(".work/*/piece_*.npz"))) >= 2:
                amid()
                amid = None
            time.sleep(0.05)
        out.seek(0)
        err.seek(0)
        text, said = out.read(), err.read()
    assert amid is None, f"the run ended too soon: {said}"
    assert text.startswith("{"), (text, said)
    return run.returncode, json.loads(text), said


def _assert_nothing_lost(report: dict[str, Any], store: Path, single: Path) -> None:
    assert {item["video_id"]: (item["status"], item["frames"]) for item in report["items"]} == {
        name: ("done", frames) for name, frames in FRAMES.items()
    }
    for name in FRAMES:
        assert_stores_equal(store / f"{name}.h5", single / f"{name}.h5")
    left = sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())
    assert left == sorted(
        ["extract_report.html", "extract_report.json", *(f"{n}{s}" for n in FRAMES for s in (".h5", ".json"))]
    )


def _worker_processes() -> list[int]:
    """Of this test's own nodes, which are children of this process."""
    return [pid for pid, command in descendants(os.getpid()).items() if "gazetools.extraction.pool.process" in command]


def test_a_wrong_token_is_refused(nodes: RayNodes, clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    code, document, _ = _extract(clip, tmp_path / "s", tiny_model, nodes.address, token="8" * 64)
    assert code == 3
    assert "refused the token" in document["error"]["message"]
    assert not list(tmp_path.glob("s/*.h5"))


def test_a_killed_worker_process_costs_at_most_its_piece(
    nodes: RayNodes, videos: Path, single: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def kill() -> None:
        os.kill(_worker_processes()[0], signal.SIGKILL)

    code, report, said = _extract(videos, tmp_path / "s", tiny_model, nodes.address, amid=kill)
    assert code == 0, said
    assert "was killed by SIGKILL while working on" in said
    _assert_nothing_lost(report, tmp_path / "s", single)


def test_a_node_is_killed_and_no_frame_is_lost(
    nodes: RayNodes, videos: Path, single: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def kill() -> None:
        nodes.cluster.remove_node(nodes.workers.pop(), allow_graceful=False)

    code, report, said = _extract(videos, tmp_path / "s", tiny_model, nodes.address, amid=kill)
    assert code == 0, said
    assert "was lost" in said
    _assert_nothing_lost(report, tmp_path / "s", single)


def test_a_local_cluster_listens_on_this_machine_alone(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Ray's processes are those whose parents lead to the command; whatever they listen on is 127.0.0.1."""
    listening: set[str] = set()

    def look() -> None:
        inodes = _sockets_of("raylet") | _sockets_of("gcs_server")
        assert inodes
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    listening.add(fields[1].split(":")[0])

    videos = tmp_path / "v"
    write_clip(videos / "one.mp4", frames=1500)
    code, report, said = _extract(videos, tmp_path / "s", tiny_model, "local", amid=look)
    assert code == 0, said
    assert report["items"][0]["frames"] == 1500
    assert len(listening) == 1, listening
    assert listening <= {"0000000000000000FFFF00000100007F", "0100007F"}


MOMENTS = ["starting a local Ray cluster", "Ray: up to", ".work/*/piece_*.npz"]
"""What is seen last before the signal: on stderr, or in the store."""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigterm_ends_the_run_in_order(moment: str, tiny_model: Path, tmp_path: Path) -> None:
    """Ray puts handlers of its own in place: one prints C++ frames, one ends the process with code 1."""
    videos = write_clips(tmp_path / "v", {"one": 2000, "two": 2000})
    command = [sys.executable, "-m", "gazetools", "extract", str(videos), "-o", str(tmp_path / "s"), "--json"]
    command += ["--model", str(tiny_model), "--device", "cpu", "--engine", "ray", "--ray", "workers=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        run = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        while moment not in (tmp_path / "err").read_text() and not list((tmp_path / "s").glob(moment)):
            assert run.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        children = [pid for pid, line in descendants(run.pid).items() if "raylet" in line or "gcs_server" in line]
        run.terminate()
        code = run.wait(timeout=60)
    said = (tmp_path / "err").read_text()
    assert code == 130, said
    assert json.loads((tmp_path / "out").read_text())["error"]["code"] == "interrupted"
    assert [word for word in ("***", "PC: @", "Traceback", "Task was destroyed", "logging.cc") if word in said] == []
    deadline = time.monotonic() + 20  # they end by themselves, on a busy machine a little later than the command
    while left := [pid for pid in children if _runs(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _sockets_of(program: str) -> set[str]:
    """Socket inodes of the newest process of that name."""
    newest: tuple[int, Path] | None = None
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().strip() != program:
                    continue
                started = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[19])
            except OSError:
                continue
            newest = max(newest or (started, entry), (started, entry))
    assert newest is not None
    found = set()
    for link in (newest[1] / "fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
