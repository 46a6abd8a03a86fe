"""Several workers and shards on one store: the same result as one process, every input accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gazetools.cli.extract import _with_shard_of_slurm
from gazetools.extraction.decoding.decoder import DecodeSettings
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.run import extract
from gazetools.extraction.tasks import (
    WorkQueue,
    balanced_shard,
    cut_for_workers,
    cut_tasks,
    failure,
    merge_results,
)
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.extract import ExtractOptions, ItemResult
from gazetools.store.lock import BusyError, locked
from tests.helpers.clips import write_clips
from tests.helpers.command_line import run_cli
from tests.helpers.equal_stores import assert_stores_equal, extract_alone
from tests.helpers.runs import Listener

FRAMES = {"long": 700, "a/short": 20, "b/short": 30}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of three pieces, two of one."""
    return write_clips(tmp_path_factory.mktemp("videos"), FRAMES)


@pytest.fixture(scope="module")
def single(videos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract_alone(videos, tmp_path_factory.mktemp("single"), model=tiny_model)


def _items(*costs: float) -> tuple[list[VideoItem], list[float]]:
    return [VideoItem(video_id=f"v{k}", path=Path(f"v{k}.mp4")) for k in range(len(costs))], list(costs)


PIECE = 256 * 1920 * 1080
CUTS = [
    ((10 * PIECE,) * 4, 1, 1, [1, 1, 1, 1], "one worker cuts nothing"),
    ((100 * PIECE, 1, 1, 1), 4, 1, [4, 1, 1, 1], "more than an equal share is cut into equal shares"),
    ((100 * PIECE,), 2, 2, [4], "workers that pull get finer cuts"),
    ((PIECE // 50, 1), 8, 1, [2, 1], "no share far below one piece, but two where one video is nearly all"),
    ((0.0, 0.0), 2, 1, [1, 1], "nothing known about any"),
]


@pytest.mark.parametrize(("costs", "workers", "cuts", "counts", "_why"), CUTS, ids=[why for *_, why in CUTS])
def test_long_videos_are_cut(costs: tuple[float, ...], workers: int, cuts: int, counts: list[int], _why: str) -> None:
    items, values = _items(*costs)
    tasks = cut_tasks(items, values, workers, cuts=cuts)
    assert [sum(task.item == item for task in tasks) for item in items] == counts
    assert [task.cost for task in tasks] == sorted((task.cost for task in tasks), reverse=True)
    assert sum(task.cost for task in tasks) == pytest.approx(sum(values))


def test_shards_cover_everything_once_and_are_balanced() -> None:
    items, costs = _items(*(PIECE * (7 * k % 53 + 1) for k in range(200)))
    tasks = cut_tasks(items, costs, 7)
    shards = [balanced_shard(tasks, index, 7) for index in range(7)]
    assert sorted(task.name for shard in shards for task in shard) == sorted(task.name for task in tasks)
    loads = [sum(task.cost for task in shard) for shard in shards]
    assert max(loads) <= 1.01 * sum(loads) / 7


def test_a_task_goes_back_when_its_worker_died_and_is_given_up_at_the_third_time() -> None:
    items, costs = _items(4 * PIECE, 1)
    queue = WorkQueue(items, cut_for_workers(items, costs, 1))
    for death in range(3):
        task = queue.take()
        assert task is not None
        assert task.item.video_id == "v0"
        given_up = queue.worker_died(task, "was killed by SIGBUS")
        assert (given_up is None) == (death < 2)
    other = queue.take()
    assert other is not None
    assert queue.take() is None
    assert not queue.finished
    queue.done(other, ItemResult(video_id="v1", path="v1.mp4", status="done"))
    assert queue.finished
    results = queue.results(lambda item: failure(item, "missing"))
    assert [result.status for result in results] == ["failed", "done"]
    assert "3 workers died" in str(results[0].reason)


def test_a_task_that_was_opened_ahead_goes_to_the_worker_that_did() -> None:
    items, costs = _items(3 * PIECE, 2 * PIECE, PIECE)
    queue = WorkQueue(items, cut_for_workers(items, costs, 1))
    expected = queue.upcoming()
    assert expected is not None
    assert expected.name == "v0"
    assert queue.upcoming(leave=["v0"]).name == "v1"  # type: ignore[union-attr]
    first = queue.take(leave=["v0"])
    preferred = queue.take(prefer="v2", leave=["v0"])
    assert first is not None
    assert preferred is not None
    assert (first.name, preferred.name) == ("v1", "v2")
    last = queue.take(leave=["v0"])  # nothing else is left: somebody else's guess must not keep a worker idle
    assert last is not None
    assert last.name == "v0"
    assert queue.upcoming() is None
    assert queue.take() is None


def test_results_of_shares_become_one_result() -> None:
    def share(status: str, frames: int, resumed: int) -> ItemResult:
        return ItemResult(
            video_id="v",
            path="v.mp4",
            status=status,
            frames=frames,
            resumed_frames=resumed,  # type: ignore[arg-type]
        )

    done = merge_results([share("part", 10, 4), share("done", 30, 3), share("part", 10, 0)])
    assert (done.status, done.frames, done.resumed_frames) == ("done", 30, 7)
    assert merge_results([share("part", 10, 4), share("failed", 0, 0)]).status == "failed"
    assert merge_results([share("part", 10, 4), share("not_reached", 0, 0)]).status == "not_reached"
    assert merge_results([share("not_reached", 0, 0), share("failed", 0, 0)]).status == "failed"
    assert merge_results([share("part", 10, 4), share("part", 5, 1)]).frames == 15


@pytest.mark.parametrize("devices", ["cpu,cpu"])
def test_two_workers_give_the_store_of_one(
    videos: Path, single: Path, tiny_model: Path, tmp_path: Path, devices: str
) -> None:
    done = run_cli(
        "extract", str(videos), "-o", str(tmp_path), "--model", str(tiny_model), "--device", devices, "--json"
    )
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert {item["video_id"]: (item["status"], item["frames"]) for item in report["items"]} == {
        name: ("done", frames) for name, frames in FRAMES.items()
    }
    assert report["profile"]["workers"] == 2
    assert report["profile"]["frames"] == sum(FRAMES.values())
    for name in FRAMES:
        assert_stores_equal(tmp_path / f"{name}.h5", single / f"{name}.h5")
    assert not list(tmp_path.rglob(".work/*"))


def test_shards_share_a_store_and_the_last_one_joins(
    videos: Path, single: Path, tiny_model: Path, tmp_path: Path
) -> None:
    reports = []
    for index in (1, 2):
        before = json.loads((tmp_path / "extract_report.json").read_text()) if index == 2 else None
        report = extract(videos, tmp_path, model=str(tiny_model), device="cpu", shard=f"{index}/2")
        reports.append(report)
        assert report.shard == f"{index}/2"
        assert report.exit_code == 0
        if before:
            left = {item["video_id"]: item["reason"] for item in before["items"] if item["status"] == "not_reached"}
            assert left
            assert all("not reached" in reason for reason in left.values())
    statuses = [{item.video_id: item.status for item in report.items} for report in reports]
    assert statuses[0]["long"] == "part"
    assert statuses[1]["long"] == "done"
    merged = json.loads((tmp_path / "extract_report.json").read_text())
    assert {item["video_id"]: item["status"] for item in merged["items"]} == dict.fromkeys(FRAMES, "done")
    for name in FRAMES:
        assert_stores_equal(tmp_path / f"{name}.h5", single / f"{name}.h5")


def test_a_slurm_array_task_is_a_shard(
    videos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ID", "7"), ("COUNT", "2"), ("MIN", "5"), ("STEP", "2"), ("MAX", "7")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    done = run_cli("extract", str(videos), "-o", str(tmp_path), "--model", str(tiny_model), "--stride", "10", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["shard"] == "2/2"
    assert "--shard 1/1" in done.stderr


def _as_array_task(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    for name in ("ID", "COUNT", "MIN", "MAX", "STEP"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


def _array(ids: list[int], step: int = 1) -> list[dict[str, int]]:
    """What Slurm 22.05 was seen to set in each task: the step is 1 for every list."""
    return [{"ID": one, "COUNT": len(ids), "MIN": min(ids), "MAX": max(ids), "STEP": step} for one in ids]


WHOLE_ARRAYS = [
    ("1-4", _array([1, 2, 3, 4])),
    ("0-3", _array([0, 1, 2, 3])),
    ("5", _array([5])),
    ("2-8:3", _array([2, 5, 8], step=3)),
    ("7-9", _array([7, 8, 9])),
    ("4,3,5", _array([4, 3, 5])),
    ("0-7, of a Slurm that sets two only", [{"ID": 1 + k, "COUNT": 3} for k in range(3)]),
]


@pytest.mark.parametrize(("_spec", "tasks"), WHOLE_ARRAYS, ids=[spec for spec, _ in WHOLE_ARRAYS])
def test_the_tasks_of_an_array_do_every_share_once(
    _spec: str, tasks: list[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = []
    for values in tasks:
        _as_array_task(monkeypatch, **values)
        shards.append(_with_shard_of_slurm(ExtractOptions()).shard_index_and_count)
    assert sorted(shards) == [(index, len(tasks)) for index in range(len(tasks))]


HOLES = [("1,3,7-9", [1, 3, 7, 8, 9]), ("3,5", [3, 5]), ("8,2,4", [2, 4, 8]), ("1-3,5", [1, 2, 3, 5]), ("0,9", [0, 9])]


@pytest.mark.parametrize(("_spec", "ids"), HOLES, ids=[spec for spec, _ in HOLES])
def test_an_array_with_holes_loses_no_share_in_silence(
    _spec: str, ids: list[int], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for values in _array(ids):
        _as_array_task(monkeypatch, **values)
        with pytest.raises(UsageError, match=r'has holes.*--shard "\$SLURM_ARRAY_TASK_ID/N"'):
            _with_shard_of_slurm(ExtractOptions())
    assert _with_shard_of_slurm(ExtractOptions(shard="3/9")).shard == "3/9", "the script says it"
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--model", "centre-prior")
    assert done.exit_code == 2
    assert not (tmp_path / "s").exists()


def test_a_lone_run_never_takes_itself_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    """Two shares of one video in one shard: the first joins the pieces in a thread while the second begins."""
    videos = write_clips(tmp_path / "v", {"cut": 600, "whole": 400})
    options = ExtractOptions(model=str(tiny_model), device="cpu", shard="2/2", check_space=False)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gazetools.extraction.video.write_store", stop)
        with pytest.raises(KeyboardInterrupt):
            extract(videos, tmp_path / "s", options=options)
    assert list((tmp_path / "s").rglob("piece_*.npz")), "the pieces of both shares are there"
    listener = Listener()
    report = extract(videos, tmp_path / "s", options=options, progress=listener)
    assert [(item.video_id, item.status) for item in report.items] == [("cut", "done")]
    assert [text for text in listener.said if "another run" in text] == []


WRONG_OPTIONS = [
    (["--shard", "0/4"], "1 <= I <= N"),
    (["--shard", "5/4"], "1 <= I <= N"),
    (["--device", "cpu,gpu"], "cuda:0,cuda:1"),
    (["--engine", "spark"], "'local', 'slurm' or 'ray'"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG_OPTIONS, ids=[" ".join(a) for a, _ in WRONG_OPTIONS])
def test_wrong_options_are_2(clip: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_workers_that_cannot_start_stop_the_run(videos: Path, tmp_path: Path) -> None:
    done = run_cli("extract", str(videos), "-o", str(tmp_path), "--model", "no_such_model", "--device", "cpu,cpu")
    assert done.exit_code == 2
    assert "no_such_model" in done.stderr


@pytest.mark.slow
def test_a_decoder_that_crashes_under_two_workers_costs_one_video(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("clip", "good", "other"):
        (folder / f"{name}.mp4").write_bytes(clip.read_bytes())
    report = extract(
        folder, tmp_path / "s", model=str(tiny_model), device="cpu,cpu",
        decoding=DecodeSettings(reader="tests.extraction.fake_readers:CrashingReader"),
    )  # fmt: skip
    assert {item.video_id: item.status for item in report.items} == {"clip": "failed", "good": "done", "other": "done"}
    assert "SIGSEGV" in str(report.failed[0].reason)
    assert report.exit_code == 1


@pytest.mark.parametrize("devices", ["cpu,cpu", "cpu"], ids=["two workers", "all deaths in one slot"])
def test_a_video_that_kills_its_workers_is_given_up_and_the_others_go_on(
    videos: Path, tiny_model: Path, tmp_path: Path, devices: str
) -> None:
    from gazetools.extraction.pool.dispatch import Dispatch
    from gazetools.extraction.pool.local import LocalPool
    from gazetools.extraction.run import decode_settings
    from gazetools.extraction.work import WorkOrder
    from gazetools.progress import NoProgress
    from gazetools.schemas.extract import ExtractOptions

    items = [VideoItem(video_id=name, path=videos / f"{name}.mp4") for name in ("a/short", "b/short")]
    options = ExtractOptions(model=str(tiny_model), device=devices, stride=10)
    order = WorkOrder(store=tmp_path, options=options, decoding=decode_settings(options), video_ids=["x"])
    queue = WorkQueue(items, cut_for_workers(items, [2.0, 1.0], 1))
    pool = LocalPool(order, NoProgress(), module="tests.extraction.fake_worker")
    said: list[str] = []
    run = Dispatch(pool, queue, on_result=lambda result, ended: None, say=said.append)
    try:
        run.run()
    finally:
        pool.close()
    results = {r.video_id: r for r in queue.results(lambda item: failure(item, "lost"))}
    assert results["a/short"].status == "failed"
    assert "3 workers died" in str(results["a/short"].reason)
    assert results["b/short"].status == "done"
    assert run.deaths == len(said) == 3


def test_workers_that_die_at_their_start_stop_the_run(videos: Path, tiny_model: Path, tmp_path: Path) -> None:
    from gazetools.extraction.pool.local import LocalPool
    from gazetools.extraction.run import decode_settings
    from gazetools.extraction.work import WorkOrder
    from gazetools.progress import NoProgress
    from gazetools.schemas.extract import ExtractOptions

    options = ExtractOptions(model=str(tiny_model), device="cpu")
    order = WorkOrder(store=tmp_path, options=options, decoding=decode_settings(options), video_ids=["x"])
    pool = LocalPool(order, NoProgress(), module="tests.extraction.no_such_module")
    with pytest.raises(FaultError, match="3 times before it was ready"):
        for _ in range(10):
            pool.events(10.0)
    pool.close()


_HOLD = """
import sys, time
from pathlib import Path
from gazetools.store.lock import locked
with locked(Path(sys.argv[1]), sys.argv[2], shared=sys.argv[3] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("theirs", "ours", "free"), [("alone", False, False), ("shared", False, False), ("shared", True, True)]
)
def test_a_lock_keeps_others_out_until_its_process_dies(tmp_path: Path, theirs: str, ours: bool, free: bool) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path), "v", theirs], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    if free:
        with locked(tmp_path, "v", shared=ours):
            pass
    else:
        with pytest.raises(BusyError, match="Another run is working on 'v'"), locked(tmp_path, "v", shared=ours):
            pytest.fail("two holders")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with locked(tmp_path, "v", wait_seconds=5):
        pass
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_two_runs_of_the_same_command_do_the_work_once(videos: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gazetools", "-q", "extract", str(videos), "-o", str(tmp_path), "--json"]
    command += ["--model", str(tiny_model), "--device", "cpu"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    reports = [json.loads(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    for position, name in enumerate(sorted(FRAMES)):
        assert sorted(report["items"][position]["status"] for report in reports) == ["complete", "done"], name
    assert sum(report["profile"]["frames"] for report in reports) == sum(FRAMES.values())
