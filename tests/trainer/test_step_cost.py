"""Time and memory of a step as a dry run measures them, and what they say of studies."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gazetools.metrics.verdicts import Planning
from gazetools.schemas.errors import FaultError
from gazetools.trainer import train
from gazetools.trainer.measure import step_cost
from gazetools.trainer.measure.peak_memory import RESET_PEAK
from gazetools.trainer.measure.step_cost import StepCost, study_table
from tests.helpers.runs import Listener

OPTIMIZATION = "experiment.optimization"


def measured(config: dict[str, Any], *overrides: str) -> StepCost:
    found = train(config, overrides=overrides, dry_run=True, measured=True)
    assert found.step is not None
    return StepCost(**found.step)


COST = StepCost(
    seconds=1.0, encoder_seconds=0.4, memory_bytes=0, memory_bytes_per_clip=0, clips=4, measured_clips=2,
    encoded_once=0, seconds_per_training=100.0, steps=100, fits=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("encoded_once", "seconds_per_training", "expected"),
    [
        (0, 100.0, [300.0, 500.0, 800.0]),  # every training encodes its clips
        (80, 60.0, [188.0, 308.0, 488.0]),  # 80 clips of 0.1 s once, then 0.6 s a step
    ],
)
def test_cached_clips_are_encoded_once_for_all_trainings(
    encoded_once: int, seconds_per_training: float, expected: list[float]
) -> None:
    cost = dataclasses.replace(COST, encoded_once=encoded_once, seconds_per_training=seconds_per_training)
    assert [row["seconds"] for row in study_table(cost, clusters=9)] == pytest.approx(expected)


@pytest.mark.parametrize("clusters", [1, 2, 5, 40, 400])
def test_the_gain_of_a_study_is_found_with_80_percent_and_falls_with_trainings(clusters: int) -> None:
    rows = study_table(COST, clusters=clusters)
    gains = [row["gain_in_seed_sd"] for row in rows]
    assert gains == sorted(gains, reverse=True) and len(set(gains)) == 3
    for row in rows:
        planning = {"seed_sd": 1.0, "var_clusters": 0.0, "df_clusters": max(1.0, clusters - 1.0)}
        power = [
            Planning(gain=row["gain_in_seed_sd"] + off, **planning).power(row["trainings"]) for off in (-0.02, 0.02)
        ]
        assert power[0] < 0.8 <= power[1]


@pytest.mark.slow
def test_memory_has_the_activations_and_grows_with_the_batch(tiny: dict[str, Any], tmp_path: Path) -> None:
    """In processes of their own, as of the command: what other tests freed would be used again without any growth."""
    tiny["experiment"]["data"] |= {"resolution": 96, "frames_per_clip": 16}
    tiny["model_kwargs"]["pretrain_kwargs"]["predictor"]["num_frames"] = 32
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    found = []
    for size in (2, 64):
        command = [sys.executable, "-m", "gazetools", "train", "--config", str(path), "--dry-run", "--json"]
        done = subprocess.run(
            [*command, f"{OPTIMIZATION}.batch_size={size}"], capture_output=True, text=True, check=True
        )
        found.append(StepCost(**json.loads(done.stdout)["step"]))
    small, large = found
    assert small.memory_bytes_per_clip > 1 << 20
    # What a clip adds is the difference of two peaks, which other memory of the process disturbs.
    growth = min(small.memory_bytes_per_clip, large.memory_bytes_per_clip)
    assert large.memory_bytes - small.memory_bytes > 30 * growth
    assert (small.measured_clips, large.measured_clips, large.clips) == (2, 2, 64)
    assert large.seconds > small.seconds > small.encoder_seconds > 0


def test_the_peak_begins_at_the_step(tiny: dict[str, Any]) -> None:
    """What was in use before, and is not any more, does not count."""
    if not RESET_PEAK.exists():
        pytest.skip("the peak of memory cannot be reset here: needs Linux")
    before = measured(tiny).memory_bytes
    held = torch.zeros(300 << 20, dtype=torch.uint8)
    held.add_(1)
    del held
    assert measured(tiny).memory_bytes < before + (150 << 20)


def test_a_long_first_step_is_the_only_one(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def step(self: Any, clips: int) -> tuple[tuple[float, float], int]:
        calls.append(clips)
        return (30.0, 1.0), 1 << 30

    monkeypatch.setattr(step_cost._Bench, "step", step)
    found = measured(tiny)
    assert calls == [1] and found.measured_clips == 1
    assert found.seconds == pytest.approx(62) and found.encoder_seconds == pytest.approx(60), "two clips, each as long"


def test_memory_that_is_not_there_is_told(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cost, "available_memory", lambda device: 1 << 20)
    listener = Listener()
    result = train(tiny, dry_run=True, measured=True, progress=listener)
    assert result.step is not None and not result.step["fits"]
    assert any("more than cpu has: halve batch_size" in line for line in listener.said)
    assert any("halve batch_size" in note for note in result.notes)

    def fails(self: Any, clips: int) -> None:
        raise torch.OutOfMemoryError("tried to allocate 9 GiB")

    monkeypatch.setattr(step_cost._Bench, "step", fails)
    with pytest.raises(FaultError, match="Out of memory in a step on random clips"):
        train(tiny, dry_run=True, measured=True)


def test_every_kind_of_run_is_measured_or_told_why_not(tiny: dict[str, Any], tmp_path: Path) -> None:
    options = [f"{OPTIMIZATION}.ema={{}}", f"{OPTIMIZATION}.class_weights={{}}", f"{OPTIMIZATION}.losses={{jepa: 0.5}}"]
    arms = copy.deepcopy(tiny) | {"arms": ["none", "estimated", "shuffled"]}
    assert measured(arms, *options).seconds > 0
    views = copy.deepcopy(tiny)
    views["experiment"]["data"] |= {"train_views": 3, "feature_cache": {"folder": str(tmp_path / "cache")}}
    found = measured(views)
    assert found.encoded_once == 15 and found.seconds_per_training < found.seconds * found.steps
    train(tiny)
    assert train(tiny, overrides=["val_only=true"], dry_run=True, measured=True).step is None
