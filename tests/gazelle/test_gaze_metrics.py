"""Gaze metrics beyond the recordings: undefined cases, refusals, other containers, a missing scikit-learn."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from gazetools.metrics.gaze import (
    gazefollow_auc,
    gazefollow_l2,
    inout_average_precision,
    predicted_point,
    target_heatmap,
    vat_auc,
    vat_l2,
)
from gazetools.schemas.errors import EnvironmentLacksError, UsageError


def ranked_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties counting half: another way to the same area."""
    p, n = scores[positive], scores[~positive]
    return float(((p[:, None] > n).sum() + 0.5 * (p[:, None] == n).sum()) / (len(p) * len(n)))


def test_vat_auc_is_the_share_of_ordered_pairs() -> None:
    scores = np.random.default_rng(0).integers(0, 20, (64, 64)).astype(np.float32)
    positive = np.zeros((64, 64), bool)
    positive[int(0.8 * 64 - 9) : 61, int(0.3 * 64 - 9) : int(0.3 * 64 + 10)] = True
    assert vat_auc(scores, 0.3, 0.8) == pytest.approx(ranked_auc(positive, scores), abs=1e-12)


def test_a_perfect_and_an_opposite_map() -> None:
    good = target_heatmap(0.5, 0.25)
    assert vat_auc(good, 0.5, 0.25) > 0.99 and vat_auc(1 - good, 0.5, 0.25) < 0.01
    assert vat_auc(np.ones((64, 64)), 0.5, 0.25) == 0.5
    assert vat_l2(good, 0.5, 0.25) == 0
    assert gazefollow_l2(good, [0.5, 0.5], [0.25, 0.5]) == (0.125, 0.0)
    assert gazefollow_auc(good, [0.5], [0.25], height=120, width=90) > 0.99


def test_tensors_arrays_and_half_precision_agree() -> None:
    scores = np.random.default_rng(1).random((64, 64)).astype(np.float32)
    expected = vat_auc(scores, 0.5, 0.5)
    assert vat_auc(torch.from_numpy(scores), 0.5, 0.5) == expected
    half = scores.astype(np.float16)
    assert gazefollow_auc(half, [0.5], [0.5], height=64, width=64) == pytest.approx(
        gazefollow_auc(scores, [0.5], [0.5], height=64, width=64), abs=1e-3
    )


def test_undefined_areas_are_nan() -> None:
    scores = np.random.default_rng(1).random((64, 64))
    assert math.isnan(gazefollow_auc(scores, [-1, -1], [-1, -1], height=50, width=60))
    assert math.isnan(vat_auc(scores, 1.2, 0.5))


def test_predicted_point_of_a_non_square_map() -> None:
    scores = np.zeros((10, 40))
    scores[7, 30] = scores[8, 3] = 1
    assert predicted_point(scores) == (0.75, 0.7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vat_auc(np.zeros((32, 32)), 0.5, 0.5), r"64x64 maps, not \[32, 32\]"),
        (lambda: vat_l2(np.full((64, 64), np.nan), 0.5, 0.5), "NaN"),
        (lambda: gazefollow_l2(np.zeros((1, 64, 64)), [0.5], [0.5]), r"\[h, w\]"),
        (lambda: gazefollow_l2(np.zeros((64, 64)), [0.5], []), "1 and 0 values"),
        (lambda: gazefollow_auc(np.zeros((64, 64)), [], [], height=9, width=9), "0 and 0 values"),
        (lambda: target_heatmap(0.5, 0.5, sigma=0), "sigma=0"),
        (lambda: target_heatmap(0.5, 0.5, kind="box"), "kind='box'"),  # type: ignore[arg-type]
    ],
)
def test_refusals(call: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()  # type: ignore[operator]


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(EnvironmentLacksError, match=r"pip install 'gazetools\[evaluate\]'"):
        inout_average_precision([0, 1], [0.2, 0.8])
    assert vat_auc(np.zeros((64, 64)), 0.5, 0.5) == 0.5, "areas are counted here"
    assert vat_l2(np.zeros((64, 64)), 0.0, 0.0) == 0
