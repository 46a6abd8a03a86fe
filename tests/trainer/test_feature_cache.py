"""The cache of encoder tokens: same results with and without, a key that knows every input, damage, budget."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.io import atomic
from gazetools.schemas.errors import FaultError
from gazetools.schemas.training_data import FeatureCacheSettings
from gazetools.trainer import train
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample
from gazetools.trainer.data.feature_cache import FeatureCache, encoder_facts
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.plan.config import load_config
from tests.trainer.conftest import Study
from tests.trainer.test_train import Listener, assert_same, final_state

FIXED = ["experiment.data.train_transform=evaluation", "experiment.data.train_anticipation_time_sec=[1.0,1.0]"]
ONCE = [*FIXED, "experiment.optimization.num_epochs=1"]
"""One epoch, whose five training clips are those of validation."""


class Counter:
    """Clips that were decoded and encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded = self.encoded = 0
        decode, encode = ClipDataset._decoded, VideoEncoder.forward

        def counted_decode(dataset: ClipDataset, *arguments: Any) -> Any:
            self.decoded += 1
            return decode(dataset, *arguments)

        def counted_encode(encoder: VideoEncoder, video: torch.Tensor) -> torch.Tensor:
            self.encoded += len(video)
            return encode(encoder, video)

        monkeypatch.setattr(ClipDataset, "_decoded", counted_decode)
        monkeypatch.setattr(VideoEncoder, "forward", counted_encode)

    def take(self) -> tuple[int, int]:
        found = self.decoded, self.encoded
        self.decoded = self.encoded = 0
        return found


def run(
    tiny: dict[str, Any], folder: Path, cache: Path | None, *overrides: str, progress: Any = None, **settings: Any
) -> Any:
    config = copy.deepcopy(tiny) | {"folder": str(folder)}
    if cache is not None:
        config["experiment"]["data"]["feature_cache"] = {"folder": str(cache), **settings}
    return train(config, overrides=overrides, progress=progress)


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def without_counts(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if "features_" not in key}


