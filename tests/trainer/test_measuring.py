"""What a run measures: held-out choice, horizons, predictions that agree with the metrics, probes evaluated alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.annotations.segments import read_segments
from gazetools.metrics.ranks import ranks
from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.trainer import train
from gazetools.trainer.data.labels import LabelSpace
from gazetools.trainer.folder.predictions import read_predictions
from gazetools.trainer.models.build import build_probe
from gazetools.trainer.plan.config import load_config
from tests.helpers.runs import Listener, lines
from tests.trainer.conftest import Study


def test_the_best_epoch_is_chosen_on_held_out_videos_and_both_numbers_are_shown(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["experiment"]["evaluation"] = {"held_out": 0.3}
    result = train(tiny)
    assert result.best is not None and result.best["metric"].startswith("held_out_action_recall")
    assert result.data["train"]["clips"] + result.data["held_out"]["clips"] == 5
    assert {"held_out", "val_start"} == set(result.final["main"])
    chosen = next(e for e in lines(tmp_path / "run" / "metrics.jsonl") if e["epoch"] == result.best["epoch"])
    assert result.final["main"]["val_start"]["action_top1"] == chosen["val_start_action_top1"]
    assert result.final["main"]["held_out"]["action_top1"] == chosen["held_out_action_top1"]
    with pytest.raises(UsageError, match="held_out=0"):
        train({**tiny, "folder": str(tmp_path / "one")}, overrides=["experiment.data.max_train_clips=1"])


def test_the_last_epoch_counts_where_the_config_says_so(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Its figures are those at the end, and no held-out videos are needed for an honest one."""
    tiny["experiment"]["evaluation"] = {"choose": "last", "held_out": 0}
    tiny["experiment"]["optimization"]["num_epochs"] = 3
    listener = Listener()
    result = train(tiny, progress=listener)
    assert result.best is not None and (result.best["metric"], result.best["epoch"]) == ("epoch", 3)
    last = lines(tmp_path / "run" / "metrics.jsonl")[-1]
    assert result.final["main"]["val_start"]["loss"] == pytest.approx(last["val_start_loss"], rel=1e-6)
    assert not any("held_out=0" in line for line in listener.said), "nothing was chosen on validation"
    other = train({**tiny, "folder": str(tmp_path / "best")}, overrides=["experiment.evaluation.choose=best"])
    assert other.best is not None and other.best["metric"].startswith("val_start_action_recall")
    assert "choose" not in other.config["experiment"]["evaluation"], "configs without the key stay as they were"


def test_horizons_measure_the_same_clips_and_beyond_the_reach_is_exit_2(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["experiment"]["evaluation"] = {"held_out": 0, "horizons": [1.5, 0.25]}
    tiny["experiment"]["optimization"]["num_epochs"] = 1
    listener = Listener()
    result = train(tiny, progress=listener)
    assert listener.tasks == [
        "epoch 1/1 train", "epoch 1 validation (start)", "chosen weights validation (start)",
        "chosen weights horizon 0.25 s (start)", "chosen weights horizon 1.5 s (start)",
    ]  # fmt: skip
    found = {key: value for key, value in result.final["main"].items() if key.startswith("horizon")}
    assert list(found) == ["horizon_0.25", "horizon_1.5"]
    files = [read_predictions(tmp_path / "run" / "predictions" / "main" / f"{key}.npz") for key in found]
    assert files[0].arrays["clip"].tolist() == files[1].arrays["clip"].tolist() == [0, 1, 2, 3, 4]
    assert not np.array_equal(files[0].arrays["score_action"], files[1].arrays["score_action"])
    with pytest.raises(UsageError, match=r"predictor\.num_frames="):
        train(tiny, overrides=["experiment.evaluation.horizons=[3.75]", f"folder={tmp_path / 'far'}"])
    with pytest.raises(UsageError, match="horizons"):
        train(
            tiny,
            overrides=["experiment.evaluation.horizons=[5.0]", "model_kwargs.pretrain_kwargs.predictor.num_frames=64"],
        )


def test_predictions_agree_with_the_metrics(many: dict[str, Any], tmp_path: Path) -> None:
    many["arms"] = ["estimated"]
    result = train(many)
    for name, splits in result.final.items():
        for split, values in splits.items():
            found = read_predictions(tmp_path / "run" / "predictions" / name / f"{split}.npz")
            assert found.tasks == ["verb", "noun", "action"]
            for task in found.tasks:
                top1 = 100 * float(np.mean(found.arrays[f"rank_{task}"] == 0))
                assert top1 == pytest.approx(values[f"{task}_top1"])
            assert len(found.arrays["clip"]) == values["clips"]
            assert set(found.video_ids) <= {"P01_01", "P01_02", "P02_01"}


def test_ranks_with_ties_never_flatter() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 5.0, 5.0]])
    assert ranks(scores, torch.tensor([1, 0, 1])).tolist() == [1, 2, 1]
    assert ranks(scores, torch.tensor([0, 7, 0])).tolist() == [0, 3, 2], "a class that training lacks is never right"


def test_released_probes_are_imported_strictly(study: Study, tiny: dict[str, Any], tmp_path: Path) -> None:
    labels = LabelSpace.of(read_segments(study.root / "actions.csv"))
    tiny["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": 1e-3}, {"lr": 1e-4}]
    config = load_config(tiny)
    probes = [build_probe(config, labels.counts, 24, seed=seed) for seed in (7, 8)]
    path = tmp_path / "probes.pt"
    states = [{f"module.{key}": value for key, value in probe.state_dict().items()} for probe in probes]
    torch.save({"classifiers": states, "epoch": 20}, path)
    override = ["val_only=true", f"classifier_checkpoint={path}", "resume_checkpoint=false"]
    result = train(tiny, overrides=override)
    assert set(result.final) == {"main.h0", "main.h1"} and any("another order" in note for note in result.notes)
    single = train(tiny, overrides=[*override, "experiment.optimization.head=1", f"folder={tmp_path / 'one'}"])
    assert single.final["main"]["val_start"]["loss"] == result.final["main.h1"]["val_start"]["loss"]
    del states[0]["module.verb_classifier.weight"]
    torch.save({"classifiers": states}, path)
    with pytest.raises(CheckpointError, match=r"verb_classifier\.weight"):
        train(tiny, overrides=override)
    with pytest.raises(UsageError, match=r"multihead_kwargs|entries"):
        train(tiny, overrides=[*override, "experiment.optimization.head=2"])


def test_best_weights_of_every_arm_are_evaluated_alone(many: dict[str, Any], tmp_path: Path) -> None:
    many["arms"] = ["none", "estimated"]
    trained = train(many)
    again = train(
        many,
        overrides=["val_only=true", f"classifier_checkpoint={tmp_path / 'run'}", f"folder={tmp_path / 'val'}"],
        resume=False,
    )
    for name, splits in trained.final.items():
        assert again.final[name]["val_start"] == splits["val_start"]
