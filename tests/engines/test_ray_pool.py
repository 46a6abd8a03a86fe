"""The Ray engine without Ray: its pool on a stand-in, with real worker processes, and what it refuses."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gazetools.engines.ray import _environment, _no_cluster, _own_sigterm, _sizes
from gazetools.engines.ray_pool import RayPool
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.pool.dispatch import Dispatch
from gazetools.extraction.run import decode_settings
from gazetools.extraction.tasks import WorkQueue, cut_for_workers, failure
from gazetools.extraction.work import WorkOrder
from gazetools.progress import NoProgress
from gazetools.schemas.errors import EnvironmentLacksError, FaultError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.ray import RayOptions
from tests.engines.fake_ray import FakeRay
from tests.helpers.command_line import run_cli

VIDEOS = ("a/short", "b/short", "c/short")
"""tests.extraction.fake_worker is killed by every task of the first."""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    path = tmp_path / "probe"
    path.touch()
    return path


def _pool(
    ray: FakeRay, probe: Path, *, workers: int = 2, module: str = "tests.extraction.fake_worker", wait: float = 60
) -> RayPool:
    options = ExtractOptions(device="cpu")
    order = WorkOrder(store=probe.parent, options=options, decoding=decode_settings(options), video_ids=["x"])
    settings = RayOptions(workers=workers, gpus=0).model_copy(update={"wait_seconds": wait})
    return RayPool(ray, order, NoProgress(), settings, probe=probe, module=module)


def _run(pool: RayPool, videos: tuple[str, ...], folder: Path = Path()) -> tuple[dict[str, str], list[str]]:
    """(status by video, what was said)."""
    items = [VideoItem(video_id=name, path=folder / f"{name}.mp4") for name in videos]
    queue = WorkQueue(items, cut_for_workers(items, [1.0] * len(items), 1))
    said: list[str] = []
    try:
        Dispatch(pool, queue, on_result=lambda result, ended: None, say=said.append).run()
    finally:
        pool.close()
    return {r.video_id: r.status for r in queue.results(lambda item: failure(item, "lost"))}, said


@pytest.mark.parametrize("workers", [2, 1])
def test_a_video_that_kills_its_workers_is_given_up_and_no_other_is_lost(probe: Path, workers: int) -> None:
    ray = FakeRay()
    statuses, said = _run(_pool(ray, probe, workers=workers), VIDEOS)
    assert statuses == {"a/short": "failed", "b/short": "done", "c/short": "done"}
    assert [text for text in said if "was killed by SIGKILL while working on a/short" in text] == said
    assert len(said) == 3
    assert (ray.options["max_restarts"], ray.options["max_task_retries"]) == (0, 0)
    assert not ray.living()


def test_what_a_lost_actor_did_is_done_by_another(probe: Path) -> None:
    ray = FakeRay(lose_first="do")
    statuses, said = _run(_pool(ray, probe), ("b/short", "c/short", "d/short"))
    assert set(statuses.values()) == {"done"}
    assert [text for text in said if "was lost (The actor died unexpectedly" in text] == said
    assert len(said) == 1


def test_a_cluster_smaller_than_the_pool_does_all_the_work(probe: Path) -> None:
    statuses, _ = _run(_pool(FakeRay(room=1), probe, workers=3), VIDEOS[1:])
    assert set(statuses.values()) == {"done"}


def test_a_cluster_without_room_stops_the_run(probe: Path) -> None:
    with pytest.raises(EnvironmentLacksError, match=r"No Ray worker could be started.*0 CPU, 0 GPU free"):
        _run(_pool(FakeRay(room=0), probe, wait=0), VIDEOS)


def test_workers_that_die_at_their_start_stop_the_run(probe: Path) -> None:
    with pytest.raises(FaultError, match="3 times before it was ready"):
        _run(_pool(FakeRay(), probe, workers=1, module="tests.extraction.no_such_module"), VIDEOS)


def test_a_node_without_the_shared_files_stops_the_run(probe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = _pool(FakeRay(), probe)
    probe.unlink()  # the pool's process has seen it, the node does not
    with pytest.raises(EnvironmentLacksError, match=r"does not see .*file system that all nodes share"):
        _run(pool, VIDEOS)
    probe.touch()
    video = probe.parent / "b/short.mp4"
    video.parent.mkdir()
    video.touch()
    exists = Path.exists
    answers = iter([True])  # the driver's; then the node's
    monkeypatch.setattr(Path, "exists", lambda self: next(answers, False) if self == video else exists(self))
    with pytest.raises(EnvironmentLacksError, match=r"does not see .*short\.mp4"):
        _run(_pool(FakeRay(), probe), ("b/short",), probe.parent)


def test_a_node_of_another_version_stops_the_run(probe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = _pool(FakeRay(), probe)
    monkeypatch.setattr("gazetools.engines.ray_actor.__version__", "0.0.7")
    with pytest.raises(EnvironmentLacksError, match=r"has gazetools 0\.0\.7"):
        _run(pool, VIDEOS)


SIZES = [
    ({"CPU": 8.0}, "auto", {}, ("cpu", 0, 8), "one per CPU"),
    ({"CPU": 8.0}, "cpu", {"cpus": 3}, ("cpu", 0, 2), "what fits"),
    ({"CPU": 8.0, "GPU": 4.0}, "auto", {}, ("cuda", 1, 4), "one per GPU"),
    ({"CPU": 8.0, "GPU": 4.0}, "cpu", {}, ("cpu", 0, 8), "asked for the CPU"),
    ({"CPU": 8.0, "GPU": 4.0}, "auto", {"gpus": 0}, ("cpu", 0, 8), "no GPU wanted"),
    ({"CPU": 8.0, "GPU": 4.0}, "cuda", {"workers": 9}, ("cuda", 1, 9), "more than fit: they wait"),
    ({"CPU": 1.0}, "cpu", {"cpus": 4}, ("cpu", 0, 1), "too small: one waits, and the run stops later"),
]


@pytest.mark.parametrize(("resources", "device", "wanted", "sizes", "_why"), SIZES, ids=[why for *_, why in SIZES])
def test_sizes(
    resources: dict[str, float], device: str, wanted: dict[str, int], sizes: tuple[str, int, int], _why: str
) -> None:
    chosen, sized = _sizes(resources, device, RayOptions(**wanted))  # type: ignore[arg-type]
    assert (chosen, sized.gpus, sized.workers) == sizes


def test_gpus_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(EnvironmentLacksError, match="the cluster has 0"):
        _sizes({"CPU": 8.0}, "cuda", RayOptions())
    with pytest.raises(UsageError, match="contradict"):
        _sizes({"CPU": 8.0, "GPU": 1.0}, "cpu", RayOptions(gpus=1))


def test_tokens_are_on_and_a_local_cluster_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    tokens = set()
    for _ in range(2):
        with _environment(local=True):
            assert os.environ["RAY_AUTH_MODE"] == "token"
            assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
            tokens.add(os.environ["RAY_AUTH_TOKEN"])
    assert len(tokens) == 2
    assert min(map(len, tokens)) == 64
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the cluster's")
    with _environment(local=False):
        assert os.environ["RAY_AUTH_TOKEN"] == "the cluster's"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert dict(os.environ) == before


class AuthenticationError(Exception):
    """As ray.exceptions names it."""


CAUSES: list[tuple[Callable[[], BaseException], str]] = [
    (lambda: AuthenticationError("RPC error: InvalidAuthToken: missing or incorrect"), "refused the token"),
    (lambda: AuthenticationError("no authentication token was found"), "There is no token"),
    (lambda: ConnectionError("Could not find any running Ray instance."), "can't be used: Could not find any running"),
]


@pytest.mark.parametrize(("cause", "words"), CAUSES, ids=[words for _, words in CAUSES])
def test_the_reason_is_found_among_the_causes(cause: Callable[[], BaseException], words: str) -> None:
    try:
        try:
            raise cause()
        except AuthenticationError as error:
            raise ConnectionError("Failed to connect to Ray cluster") from error
    except ConnectionError as error:
        assert words in str(_no_cluster("10.0.0.1:6379", error))


WRONG = [
    (["--engine", "ray", "--ray", "worker=3"], {}, 2, "did you mean 'workers'"),
    (["--engine", "ray", "--ray", "address=ray://host:10001"], {}, 2, "HOST:PORT, auto or local"),
    (["--ray", "workers=3"], {}, 2, "needs --engine ray"),
    (["--engine", "ray", "--shard", "1/2"], {}, 2, "shares the work out itself"),
    (["--engine", "ray", "--device", "cuda:0,cuda:1"], {}, 2, "Use --device cuda with --ray workers=N"),
    (["--engine", "ray"], {"RAY_AUTH_MODE": "disabled"}, 2, "run code as you"),
    (["--engine", "ray"], {}, 3, "pip install 'gazetools[ray]'"),
]


@pytest.mark.parametrize(("arguments", "environment", "code", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_what_cannot_work_is_said_at_once(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], environment: dict[str, str], code: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), *arguments)
    assert done.exit_code == code
    assert words in " ".join(done.stderr.split())


def test_the_handler_of_sigterm_is_ours_again_after_ray_started() -> None:
    def ours(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with _own_sigterm():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ray does
        assert signal.getsignal(signal.SIGTERM) is ours
        with pytest.raises(KeyboardInterrupt), _own_sigterm():
            sys.exit(15)  # Ray's answer to a SIGTERM while it starts
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a program without a handler keeps Ray's
        with _own_sigterm():
            signal.signal(signal.SIGTERM, ours)
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)