def test_results_are_those_without_a_cache_to_the_bit_and_clips_are_encoded_once(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, cache = Counter(monkeypatch), tmp_path / "cache"
    plain = run(tiny, tmp_path / "plain", None, *FIXED)
    # Two epochs of training and validation, and the last measurement, of 5 clips each.
    assert counter.take() == (25, 25)
    first = run(tiny, tmp_path / "first", cache, *FIXED)
    assert counter.take() == (5, 5), "training and validation show the same clips: each is encoded once"
    again = run(tiny, tmp_path / "again", cache, *FIXED)
    assert counter.take() == (0, 0), "another run decodes and encodes nothing"
    assert (first.metrics["train_features_cached"], first.metrics["train_features_computed"]) == (5, 0)
    assert (again.metrics["val_start_features_cached"], again.metrics["val_start_features_computed"]) == (5, 0)
    assert any("5 clips of this encoder" in note for note in again.notes)
    for found in (first, again):
        assert without_counts(found.metrics) == plain.metrics
        assert without_counts(found.final["main"]["val_start"]) == plain.final["main"]["val_start"]
    states = [final_state(tmp_path / name) for name in ("plain", "first", "again")]
    for state in states[1:]:
        assert_same(states[0]["learners"]["main"]["probe"], state["learners"]["main"]["probe"])
        assert_same(states[0]["predictors"], state["predictors"])


@pytest.mark.slow
def test_drawn_crops_are_not_cached_but_validation_is(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    plain = run(tiny, tmp_path / "plain", None)
    counter.take()
    found = run(tiny, tmp_path / "run", tmp_path / "cache")
    assert counter.take() == (15, 15), "training twice, validation once"
    assert without_counts(found.metrics) == plain.metrics and "train_features_cached" not in found.metrics
    assert any("keeps validation clips only" in note for note in found.notes)
    # Frames as in validation, but tau drawn anew in every epoch: nothing repeats either.
    found = run(tiny, tmp_path / "tau", tmp_path / "cache", FIXED[0])
    assert counter.take() == (10, 10) and "train_features_cached" not in found.metrics


@pytest.mark.slow  # worker processes
def test_loader_workers_read_the_cache(tiny: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    plain = run(tiny, tmp_path / "plain", cache, *ONCE)
    found = run(tiny, tmp_path / "workers", cache, *ONCE, "experiment.data.num_workers=1")
    values = found.final["main"]["val_start"]
    assert (values["features_cached"], values["features_computed"]) == (5, 0)
    assert without_counts(values) == without_counts(plain.final["main"]["val_start"])


def identity(tiny: dict[str, Any], *overrides: str) -> tuple[str, str]:
    """Folder of the encoder and key of the second clip: what tokens are found by."""
    config = load_config(tiny, overrides)
    data, encoder = config.experiment.data, load_pretrained(config).encoder
    facts = encoder_facts(encoder, autocast=False, device=torch.device("cpu"), compiled=False)
    settings = FeatureCacheSettings(folder="cache")
    cache = FeatureCache(settings, facts, dtype=next(encoder.parameters()).dtype)
    plan = plan_data(data, resolve_anchors(config))
    dataset = ClipDataset(
        plan.validation[0], data, plan.labels, ClipOptions(training=False, seed=0), heatmaps={}, features=cache
    )  # fmt: skip
    sample = dataset[1]
    assert isinstance(sample, Sample) and sample.feature_key is not None
    return cache.folder.name, sample.feature_key


@pytest.mark.parametrize(
    ("changed", "folder", "key"),
    [
        ("seed=1", False, True),
        ("model_kwargs.pretrain_kwargs.encoder.num_heads=4", False, True),
        ("model_kwargs.pretrain_kwargs.encoder.use_sdpa=false", False, True),
        ("model_kwargs.pretrain_kwargs.encoder.dtype=bfloat16", False, True),
        ("experiment.data.resolution=40", True, False),
        ("experiment.data.frames_per_clip=2", True, False),
        ("experiment.data.frames_per_second=5", True, False),
        ("experiment.data.anticipation_time_sec=[0.5,0.5]", True, False),
        ("experiment.data.anchor=end", True, False),
        ("experiment.data.heatmap_resolution=64", True, True),
        ("experiment.classifier.num_heads=4", True, True),
        ("experiment.optimization.batch_size=1", True, True),
    ],
)
def test_whatever_shapes_the_tokens_and_nothing_else_is_in_the_key(
    tiny: dict[str, Any], changed: str, folder: bool, key: bool
) -> None:
    """`folder`, `key`: whether that part of the identity stays."""
    own, other = identity(tiny), identity(tiny, changed)
    assert (own[0] == other[0], own[1] == other[1]) == (folder, key)


def test_another_file_under_the_same_name_is_seen(
    study: Study, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, cache, videos = Counter(monkeypatch), tmp_path / "cache", tmp_path / "videos"
    shutil.copytree(study.root / "videos", videos)
    where = [f"experiment.data.base_path={videos}", *ONCE]
    run(tiny, tmp_path / "first", cache, *where)
    counter.take()
    status = (videos / "P01_01.mp4").stat()
    os.utime(videos / "P01_01.mp4", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    run(tiny, tmp_path / "touched", cache, *where)
    assert counter.take() == (2, 2), "the two clips of that video"
    moved = tmp_path / "moved"
    videos.rename(moved)
    run(tiny, tmp_path / "elsewhere", cache, *ONCE, f"experiment.data.base_path={moved}")
    assert counter.take() == (0, 0), "the same files elsewhere are the same"


def test_lost_and_damaged_files_are_computed_again(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, cache = Counter(monkeypatch), tmp_path / "cache"
    first = run(tiny, tmp_path / "first", cache, *ONCE)
    whole = {path: path.read_bytes() for path in files(cache)}
    assert len(whole) == 5
    lost, short, flipped, *_ = whole
    lost.unlink()
    short.write_bytes(whole[short][:-9])
    flipped.write_bytes(whole[flipped][:-5] + bytes([whole[flipped][-5] ^ 64]) + whole[flipped][-4:])
    counter.take()
    again = run(tiny, tmp_path / "again", cache, *ONCE)
    assert counter.take() == (3, 3)
    assert without_counts(again.final["main"]["val_start"]) == without_counts(first.final["main"]["val_start"])
    assert {path: path.read_bytes() for path in files(cache)} == whole, "written anew, byte for byte"


def test_the_budget_ends_storing_not_the_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    cache, listener = tmp_path / "cache", Listener()
    size = 2 * 16 * 24 * 4  # steps x cells x channels x float32
    plain = run(tiny, tmp_path / "plain", None, *ONCE)
    found = run(
        tiny, tmp_path / "run", cache, *ONCE, budget_gib=(2 * size + 3000) / 2**30, progress=listener
    )  # fmt: skip
    assert len(files(cache)) == 2 and sum(path.stat().st_size for path in files(cache)) <= 2 * size + 3000
    assert without_counts(found.final["main"]["val_start"]) == plain.final["main"]["val_start"]
    assert sum("budget" in text and "used up" in text for text in listener.said) == 1, "told once"


def test_a_full_disk_ends_storing_not_the_run(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gazetools.trainer.data.feature_cache as module

    def full(path: Path, data: bytes) -> None:
        raise FaultError(f"No space left for {path}.")

    monkeypatch.setattr(module, "write_bytes_atomic", full)
    listener = Listener()
    found = run(tiny, tmp_path / "run", tmp_path / "cache", *ONCE, progress=listener)
    assert found.status == "done" and not files(tmp_path / "cache")
    assert sum("No space left" in text for text in listener.said) == 1
    assert atomic.write_bytes_atomic is not full


@pytest.mark.parametrize(
    ("dtype", "relative"), [(None, 0.0), ("float32", 0.0), ("float16", 2.0**-11), ("bfloat16", 2.0**-8)]
)
def test_rounding_is_bounded_and_the_same_when_stored_and_when_read(
    tmp_path: Path, dtype: Any, relative: float
) -> None:
    settings = FeatureCacheSettings(folder=str(tmp_path), dtype=dtype)
    cache = FeatureCache(settings, {"weights_sha256": "x"}, dtype=torch.float32)
    cache.open(leads=True)
    tokens = torch.randn(40, 24, generator=torch.Generator().manual_seed(0))
    used = cache.store("a" * 64, tokens)
    read = cache.load("a" * 64)
    assert read is not None and torch.equal(read, used), "a first epoch sees what later ones see"
    assert float(((read.float() - tokens).abs() / tokens.abs()).max()) <= relative
    assert cache.load("b" * 64) is None


@pytest.mark.slow  # the rounding itself is tested above
def test_float16_tokens_give_the_same_run_whether_cached_or_not_yet(tiny: dict[str, Any], tmp_path: Path) -> None:
    found = [run(tiny, tmp_path / name, tmp_path / "cache", *FIXED, dtype="float16") for name in ("first", "again")]
    assert without_counts(found[0].final["main"]["val_start"]) == without_counts(found[1].final["main"]["val_start"])
