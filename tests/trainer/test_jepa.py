"""The JEPA loss: the true future at the right times, never in the observation, and training without labels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.schemas.errors import UsageError
from gazetools.trainer import train
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.clips import ClipDataset, ClipOptions, Sample, collate
from gazetools.trainer.data.maps.build import build_sources
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.data.transforms import MEAN_RGB, STD_RGB
from gazetools.trainer.learn.forward import encode_future
from gazetools.trainer.learn.losses import jepa_loss
from gazetools.trainer.plan.config import load_config
from tests.helpers.models import build_model
from tests.helpers.videos import ArrayVideo
from tests.trainer.conftest import Study
from tests.trainer.test_train import Listener, assert_same, final_state, lines

JEPA = "experiment.optimization.losses.jepa=1"


def numbered(spoilt_from: int | None = None) -> ArrayVideo:
    """150 frames at 30 per second whose grey value is their number; noise from `spoilt_from` on."""
    frames = np.repeat(np.arange(150, dtype=np.uint8), 48 * 64 * 3).reshape(150, 48, 64, 3)
    if spoilt_from is not None:
        frames[spoilt_from:] = np.random.default_rng(0).integers(0, 256, frames[spoilt_from:].shape)
    return ArrayVideo(frames)


def make_dataset(study: Study, tmp_path: Path, video: ArrayVideo, *, future_frames: int, **data: Any) -> ClipDataset:
    config = load_config(study.config(tmp_path, **data))
    settings = config.experiment.data
    plan = plan_data(settings, resolve_anchors(config))
    return ClipDataset(
        plan.train, settings, plan.labels, ClipOptions(training=True, seed=2, future_frames=future_frames),
        heatmaps=build_sources(settings), reader=lambda path: video,
    )  # fmt: skip


def numbers_of(video: torch.Tensor) -> list[int]:
    """Frame numbers of numbered frames [3, T, H, W]."""
    grey = video[0].flatten(1).mean(1) * STD_RGB[0] + MEAN_RGB[0]
    return torch.round(grey * 255).int().tolist()


@pytest.mark.parametrize(("tau", "count"), [(1.0, 2), (0.5, 2), (1.0, 4), (0.1, 2)])
def test_the_future_is_what_is_predicted_at_the_end_of_a_clip_of_the_same_length(
    study: Study, tmp_path: Path, tau: float, count: int
) -> None:
    """Action 0 starts at 2 s: the first predicted frame is shown then, whatever tau; 4 frames per second."""
    dataset = make_dataset(
        study, tmp_path, numbered(), future_frames=count, train_anticipation_time_sec=[tau, tau],
        random_horizontal_flip=False,
    )  # fmt: skip
    sample = dataset[0]
    assert isinstance(sample, Sample) and sample.future is not None and sample.future_known
    predicted = 2.0 + np.arange(count) / 4
    shown = np.concatenate([2.0 - np.arange(4 - count, 0, -1) / 4, predicted])
    assert np.abs(np.array(numbers_of(sample.future)) / 30 - shown).max() <= 0.5 / 30 + 1e-9
    observed = 2.0 - tau - 1 + np.arange(4) / 4
    assert np.abs(np.array(numbers_of(sample.video)) / 30 - np.maximum(observed, 0)).max() <= 0.5 / 30 + 1e-9


@pytest.mark.parametrize("data", [{}, {"auto_augment": True, "motion_shift": True, "reprob": 0.9}])
def test_nothing_of_the_future_enters_the_observation(study: Study, tmp_path: Path, data: dict[str, Any]) -> None:
    """With the loss or without it, and with all that follows the observation replaced by noise: no peeking ahead."""
    fixed = {"train_anticipation_time_sec": [1.0, 1.0], **data}
    spoilt_from = 60  # action 1 starts at 3 s, its observation ends at 2 s = frame 60
    plain = make_dataset(study, tmp_path, numbered(), future_frames=0, **fixed)[1]
    with_future = make_dataset(study, tmp_path, numbered(), future_frames=2, **fixed)[1]
    spoilt = make_dataset(study, tmp_path, numbered(spoilt_from), future_frames=2, **fixed)[1]
    assert isinstance(plain, Sample) and isinstance(with_future, Sample) and isinstance(spoilt, Sample)
    assert plain.future is None and with_future.future is not None and spoilt.future is not None
    assert torch.equal(plain.video, with_future.video) and torch.equal(plain.video, spoilt.video)
    assert "heatmap" in plain.heatmaps and "heatmap" in with_future.heatmaps
    assert torch.equal(plain.heatmaps["heatmap"], with_future.heatmaps["heatmap"])
    assert not torch.equal(with_future.future, spoilt.future)


def test_every_frame_is_decoded_once_and_validation_decodes_no_future(study: Study, tmp_path: Path) -> None:
    video = numbered()
    dataset = make_dataset(study, tmp_path, video, future_frames=2, train_anticipation_time_sec=[0.5, 0.5])
    assert isinstance(dataset[1], Sample)
    assert len(video.decoded) == len(set(video.decoded)) <= 8
    result = train(study.config(tmp_path / "run"), overrides=[JEPA, "experiment.optimization.num_epochs=1"])
    assert "train_future_missing" in result.metrics and "val_start_future_missing" not in result.metrics


def test_a_future_past_the_videos_end_is_counted_and_left_out(study: Study, tmp_path: Path) -> None:
    dataset = make_dataset(study, tmp_path, ArrayVideo(numbered().pixels[:91]), future_frames=2)
    known, unknown = dataset[0], dataset[1]  # actions at 2 s and 3 s; the video ends at 3.03 s
    assert isinstance(known, Sample) and isinstance(unknown, Sample) and unknown.future is not None
    assert known.future_known and known.counts["future_missing"] == 0
    assert not unknown.future_known and unknown.counts["future_missing"] == 1 and not unknown.future.any()
    assert collate([known, unknown]).future_known is not None


def test_the_loss_is_the_published_formula() -> None:
    """Written out in numpy: layer norm of the encoder's tokens without weights, then the mean absolute difference."""
    random = np.random.default_rng(0)
    predicted, future = random.normal(size=(2, 3, 5, 8)).astype(np.float32)
    mean, variance = future.mean(-1, keepdims=True), future.var(-1, keepdims=True)
    expected = np.abs(predicted - (future - mean) / np.sqrt(variance + 1e-5)).mean((1, 2))
    found = jepa_loss(torch.from_numpy(predicted), torch.from_numpy(future))
    assert np.allclose(found.numpy(), expected, atol=1e-6)


