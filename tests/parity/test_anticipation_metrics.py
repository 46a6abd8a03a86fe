"""Class-mean recall, focal loss and schedules against recorded numbers of V-JEPA 2's own code."""

from __future__ import annotations

import pytest
import torch

from gazetools.trainer.learn.losses import sigmoid_focal_loss
from gazetools.trainer.learn.metrics import TaskMetrics
from gazetools.trainer.learn.schedules import Schedule
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("anticipation_metrics")

PERCENT_ATOL = 1e-3
FOCAL_RTOL, FOCAL_GRADIENT_ATOL = 1e-6, 5e-6
SCHEDULE_ATOL = 1e-12


def test_class_mean_recall_and_accuracy_after_every_batch(golden: Golden) -> None:
    assert golden.spec["class_mean_recall"]
    for case in golden.spec["class_mean_recall"]:
        metrics = TaskMetrics(case["num_classes"], k=case["k"], valid_classes=case["valid_classes"])
        prefix = case["prefix"]
        for number, expected in enumerate(case["batches"]):
            metrics.update(golden.tensors[f"{prefix}logits{number}"], golden.tensors[f"{prefix}labels{number}"])
            values = metrics.values()
            ending = metrics.k if metrics.k < 5 else 5
            assert values[f"recall{ending}"] == pytest.approx(expected["recall"], abs=PERCENT_ATOL), (prefix, number)
            assert values[f"top{ending}"] == pytest.approx(expected["accuracy"], abs=PERCENT_ATOL), (prefix, number)
        assert torch.equal(metrics.counted.hits.float(), golden.tensors[f"{prefix}TP"])
        assert torch.equal((metrics.counted.totals - metrics.counted.hits).float(), golden.tensors[f"{prefix}FN"])


def test_focal_loss_and_its_gradient(golden: Golden) -> None:
    assert golden.spec["focal"]
    for case in golden.spec["focal"]:
        prefix = case["prefix"]
        logits = golden.tensors[f"{prefix}inputs"].clone().requires_grad_()
        settings = {name: case[name] for name in ("alpha", "gamma", "reduction")}
        loss = sigmoid_focal_loss(logits, golden.tensors[f"{prefix}targets"], **settings)
        torch.testing.assert_close(loss.detach(), golden.tensors[f"{prefix}loss"], rtol=FOCAL_RTOL, atol=1e-9)
        # Recorded for the sum over batch and classes, whatever the case's own reduction.
        sigmoid_focal_loss(logits, golden.tensors[f"{prefix}targets"], **{**settings, "reduction": "sum"}).backward()
        gradient = golden.tensors[f"{prefix}grad_of_sum"]
        torch.testing.assert_close(logits.grad, gradient, atol=FOCAL_GRADIENT_ATOL, rtol=0, msg=prefix)


def test_learning_rate_and_weight_decay_of_every_step(golden: Golden) -> None:
    assert golden.spec["schedules"]
    for case in golden.spec["schedules"]:
        schedule = Schedule(
            total_steps=case["T_max"],
            warmup_steps=case["warmup_steps"],
            start_lr=case["start_lr"],
            peak_lr=case["ref_lr"],
            final_lr=case["final_lr"],
            weight_decay=case["ref_wd"],
            final_weight_decay=case["final_wd"],
        )
        assert case["warmup_steps"] == int(case["warmup"] * case["ipe"])
        for step, (lr, decay) in enumerate(zip(case["lr"], case["weight_decay"], strict=True), start=1):
            assert schedule.lr(step) == pytest.approx(lr, abs=SCHEDULE_ATOL, rel=0), step
            assert schedule.decay(step) == pytest.approx(decay, abs=SCHEDULE_ATOL, rel=0), step
