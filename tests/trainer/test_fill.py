"""`train --cache-only`: every clip is encoded once, and trainings give the same numbers when the videos are gone."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.io import space
from gazetools.progress import NoProgress
from gazetools.schemas.errors import DataFileError, FaultError, UsageError
from gazetools.trainer import fill_cache, train
from gazetools.trainer.data.feature_cache import FeatureCache
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.report.run import report
from tests.helpers.command_line import run_cli
from tests.helpers.runs import Listener, assert_same, final_state
from tests.trainer.conftest import Study

VIEWS = 2


@pytest.fixture
def config(study: Study, tmp_path: Path) -> dict[str, Any]:
    """Two trainings of two arms with fixed views, held-out videos and horizons, on videos of their own."""
    shutil.copytree(study.root / "videos", tmp_path / "videos")
    values = copy.deepcopy(study.config(tmp_path / "run", base_path=str(tmp_path / "videos"), train_views=VIEWS))
    values |= {"arms": ["none", "estimated", "shuffled"], "seeds": 2}
    values["experiment"]["evaluation"] = {"held_out": 0.3, "horizons": [0.5, 1.0]}
    values["experiment"]["data"]["reprob"] = 0.5
    values["experiment"]["optimization"]["num_epochs"] = 2
    return values


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


@pytest.mark.slow
def test_runs_without_videos_give_the_same_numbers_to_the_bit(config: dict[str, Any], tmp_path: Path) -> None:
    train(config | {"folder": str(tmp_path / "with_videos")})
    filled = fill_cache(config)
    assert (filled.status, filled.present) == ("done", 0) and filled.encoded == filled.clips > 5 * VIEWS
    before = files(tmp_path / "run" / "features")
    shutil.rmtree(tmp_path / "videos")
    listener = Listener()
    train(config, progress=listener)
    assert any("3 video(s) are not below" in line for line in listener.said)
    assert files(tmp_path / "run" / "features") == before, "nothing was encoded again"
    for seed in (0, 1):
        mine, theirs = (tmp_path / name / f"seed_{seed}" for name in ("run", "with_videos"))
        whole, other = final_state(mine), final_state(theirs)
        for part in ("predictors", "learners", "processes"):
            assert_same(whole[part], other[part], part)
        for path in sorted((theirs / "predictions").rglob("*.npz")):
            assert path.read_bytes() == (mine / path.relative_to(theirs)).read_bytes(), path.name
    found = report([tmp_path / "run"], output=tmp_path / "report", k=1, examples=1)
    assert found["primary"]["seeds"] == 2 and "Fixed-view augmentation" in found["training_options"][0]
    assert found["example_notes"], "that there are no pictures without videos"


def test_a_second_call_encodes_nothing_and_one_that_is_cut_short_goes_on(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"encoded": 0}
    encode = VideoEncoder.forward

    def counted(self: VideoEncoder, video: torch.Tensor) -> torch.Tensor:
        counts["encoded"] += len(video)
        return encode(self, video)

    monkeypatch.setattr(VideoEncoder, "forward", counted)

    class Stops(NoProgress):
        def advance(self, task: str, steps: int = 1) -> None:
            if counts["encoded"] == 4 and task == "features":
                os.kill(os.getpid(), signal.SIGTERM)

    stopped = fill_cache(config, progress=Stops())
    assert (stopped.status, int(stopped.exit_code), stopped.encoded) == ("interrupted", 130, 4)
    resumed = fill_cache(config)
    assert (resumed.status, resumed.present) == ("done", 4) and resumed.encoded == resumed.clips - 4
    assert counts["encoded"] == resumed.clips
    again = fill_cache(config)
    assert (again.encoded, again.present, again.needed_bytes) == (0, again.clips, 0)
    assert counts["encoded"] == resumed.clips


def _fill(config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    fill_cache(config)


@pytest.mark.slow
def test_killed_while_it_fills_and_started_again_gives_the_same_files(config: dict[str, Any], tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gazetools.trainer.fill", "tests.trainer.test_fill"])
    features = tmp_path / "run" / "features"
    for wanted in (1, 9):
        child = context.Process(target=_fill, args=(config,))
        child.start()
        deadline = time.monotonic() + 120
        while child.is_alive() and len(files(features)) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
        child.join()
    child = context.Process(target=_fill, args=(config,))
    child.start()
    child.join()
    killed = files(features)
    shutil.rmtree(features)
    child = context.Process(target=_fill, args=(config,))
    child.start()
    child.join()
    assert killed == files(features) and len(killed) > 10


@pytest.mark.slow
def test_processes_share_the_work(config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "config.json"
    config["experiment"]["data"]["feature_cache"] = {"folder": str(tmp_path / "shared")}
    path.write_text(json.dumps(config))
    done = run_cli("train", "--config", str(path), "--cache-only", "--processes", "2", "--json")
    assert done.exit_code == 0, done.stderr
    config["experiment"]["data"]["feature_cache"] = {"folder": str(tmp_path / "alone")}
    filled = fill_cache(config)
    shared, alone = files(tmp_path / "shared"), files(tmp_path / "alone")
    assert len(shared) == len(alone) == filled.clips
    names = {name.split("/", 1)[1] for name in shared}, {name.split("/", 1)[1] for name in alone}
    if torch.get_num_threads() == 1:  # the number of threads is part of an encoder's identity
        assert shared == alone
    assert names[0] == names[1]


def test_the_size_is_told_before_and_checked_against_disk_and_budget(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    planned = fill_cache(config, dry_run=True, progress=listener)
    assert planned.status == "dry_run" and not (tmp_path / "run").exists()
    assert any(f"At most {planned.clips} clips of 4.1 kB each" in line for line in listener.said), listener.said
    small = copy.deepcopy(config)
    small["experiment"]["data"]["feature_cache"] = {"folder": str(tmp_path / "small"), "budget_gib": 1e-5}
    with pytest.raises(UsageError, match=r"the budget of .*small has 10.7 kB left"):
        fill_cache(small)
    assert not files(tmp_path / "small")
    monkeypatch.setattr(space, "free_space", lambda folder: space.FreeSpace(bytes=20_000, files=None))
    with pytest.raises(FaultError, match=r"The feature cache needs .* kB, 20.0 kB are free"):
        fill_cache(config)
    assert not files(tmp_path / "run")


def test_a_disk_that_fills_up_on_the_way_is_a_fault(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(self: FeatureCache, key: str, tokens: torch.Tensor) -> torch.Tensor:
        calls.append(key)
        self._stop("No space left on device")
        return tokens

    monkeypatch.setattr(FeatureCache, "store", full)
    with pytest.raises(FaultError, match="is not complete: No space left on device"):
        fill_cache(config)
    assert len(calls) == 1, "it stops at once"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_views": None}, "training clips differ between epochs"),
        ({"train_views": None, "train_transform": "evaluation"}, "training clips differ between epochs"),
    ],
)
def test_configs_whose_runs_need_the_videos(change: dict[str, Any], message: str, config: dict[str, Any]) -> None:
    config["experiment"]["data"] |= change | {"reprob": 0.0}
    with pytest.raises(UsageError, match=message):
        fill_cache(config)


def test_a_drawn_context_needs_the_videos(config: dict[str, Any]) -> None:
    config["experiment"]["data"] |= {
        "train_views": None, "train_transform": "evaluation", "reprob": 0.0, "train_context_sec": [0.5, 1.0],
        "train_anticipation_time_sec": [1.0, 1.0],
    }  # fmt: skip
    with pytest.raises(UsageError, match="their context or anticipation point is drawn"):
        fill_cache(config)


def test_a_single_training_needs_a_folder_and_a_loss_of_the_future_needs_videos(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the config has no feature cache"):
        fill_cache({key: value for key, value in config.items() if key != "seeds"})
    config["experiment"]["optimization"]["losses"] = {"jepa": 1.0}
    with pytest.raises(UsageError, match="frames of the future"):
        fill_cache(config)


def test_what_is_said_when_videos_are_gone_and_features_do_not_fit(config: dict[str, Any], tmp_path: Path) -> None:
    fill_cache(config)
    shutil.rmtree(tmp_path / "videos")
    with pytest.raises(UsageError, match=r"no features of this run's encoder; those that are there .*weights"):
        train(config, overrides=["model_kwargs.random_seed=7"])
    assert not (tmp_path / "run" / "seed_0").exists(), "no empty run folder is left"
    with pytest.raises(UsageError, match="only fixed views come from a feature cache"):
        cache = f"experiment.data.feature_cache={{folder: {tmp_path / 'run' / 'features'}}}"
        train(config, overrides=["experiment.data.train_views=null", cache])
    with pytest.raises(DataFileError, match=r"is gone, and .* lacks the features of this clip"):
        train(config, overrides=["experiment.data.frames_per_second=8"])
    damaged = next(iter((tmp_path / "run" / "features" / "videos").glob("*.npz")))
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"1 of 3 annotated videos are not below|The video folder"):
        train(config, dry_run=True)


def test_an_unreadable_video_is_named_and_nothing_is_called_done(config: dict[str, Any], tmp_path: Path) -> None:
    broken = tmp_path / "videos" / "P02_01.mp4"
    data = bytearray(broken.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    broken.write_bytes(data)
    with pytest.raises(DataFileError, match=r"clip\(s\) could not be read, 0 allowed; the first: P02_01"):
        fill_cache(config)


def test_from_the_command_line(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    done = run_cli("train", "--config", str(path), "--cache-only")
    assert done.exit_code == 0, done.stderr
    assert "different clips: 0 are kept" in done.stderr and "encoded" in done.stdout
    again = json.loads(run_cli("train", "--config", str(path), "--cache-only", "--json").stdout)
    assert again["status"] == "done" and again["encoded"] == 0 and again["seeds"] == [0, 1]
    shutil.rmtree(tmp_path / "videos")
    planned = run_cli("train", "--config", str(path), "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    with np.load(next((tmp_path / "run" / "features" / "videos").glob("*.npz"))) as file:
        assert set(file.files) == {"pts_seconds", "facts"}