def test_targets_are_the_frozen_encoders_last_tokens(study: Study, tmp_path: Path) -> None:
    dataset = make_dataset(study, tmp_path, numbered(), future_frames=2)
    batch = collate([dataset[0], dataset[1]])
    wrapper = build_model(load_config(study.config(tmp_path))).wrapper
    found = encode_future(wrapper, batch, torch.device("cpu"))
    assert found is not None and batch.future is not None and not found.tokens.requires_grad
    assert found.tokens.shape == (2, 16, 24), "one time step of 4 x 4 cells"
    assert torch.equal(found.tokens, wrapper.encoder(batch.future)[:, -16:])


def test_the_predictor_trains_without_labels(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["experiment"]["optimization"]["losses"] = {"classification": 0, "jepa": 1}
    tiny["experiment"]["optimization"]["num_epochs"] = 6
    tiny["experiment"]["optimization"]["predictor_lr"] = 3e-3
    result = train(tiny)
    losses = [entry["train_jepa_loss"] for entry in lines(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < 0.9 * losses[0]
    state = final_state(tmp_path / "run")
    probe = build_probe_state(tiny)
    assert_same(state["learners"]["main"]["probe"], probe)
    assert result.best is not None and result.best["metric"] == "epoch" and result.best["epoch"] == 6
    fresh = build_model(load_config(tiny)).wrapper.predictor
    assert fresh is not None
    name = "predictor_proj.weight"
    assert not torch.equal(state["predictors"]["main"][name], fresh.state_dict()[name])


def build_probe_state(tiny: dict[str, Any]) -> Any:
    from gazetools.trainer.models.build import build_probe

    return build_probe(load_config(tiny), {"verb": 2, "noun": 2, "action": 3}, 24).state_dict()


def test_both_losses_add_up_and_an_interrupted_run_goes_on_to_the_bit(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    whole = train(tiny, overrides=[JEPA])
    # The loss of a step is that of the labels and that of the future.
    plain = train({**copy.deepcopy(tiny), "folder": str(tmp_path / "plain")})
    steps = [lines(tmp_path / name / "steps" / "epoch_0000.jsonl")[0]["loss"] for name in ("run", "plain")]
    assert 0.3 < steps[0] - steps[1] < 2.0, "an untrained predictor is about one layer-normed unit off"
    assert "train_jepa_loss" not in plain.metrics
    config = study.config(tmp_path / "stopped")
    stopped = train(config, overrides=[JEPA], progress=Listener(signal_after_steps=2))
    assert stopped.status == "interrupted"
    again = train(config, overrides=[JEPA])
    assert again.metrics == whole.metrics and again.metrics["train_jepa_loss"] > 0
    assert_same(final_state(tmp_path / "run")["predictors"], final_state(tmp_path / "stopped")["predictors"])


@pytest.mark.slow
def test_arms_with_the_loss_equal_their_runs_alone(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["arms"] = ["none", "estimated"]
    tiny["experiment"]["optimization"]["train"] = "heatmap"  # `none` then trains its probe only: no such loss there
    together = train(tiny, overrides=[JEPA])
    alone = train({**tiny, "arms": ["estimated"], "folder": str(tmp_path / "alone")}, overrides=[JEPA])
    assert together.metrics["estimated/train_jepa_loss"] == alone.metrics["train_jepa_loss"]
    assert "none/train_jepa_loss" not in together.metrics
    assert_same(
        final_state(tmp_path / "run")["predictors"]["estimated"],
        final_state(tmp_path / "alone")["predictors"]["estimated"],
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment.optimization.train=probe"], "no model trains it"),
        (["compat=vjepa2"], "exact times"),
        (["model_kwargs.wrapper_kwargs.num_steps=3"], "6 predicted frames .* do not fit .* frames_per_clip = 4"),
        (["experiment.optimization.losses.classification=0", "experiment.optimization.losses.jepa=0"], "nothing would"),
        (
            ["model_kwargs.wrapper_kwargs.no_predictor=true", "experiment.data.use_heatmap=false"],
            "needs the predictor",
        ),
    ],
)
def test_what_the_loss_cannot_be_is_said_before_any_work(
    tiny: dict[str, Any], overrides: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny, overrides=[JEPA, *overrides], dry_run=True)
