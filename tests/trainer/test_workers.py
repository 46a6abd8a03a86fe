"""Loader workers that live through a run, and frame indexes that one process makes for all."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gazetools.trainer import train
from gazetools.trainer.data import index_cache
from gazetools.trainer.data.index_cache import open_indexed
from gazetools.video import VideoReader
from tests.helpers.runs import Listener, assert_same, final_state
from tests.trainer.conftest import Study


class Workers(Listener):
    """Notes the loader's worker processes at every step of training and measuring."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[int]] = {}

    def advance(self, task: str, steps: int = 1) -> None:
        found = {child.pid for child in multiprocessing.active_children() if child.pid is not None}
        self.seen.setdefault(task, set()).update(found)


def test_the_same_workers_serve_all_epochs_and_measurements_with_the_same_batches(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Augmentation and the pairs of `shuffled` change with the epoch, which travels with every clip."""
    tiny["arms"] = ["estimated", "shuffled"]
    tiny["experiment"]["evaluation"] = {"held_out": 0.3, "horizons": [0.25, 0.5]}
    train(tiny)
    workers = Workers()
    other = ["experiment.data.num_workers=2", f"folder={tmp_path / 'workers'}"]
    train(tiny, overrides=other, progress=workers)
    assert len(workers.seen) >= 2 * 3 + 4, "two epochs of three splits, and four at the end"
    assert {len(pids) for pids in workers.seen.values()} == {2}
    assert len(set.union(*workers.seen.values())) == 2, "the same two processes throughout"
    assert not {child.pid for child in multiprocessing.active_children()} & set.union(*workers.seen.values())
    states = [final_state(tmp_path / name) for name in ("run", "workers")]
    for part in ("predictors", "learners", "position", "processes"):
        assert_same(states[0][part], states[1][part], part)


def test_a_frame_index_is_made_once_however_many_want_it_at_the_same_time(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads stand for processes: flock counts open files, not processes."""
    made: list[Path] = []
    save = index_cache.save_index

    def noted(path: Path, index: Any) -> None:
        made.append(path)
        save(path, index)

    monkeypatch.setattr(index_cache, "save_index", noted)
    video = study.root / "videos" / "P01_01.mp4"

    def count(_: int) -> int:
        with open_indexed(video, tmp_path, threads=1) as reader:
            return len(reader.pts_seconds)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(count, range(8))) == {150}
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == [made[0].name], "no lock stays"


def test_who_waits_in_vain_for_an_index_makes_its_own(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cache, "_WAIT_SECONDS", 0.1)
    taken: list[Any] = []
    true = index_cache.locked

    def note(root: Path, name: str, **settings: Any) -> Any:
        taken.append(name)
        return true(root, name, **settings)

    monkeypatch.setattr(index_cache, "locked", note)
    video = study.root / "videos" / "P01_02.mp4"
    with VideoReader(video, threads=1) as reader:
        expected = len(reader.pts_seconds)
    with open_indexed(video, tmp_path / "first", threads=1):
        pass
    with true(tmp_path, taken[0]), open_indexed(video, tmp_path, threads=1) as reader:
        assert len(reader.pts_seconds) == expected
    assert not list(tmp_path.glob("*.npz")), "the holder of the lock will write it"


def test_a_dry_run_tells_hours_per_epoch_and_writes_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    result = train(tiny, dry_run=True, measured=True)
    found = result.decoding
    assert found is not None and not (tmp_path / "run").exists()
    assert found["clips"] == 3 and found["clips_per_epoch"] == 5 and found["every_epoch"]
    assert found["video_hours"] == pytest.approx(3 * (149 / 30) / 3600)
    hours = found["hours_per_epoch"]
    assert hours[1] == pytest.approx(5 * found["seconds_per_clip"] / 3600)
    assert hours[8] == pytest.approx(hours[1] / 8)
    assert found["index_hours"][1] == pytest.approx(found["video_hours"] * found["index_seconds_per_video_hour"] / 3600)
    step = result.step
    assert step is not None
    needed = 2 * found["seconds_per_clip"] / step["seconds"]
    assert found["workers_that_keep_up"] - 1 < max(needed, 1) <= found["workers_that_keep_up"]


def test_decoding_whose_features_are_kept_is_named_as_done_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["experiment"]["data"] |= {
        "feature_cache": {"folder": str(tmp_path / "features")}, "train_transform": "evaluation",
        "train_anticipation_time_sec": [1.0, 1.0],
    }  # fmt: skip
    found = train(tiny, dry_run=True, measured=True).decoding
    assert found is not None and not found["every_epoch"]
