"""Losses, metrics, schedules and checkpoints against independent references and injected damage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.schemas.errors import CheckpointError, FaultError
from gazetools.trainer.folder.checkpoints import (
    best_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    save_best,
    save_checkpoint,
)
from gazetools.trainer.learn.losses import CrossEntropyLoss, sigmoid_focal_loss, task_loss
from gazetools.trainer.learn.metrics import MetricSet, TaskMetrics
from gazetools.trainer.learn.schedules import Schedule


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (-1.0, 2.0), (0.25, 0.0), (0.75, 1.5)])
def test_focal_loss_against_its_formula_in_numpy(alpha: float, gamma: float) -> None:
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(5, 7)) * 3, np.array([0, 6, 3, 3, 1])
    p = 1 / (1 + np.exp(-logits))
    positive = np.eye(7, dtype=bool)[targets]
    p_t = np.where(positive, p, 1 - p)
    weight = 1.0 if alpha < 0 else np.where(positive, alpha, 1 - alpha)
    expected = -weight * (1 - p_t) ** gamma * np.log(p_t)
    loss = sigmoid_focal_loss(torch.tensor(logits), torch.tensor(targets), alpha=alpha, gamma=gamma, reduction="none")
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-9)


def test_task_losses_are_added() -> None:
    logits = {"verb": torch.randn(3, 4), "action": torch.randn(3, 6)}
    labels = {"verb": torch.tensor([0, 1, 2]), "action": torch.tensor([5, 0, 1])}
    expected = sum(torch.nn.functional.cross_entropy(logits[t], labels[t]) for t in logits)
    assert float(task_loss(CrossEntropyLoss(), logits, labels)) == pytest.approx(float(expected))


def test_recall_and_accuracy_against_a_loop_over_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    metrics = TaskMetrics(12)
    hits: dict[int, list[bool]] = {}
    first: list[bool] = []
    for _ in range(4):
        logits = torch.randn(9, 12, generator=generator)
        labels = torch.randint(0, 8, (9,), generator=generator)  # classes 8..11 never occur and must not count
        metrics.update(logits, labels)
        for row, label in zip(logits, labels.tolist(), strict=True):
            best = sorted(range(12), key=lambda c, r=row: -float(r[c]))
            hits.setdefault(label, []).append(label in best[:5])
            first.append(best[0] == label)
    values = metrics.values()
    assert values["recall5"] == pytest.approx(100 * np.mean([np.mean(h) for h in hits.values()]))
    assert values["top5"] == pytest.approx(100 * np.mean([x for h in hits.values() for x in h]))
    assert values["top1"] == pytest.approx(100 * np.mean(first))


def test_metrics_go_on_from_a_saved_state() -> None:
    def batch(seed: int) -> tuple[float, dict[str, Any], dict[str, Any]]:
        generator = torch.Generator().manual_seed(seed)
        return 1.5, {"action": torch.randn(4, 6, generator=generator)}, {"action": torch.tensor([0, 1, 2, 3])}

    whole, first = MetricSet({"action": 6}), MetricSet({"action": 6})
    whole.update(*batch(0))
    first.update(*batch(0))
    second = MetricSet({"action": 6})
    second.add(first.state())
    for metrics in (whole, second):
        metrics.update(*batch(1))
    assert whole.values() == second.values()


def test_schedule_values() -> None:
    schedule = Schedule(
        total_steps=10, warmup_steps=2, start_lr=0.1, peak_lr=1.0, final_lr=0.0, weight_decay=0.4,
        final_weight_decay=0.0,
    )  # fmt: skip
    assert schedule.lr(1) == pytest.approx(0.55)  # half way through the warm-up
    assert schedule.lr(2) == pytest.approx(1.0)
    assert schedule.lr(6) == pytest.approx(0.5)  # the cosine's middle
    assert schedule.lr(10) == pytest.approx(0.0)
    assert schedule.decay(5) == pytest.approx(0.2)
    assert all(math.isfinite(schedule.lr(step)) for step in range(1, 30))


def state(value: float) -> dict[str, Any]:
    return {"format": "gazetools.training", "weights": torch.full((3,), value)}


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, state(step), step=step)
        if step == 2:
            save_best(tmp_path, "main", state(step), step=step)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step-000000005-5",
        "step-000000004-4",
    ]
    best = best_checkpoint(tmp_path, "main")
    assert best is not None and float(load_checkpoint(best)["weights"][0]) == 2.0


@pytest.mark.parametrize("damage", ["flip", "truncate", "no state", "no manifest"])
def test_a_broken_last_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, state(1.0), step=1)
    last = save_checkpoint(tmp_path, state(2.0), step=2)
    file = last / "state.pt"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[:100])
    else:
        (file if damage == "no state" else last / "manifest.json").unlink()
    found = load_latest(tmp_path)
    assert found is not None and float(found.state["weights"][0]) == 1.0
    assert len(found.rejected) == 1 and str(last) in found.rejected[0]


def test_only_broken_checkpoints_are_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    path = save_checkpoint(tmp_path, state(1.0), step=1)
    (path / "state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="Every checkpoint"):
        load_latest(tmp_path)


def test_a_failed_save_leaves_the_older_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, state(1.0), step=1)

    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(FaultError, match="No space left"):
        save_checkpoint(tmp_path, state(2.0), step=2)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("step")] == ["step-000000001-1"]
    found = load_latest(tmp_path)
    assert found is not None and float(found.state["weights"][0]) == 1.0


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = save_checkpoint(tmp_path, {"format": "gazetools.training", "x": Evil()}, step=1)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()
