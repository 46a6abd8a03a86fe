"""Killed at random, again and again: the store in the end equals that of one undisturbed run.

`make fault` does 50 kills or more (GAZETOOLS_FAULT_KILLS, GAZETOOLS_FAULT_SEED).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gazetools.extraction.run import extract
from gazetools.progress import NoProgress
from gazetools.store.pieces import PieceFolder
from tests.helpers.clips import write_clip, write_clips
from tests.helpers.equal_stores import assert_stores_equal
from tests.helpers.process_tree import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc: needs Linux")
FRAMES = {"one": 900, "two": 700, "three": 300}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("videos"), FRAMES)


class _KillsDecoders(NoProgress):
    """Kills the decoding process of this process when certain frames are done."""

    def __init__(self, at: set[int]) -> None:
        self.at = at
        self.done = 0
        self.kills = 0

    def advance(self, task: str, steps: int = 1) -> None:
        self.done += steps
        if self.done in self.at:
            for pid, command in descendants(os.getpid()).items():  # none where the last one was not missed yet
                if "extraction.decoding.child" in command:
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_decoders_change_nothing(clip: Path, tiny_model: Path, tmp_path: Path, seed: int) -> None:
    extract(clip, tmp_path / "clean", model=str(tiny_model), device="cpu", dtype="float32")
    killer = _KillsDecoders(set(random.Random(seed).sample(range(1, 38), 2)))
    report = extract(clip, tmp_path / "killed", model=str(tiny_model), device="cpu", progress=killer)
    assert killer.kills
    assert report.items[0].status == "done"
    assert_stores_equal(tmp_path / "killed" / "clip.h5", tmp_path / "clean" / "clip.h5")


def test_a_run_is_killed_between_any_two_steps_of_the_store(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the process is played by an exception at each commit in turn; what is left is then taken up."""
    clip = write_clip(tmp_path / "clip.mp4", frames=260)  # two pieces: the only piece of a video is never saved
    extract(clip, tmp_path / "clean", model=str(tiny_model), device="cpu", dtype="float32")

    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    for step in ("save", "remove"):
        store = tmp_path / step
        with monkeypatch.context() as patch:
            patch.setattr(PieceFolder, step, die)
            with pytest.raises(Killed):
                extract(clip, store, model=str(tiny_model), device="cpu", dtype="float32")
        items = json.loads((store / "extract_report.json").read_text())["items"]
        assert [item["status"] for item in items] == ["not_reached"]
        assert extract(clip, store, model=str(tiny_model), device="cpu", dtype="float32").exit_code == 0
        assert_stores_equal(store / "clip.h5", tmp_path / "clean" / "clip.h5")


@pytest.mark.slow
def test_random_kills_of_driver_workers_and_decoders(videos: Path, tiny_model: Path, tmp_path: Path) -> None:
    kills_wanted = int(os.environ.get("GAZETOOLS_FAULT_KILLS", "50"))
    seed = int(os.environ.get("GAZETOOLS_FAULT_SEED", str(time.time_ns() % 1_000_000)))
    chance = random.Random(seed)
    print(f"GAZETOOLS_FAULT_SEED={seed}")
    extract(videos, tmp_path / "clean", model=str(tiny_model), device="cpu", dtype="float32")
    killed = {"driver": 0, "extraction.pool.process": 0, "extraction.decoding.child": 0}
    rounds = 0
    while sum(killed.values()) < kills_wanted:
        store = tmp_path / f"round{rounds}"
        rounds += 1
        while _run_and_kill(videos, tiny_model, store, chance, killed, kills_wanted) != 0:
            pass
        for name in FRAMES:
            assert_stores_equal(store / f"{name}.h5", tmp_path / "clean" / f"{name}.h5")
        left = sorted(path.name for path in store.rglob("*") if path.is_file())
        assert left == sorted(
            ["extract_report.html", "extract_report.json", *(f"{n}{s}" for n in FRAMES for s in (".h5", ".json"))]
        ), seed
    print(f"{sum(killed.values())} kills ({killed}) in {rounds} rounds: every store equals the undisturbed one")


def _run_and_kill(
    videos: Path, model: Path, store: Path, chance: random.Random, killed: dict[str, int], kills_wanted: int
) -> int:
    """One call of the command under fire; its exit code. Failures other than by kills fail the test."""
    command = [sys.executable, "-m", "gazetools", "-q", "extract", str(videos), "-o", str(store), "--json"]
    command += ["--model", str(model), "--device", "cpu,cpu"]
    with (store.parent / "stdout").open("w+") as stdout:
        run = subprocess.Popen(command, stdout=stdout)
        while run.poll() is None:
            time.sleep(chance.uniform(0.05, 2.5))
            kind = chance.choices(list(killed), weights=[1, 3, 4])[0]
            processes = descendants(run.pid)
            victims = [run.pid] if kind == "driver" else [pid for pid, text in processes.items() if kind in text]
            if not victims or sum(killed.values()) >= kills_wanted or not (store / ".work").exists():
                continue
            os.kill(chance.choice(victims), signal.SIGKILL)
            killed[kind] += 1
        stdout.seek(0)
        text = stdout.read()
    if run.returncode == 1:
        reasons = [item["reason"] for item in json.loads(text)["items"] if item["status"] == "failed"]
        assert reasons
        assert all("workers died" in reason or "3 attempts" in reason for reason in reasons), reasons
    else:
        assert run.returncode in (0, -signal.SIGKILL, 4), text  # 4: a slot's workers killed three times at their start
    return run.returncode
