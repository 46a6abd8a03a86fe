"""Figures are made of the logits themselves, in float32: what no loss sees does not change them, NaN is never a hit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gazetools.trainer import train
from gazetools.trainer.folder.predictions import PredictionLog, Predictions
from gazetools.trainer.learn.metrics import MetricSet, TaskMetrics
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.report.compare import Comparison, hits_of
from gazetools.trainer.report.load import load_study
from tests.helpers.runs import lines

OFFSETS = [15.0, 20.0, -15.0, -90.0, -110.0, 1e4, -1e4]
"""Sigmoid scores in float32 lose half of the clips and more at 15, 20, -90 and -110."""
CLASSES = 40


def reference(scores: npt.NDArray[Any], label: npt.NDArray[Any], k: int = 5) -> dict[str, float]:
    """Top-1, top-k and class-mean recall@k in percent, clip by clip in float64; ties count against the model."""
    place = [sum(other >= row[c] for other in row) - 1 for row, c in zip(scores.astype(np.float64), label, strict=True)]
    hit = np.array(place) < k
    recalls = [hit[label == c].mean() for c in np.unique(label)]
    return {"top1": 100 * np.mean(np.array(place) == 0), "top5": 100 * hit.mean(), "recall5": 100 * np.mean(recalls)}


def drawn(*, exact: bool) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scores [400, 40], different within a clip; `exact`: multiples of 1/256, which float32 holds up to 65,536."""
    random = np.random.default_rng(3)
    scores = random.normal(0, 2, (400, CLASSES))
    if exact:
        scores = np.stack([random.choice(4096, CLASSES, replace=False) for _ in range(400)]) / 256 - 8
    label = np.where(random.random(400) < 0.5, scores.argmax(1), random.integers(0, CLASSES, 400))
    return scores.astype(np.float32), label


def measured(scores: npt.NDArray[np.float32], label: npt.NDArray[np.int64]) -> dict[str, float]:
    metrics = TaskMetrics(CLASSES)
    metrics.update(torch.tensor(scores), torch.tensor(label))
    return metrics.values()


def logged(scores: npt.NDArray[np.float32], label: npt.NDArray[np.int64]) -> dict[str, Any]:
    log = PredictionLog(top=5)
    log.add(range(len(label)), {"action": torch.tensor(scores)}, {"action": torch.tensor(label)})
    return log.rows[0]


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_common_offset_changes_nothing(offset: float) -> None:
    scores, label = drawn(exact=True)
    moved = scores + np.float32(offset)
    assert measured(scores, label) == pytest.approx(reference(scores, label))
    assert measured(moved, label) == measured(scores, label)
    before, after = logged(scores, label), logged(moved, label)
    for name in ("rank_action", "top_action"):
        assert (before[name] == after[name]).all(), name


@pytest.mark.parametrize("offset", OFFSETS)
def test_scores_that_float32_rounds_change_little(offset: float) -> None:
    scores, label = drawn(exact=False)
    for name, value in measured(scores + np.float32(offset), label).items():
        assert value == pytest.approx(reference(scores, label)[name], abs=0.5), name


@pytest.mark.parametrize("offset", [0.0, 15.0])
def test_the_probe_computes_logits_in_float32_under_bfloat16(offset: float) -> None:
    """In bfloat16 logits around 15 have steps of 1/16: most of 200 classes would be equal."""
    torch.manual_seed(0)
    probe = AttentiveClassifier(num_classes={"action": 200}, embed_dim=24, num_heads=2, depth=1).eval()
    tokens = torch.randn(32, 6, 24)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        plain = probe(tokens)["action"]
        probe.action_classifier.bias.add_(offset)
        found = probe(tokens)["action"]
    assert found.dtype == torch.float32
    assert all(len(row.unique()) > 190 for row in found)
    label = plain.argmax(1)
    metrics = TaskMetrics(200)
    metrics.update(found, label)
    assert metrics.values()["top1"] == 100


NAN = float("nan")
# (logits of a clip, its class, number of classes)
NOT_NUMBERS = [
    ([NAN] * 3, 1, 3),
    ([NAN, 9.0, 1.0], 1, 3),  # the class itself has the best number
    ([1.0, NAN, 0.0], 1, 3),
    ([NAN] * 12, 0, 12),
    ([12.0, 11.0, NAN, *map(float, range(9))], 0, 12),
]


@pytest.mark.parametrize(("row", "label", "classes"), NOT_NUMBERS)
def test_nan_is_no_hit_for_any_k(row: list[float], label: int, classes: int) -> None:
    """Neither in the metrics that choose the epoch nor in the report, also where k is above the number of classes."""
    metrics = MetricSet({"action": classes})
    logits, labels = {"action": torch.tensor([row])}, {"action": torch.tensor([label])}
    metrics.update(0.0, logits, labels)
    assert {value for name, value in metrics.values().items() if name.startswith("action_")} == {0.0}
    log = PredictionLog(top=classes)
    log.add([0], logits, labels)
    arrays = {**log.rows[0], "classes_action": np.arange(classes), "video": np.zeros(1, np.int32)}
    saved = Predictions(arrays=arrays, video_ids=["v"], train_video_ids=[])
    for k in (1, 3, 5, 50):
        assert hits_of(saved, "action", k).tolist() == [0.0], k
    numbers = [place for place, value in enumerate(row) if not math.isnan(value)]
    assert arrays["top_action"][0, : len(numbers)].tolist() == sorted(numbers, key=lambda place: -row[place])


def test_the_best_epoch_and_the_report_are_of_the_same_numbers(many: dict[str, Any], tmp_path: Path) -> None:
    """The value that chose the epoch is that of the report, to the last bit of the sums, for every model."""
    many["experiment"]["evaluation"] = {"held_out": 0}
    many["experiment"]["optimization"]["num_epochs"] = 3
    many["arms"] = ["none", "estimated"]
    train(many)
    history = {entry["epoch"]: entry for entry in lines(tmp_path / "run" / "metrics.jsonl")}
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    study = load_study([tmp_path / "run"])
    comparison = Comparison(study=study, k=3)
    for model in study.models:
        epoch, metric = model.chosen_by["epoch"], model.chosen_by["metric"]
        assert metric == "val_start_action_recall3"  # three actions, so that k is 3
        assert history[epoch][f"{model.name}/{metric}"] == model.chosen_by["value"]
        best = max(entry[f"{model.name}/{metric}"] for entry in history.values())
        assert model.chosen_by["value"] == best
        for task, k in (("action", 3), ("verb", 2), ("noun", 2)):
            final = document["final"][model.name]["val_start"][f"{task}_recall{k}"]
            assert final == history[epoch][f"{model.name}/val_start_{task}_recall{k}"]
            reported = comparison.recall([model], "val_start", task, k=k).value
            assert reported == pytest.approx(final, abs=1e-9), (model.name, task)
