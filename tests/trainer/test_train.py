"""`train` end to end on a small study: learning, counting, weights, and what a run leaves."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.trainer import train
from gazetools.trainer.folder.checkpoints import load_checkpoint
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.models.build import read_checkpoint
from gazetools.trainer.models.keys import to_upstream
from gazetools.trainer.plan.config import load_config
from tests.helpers.models import build_model
from tests.helpers.runs import Listener, assert_same, final_state, lines
from tests.trainer.conftest import Study
from tests.trainer.test_data import make_dataset

STEPS_PER_EPOCH = 3


def test_a_run_leaves_metrics_checkpoints_and_a_result(tiny: dict[str, Any], tmp_path: Path) -> None:
    listener = Listener()
    result = train(tiny, progress=listener)
    folder = tmp_path / "run"
    assert (result.status, result.epochs_done, result.steps_done) == ("done", 2, 2 * STEPS_PER_EPOCH)
    entries = lines(folder / "metrics.jsonl")
    assert [entry["epoch"] for entry in entries] == [1, 2]
    for name in ("train_loss", "val_start_loss", "lr_heatmap", "train_heatmap_missing", "val_start_action_top1"):
        assert name in entries[0], name
    assert entries[0]["val_start_clips"] == 5, "every clip once"
    assert entries[0]["train_heatmap_missing"] == 1 and entries[0]["val_start_heatmap_missing"] == 1
    assert {"val_start_verb_recall2", "val_start_noun_recall2", "val_start_action_recall3"} <= set(entries[0])
    assert (folder / "metrics.csv").read_text().count("\n") == 3
    written = json.loads((folder / "result.json").read_text())
    assert written["random_weights"] is True and written["best"]["metric"] == "val_start_action_recall3"
    assert written["data"]["train"]["heatmap_coverage"] == pytest.approx(0.8)
    steps = lines(folder / "steps" / "epoch_0001.jsonl")
    assert [step["step"] for step in steps] == [4, 5, 6]
    assert any("RANDOM WEIGHTS" in line for line in listener.said)
    assert any("heatmap coverage 80.0 %" in line for line in listener.said)
    assert any("anchor: start" in line for line in listener.said)
    title, columns, rows = listener.tables[-1]
    assert (title, len(listener.tables), columns[0]) == ("epoch 2", 2, "model")
    last, best = entries[-1], written["best"]
    assert rows == [
        [
            "main",
            f"{last['train_loss']:.4f}",
            f"{last['val_start_loss']:.4f}",
            f"{last['val_start_action_recall3']:.2f}",
            f"{best['value']:.2f} (epoch {best['epoch']})",
        ]
    ]
    labels = final_state(folder)["labels"]
    assert labels == {"verb": [0, 4], "noun": [3, 7], "action": [[0, 3], [0, 7], [4, 3]]}


def test_training_lowers_the_loss_and_moves_only_what_trains(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["experiment"]["optimization"] |= {"num_epochs": 12, "train": "heatmap", "multihead_kwargs": [{"lr": 3e-3}]}
    tiny["experiment"]["data"] |= {"random_resize_scale": [1.0, 1.0], "random_horizontal_flip": False}
    before = build_model(load_config(tiny)).wrapper.predictor
    assert before is not None
    start = {key: value.clone() for key, value in before.state_dict().items()}
    train(tiny)
    entries = lines(tmp_path / "run" / "metrics.jsonl")
    assert entries[-1]["train_loss"] < 0.7 * entries[0]["train_loss"]
    after = final_state(tmp_path / "run")["predictors"]["main"]
    for key, value in start.items():
        assert torch.equal(value, after[key]) is not key.startswith("heatmap_tokens."), key


def test_another_seed_gives_other_weights(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    train(tiny)
    train(study.config(tmp_path / "other"), overrides=["seed=1"])
    first, second = (
        final_state(tmp_path / name)["learners"]["main"]["probe"]["pooler.query_tokens"] for name in ("run", "other")
    )
    assert not torch.equal(first, second)


def test_unreadable_clips_stop_the_run_or_are_counted_within_the_budget(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    for video_id in ("P01_01", "P01_02"):  # too short for the later actions of P01_02
        np.savez(maps / f"{video_id}.npz", heatmap=np.zeros((150 if video_id == "P01_01" else 90, 4, 4), np.float32))
    tiny["experiment"]["data"]["heatmap_base_path"] = str(maps)
    with pytest.raises(UsageError, match="could not be read, 0 allowed"):
        train(tiny)
    result = train(tiny, overrides=["experiment.data.max_unreadable_clips=2", f"folder={tmp_path / 'second'}"])
    assert result.metrics["train_unreadable"] == 2 and result.metrics["train_clips"] == 3
    assert result.metrics["val_start_unreadable"] == 2 and result.metrics["val_start_clips"] == 3


def test_a_config_for_the_v_jepa_2_tree_is_validated_under_both_anchors(tiny: dict[str, Any]) -> None:
    tiny["experiment"]["data"]["train_anticipation_point"] = [0.0, 0.25]
    tiny["experiment"]["optimization"]["num_epochs"] = 1
    result = train(tiny)
    assert {"val_start_loss", "val_end_loss"} <= set(result.metrics)
    assert "both anchors" in result.anchor_rule
    assert set(result.data["validation"]) == {"start", "end"}


def test_without_heatmaps_it_is_v_jepa_2s_probe(tiny: dict[str, Any]) -> None:
    tiny["experiment"]["data"] |= {"use_heatmap": False}
    del tiny["experiment"]["optimization"]["train"]
    tiny["experiment"]["optimization"] |= {"num_epochs": 1, "use_focal_loss": False}
    result = train(tiny)
    assert result.model["train"] == "probe" and result.model["heatmap_tokens"] == 0
    assert result.model["trained_parameters"] == result.model["probe_parameters"]


def test_pretrained_weights_load_strictly_and_give_what_the_config_leaves_out(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    settings = load_config(tiny, ["model_kwargs.pretrain_kwargs.predictor.num_mask_tokens=3"])
    wrapper = build_model(settings).wrapper
    assert wrapper.predictor is not None
    predictor = {k: v for k, v in wrapper.predictor.state_dict().items() if not k.startswith("heatmap_tokens.")}
    checkpoint = {
        "target_encoder": {f"module.backbone.{k}": v for k, v in to_upstream_encoder(wrapper).items()},
        "predictor": {f"module.backbone.{k}": v for k, v in to_upstream(predictor).items()},
        "epoch": 3,
    }
    path = tmp_path / "vitx.pt"
    torch.save(checkpoint, path)
    tiny["model_kwargs"]["checkpoint"] = str(path)
    del tiny["model_kwargs"]["pretrain_kwargs"]["predictor"]["predictor_embed_dim"]
    del tiny["model_kwargs"]["pretrain_kwargs"]["predictor"]["depth"]
    built = build_model(load_config(tiny))
    assert built.wrapper.predictor is not None and len(built.wrapper.predictor.mask_tokens) == 3
    assert_same(wrapper.encoder.state_dict(), built.wrapper.encoder.state_dict())
    for key, value in predictor.items():
        assert torch.equal(built.wrapper.predictor.state_dict()[key], value), key
    assert not built.random_weights
    del checkpoint["predictor"]["module.backbone.predictor_norm.weight"]
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"predictor_norm\.weight"):
        build_model(load_config(tiny))
    with pytest.raises(CheckpointError, match="checkpoint_key"):
        build_model(load_config(tiny, ["model_kwargs.pretrain_kwargs.encoder.checkpoint_key=encoder"]))


def to_upstream_encoder(wrapper: Any) -> dict[str, torch.Tensor]:
    return to_upstream(wrapper.encoder.state_dict())


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacksError, match="does not exist") as caught:
        read_checkpoint(tmp_path / "vitl.pt")
    assert int(caught.value.exit_code) == 3
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "bad.pt")


def test_heatmap_weights_get_gradients_in_the_loop(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}
    original = Loop._train_step

    def spy(self: Loop, batches: Any) -> None:
        original(self, batches)
        wrapper = self.trunks[0].wrapper
        assert wrapper.predictor is not None and wrapper.predictor.heatmap_tokens is not None
        for name, parameter in wrapper.predictor.heatmap_tokens.named_parameters():
            assert parameter.grad is not None
            seen[name] = max(seen.get(name, 0.0), float(parameter.grad.abs().max()))
        assert all(p.grad is None for p in wrapper.encoder.parameters())

    monkeypatch.setattr(Loop, "_train_step", spy)
    train(tiny, overrides=["experiment.optimization.num_epochs=1"])
    assert set(seen) == {f"scales.0.{name}" for name in ("embed.weight", "embed.bias", "modality")}
    assert min(seen.values()) > 0


def test_datasets_filled_from_the_future_are_refused_unless_allowed(tiny: dict[str, Any], tmp_path: Path) -> None:
    dataset = tmp_path / "packed"
    dataset.mkdir()
    entries = {}
    for video_id in ("P01_01", "P01_02"):
        np.savez(
            dataset / f"{video_id}.npz",
            heatmap=np.ones((150, 4, 4), np.float16),
            valid=np.ones(150, bool),
            inout=np.ones(150, np.float32),
            pts_seconds=np.arange(150) / 30,
        )
        entries[video_id] = {
            "file": f"{video_id}.npz", "T": 150, "H": 4, "W": 4, "dtype": "float16", "normalisation": "none",
            "people": "max", "valid_frames": 150, "sha256": "0" * 64, "bytes": 1, "source_sha256": "0" * 64,
            "options_key": "k", "uses_future": True, "provenance": {},
        }  # fmt: skip
    manifest = {
        "schema_name": "gazetools.dataset", "schema_version": 1, "tool_version": "0", "layout": "npz", "options": {},
        "videos": entries,
    }  # fmt: skip
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    override = [f"experiment.data.heatmap_base_path={dataset}", "experiment.optimization.num_epochs=1"]
    with pytest.raises(UsageError, match="show the future"):
        train(tiny, overrides=override)
    assert train(tiny, overrides=[*override, "experiment.data.allow_future=true"]).status == "done"


def test_a_dataset_travels_to_worker_processes(study: Study, tmp_path: Path) -> None:
    dataset = make_dataset(study, tmp_path, training=True)
    first = dataset[0]
    copied = pickle.loads(pickle.dumps(dataset))[0]
    assert torch.equal(first.video, copied.video) and torch.equal(first.heatmaps["heatmap"], copied.heatmaps["heatmap"])


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    one_epoch = ["experiment.optimization.num_epochs=1", "experiment.data.max_train_clips=2"]
    alone = train(tiny, overrides=one_epoch)
    workers = train(study.config(tmp_path / "workers"), overrides=[*one_epoch, "experiment.data.num_workers=1"])
    assert alone.metrics == workers.metrics
    assert load_checkpoint(Path(workers.checkpoint or ""))["position"]["global_step"] == 1
