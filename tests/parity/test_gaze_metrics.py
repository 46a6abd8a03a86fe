"""Gaze metrics and target heatmaps against recordings of the public evaluation code."""

from __future__ import annotations

import pytest

from gazetools.metrics.gaze import (
    gazefollow_auc,
    gazefollow_l2,
    inout_average_precision,
    target_heatmap,
    vat_auc,
    vat_l2,
)
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("gaze_metrics")


def test_gazefollow(golden: Golden) -> None:
    """The trap cases included: an annotator out of the frame counts in L2 as upstream has it."""
    for case in golden.spec["cases"]:
        truth, heatmap = case["gazefollow"], golden.tensors["heatmaps"][case["heatmap_index"]]
        auc = gazefollow_auc(
            heatmap, truth["gt_x"], truth["gt_y"], height=truth["height"], width=truth["width"]
        )  # fmt: skip
        average, minimum = gazefollow_l2(heatmap, truth["gt_x"], truth["gt_y"])
        assert auc == pytest.approx(truth["auc"], abs=1e-6), case
        assert average == pytest.approx(truth["avg_l2"], abs=1e-9), case
        assert minimum == pytest.approx(truth["min_l2"], abs=1e-9), case


def test_video_attention_target(golden: Golden) -> None:
    for case in golden.spec["cases"]:
        truth, heatmap = case["vat"], golden.tensors["heatmaps"][case["heatmap_index"]]
        assert vat_auc(heatmap, truth["gt_x"], truth["gt_y"]) == pytest.approx(truth["auc"], abs=1e-9), case
        assert vat_l2(heatmap, truth["gt_x"], truth["gt_y"]) == pytest.approx(truth["l2"], abs=1e-9), case


def test_target_heatmaps(golden: Golden) -> None:
    points = [(p, golden.tensors["target_heatmaps"][p["index"]]) for p in golden.spec["heatmap_points"]]
    points += [(p, golden.tensors[p["tensor"]]) for p in golden.spec["heatmap_extra"]]
    for point, expected in points:
        made = target_heatmap(
            point["x"], point["y"], height=point["height"], width=point["width"],
            sigma=point["sigma"], kind=point["htype"].lower(),
        )  # fmt: skip
        assert made == pytest.approx(expected.numpy(), abs=1e-6), point


def test_inout_average_precision(golden: Golden) -> None:
    for case in golden.spec["inout_ap"]:
        ours = inout_average_precision(case["inout_gt"], case["inout_pred"])
        assert ours == pytest.approx(case["average_precision"], abs=1e-9)
