"""Preprocessing against recordings of the public transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazetools.gazemodels.gazelle.preprocess import IMAGENET_STD, preprocess
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("gazelle_preprocess")

EXACT_ATOL = 1e-4
FAST_ATOL = 1.01 / 255 / min(IMAGENET_STD)


def cases(golden: Golden) -> list[tuple[torch.Tensor, torch.Tensor, tuple[int, int]]]:
    return [
        (golden.tensors[case["image"]], golden.tensors[case["output"]], tuple(case["in_size"]))
        for case in golden.spec["cases"]
    ]


def test_exact(golden: Golden) -> None:
    for image, expected, in_size in cases(golden):
        torch.testing.assert_close(preprocess(image[None], in_size)[0], expected, atol=EXACT_ATOL, rtol=0.0)


def test_exact_in_a_batch_and_from_a_view(golden: Golden) -> None:
    for image, expected, in_size in cases(golden):
        view = torch.from_numpy(np.ascontiguousarray(image.numpy()[:, ::-1]))[None].flip(2).expand(3, -1, -1, -1)
        for row in preprocess(view, in_size):
            torch.testing.assert_close(row, expected, atol=EXACT_ATOL, rtol=0.0)


def test_fast_is_within_one_level(golden: Golden) -> None:
    for image, expected, in_size in cases(golden):
        fast = preprocess(image[None], in_size, kind="fast")[0]
        torch.testing.assert_close(fast, expected, atol=FAST_ATOL, rtol=0.0)
        assert (fast - expected).abs().mean() < FAST_ATOL / 3
