"""When two number types give the same gaze, and which one is chosen by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.extraction.model.agreement import agreement, peak_distance
from gazetools.extraction.model.batches import BatchResult
from gazetools.extraction.model.number_types import TypeComparison
from gazetools.gazemodels.devices import products_in
from gazetools.schemas.precision import LEAST_ROWS, TypeAgreement


def peaked(row: int, column: int, *, height: float = 0.9, base: float = 0.1) -> np.ndarray[Any, np.dtype[np.float16]]:
    heatmap = np.full((64, 64), base, np.float16)
    heatmap[row, column] = height
    return heatmap


def two_peaks(first: float, second: float) -> np.ndarray[Any, np.dtype[np.float16]]:
    heatmap = peaked(10, 10, height=first)
    heatmap[10, 30] = second
    return heatmap


PEAKS = [
    (peaked(5, 5), peaked(5, 5), 0, "the same cell"),
    (peaked(5, 5), peaked(6, 6), 1, "the diagonal neighbour is one cell away"),
    (peaked(5, 5), peaked(5, 25), 20, "as in the public report on a small head"),
    (two_peaks(0.9, 0.9), two_peaks(0.9, 0.5), 0, "two equal peaks: one of them stays"),
    (two_peaks(0.9, 0.9), two_peaks(0.5, 0.9), 0, "or the other one"),
    (two_peaks(0.9, 0.899), two_peaks(0.899, 0.9), 20, "unequal peaks whose order changes have moved"),
    (np.ones((64, 64), np.float16), peaked(0, 63, height=1.0), 0, "a plateau has its peak everywhere"),
]


@pytest.mark.parametrize(("first", "second", "expected", "why"), PEAKS, ids=[case[3] for case in PEAKS])
def test_distance_of_peaks(first: Any, second: Any, expected: int, why: str) -> None:
    assert peak_distance(first, second) == expected, why
    assert peak_distance(second, first) == expected, why


def _result(maps: Sequence[Any], inout: float = 0.5) -> BatchResult:
    return BatchResult(heatmap=np.stack(maps), inout=np.full(len(maps), inout, np.float32))


def _flat(value: float, bump: float = 0.005) -> Any:
    return peaked(1, 1, height=value + bump, base=value)


MANY = [peaked(i, i) for i in range(LEAST_ROWS)]
AGREEMENTS = [
    (MANY, MANY, 0.5, True, "equal"),
    (MANY, [peaked(i + 1, i + 1) for i in range(LEAST_ROWS)], 0.505, True, "all within the tolerances"),
    (MANY, [*MANY[:-1], peaked(40, 40)], 0.5, False, "one peak of many moved"),
    (MANY, MANY, 0.52, False, "in/out differs by 0.02"),
    (MANY[1:], MANY[1:], 0.5, False, "too few maps to be evidence"),
    ([*MANY, _flat(0.2)], [*MANY, np.rot90(_flat(0.2), 2)], 0.5, True, "a map without a peak may move its noise"),
    ([*MANY, _flat(0.2)], [*MANY, _flat(0.25)], 0.5, False, "but not change its values"),
    ([*MANY, _flat(0.2)], [*MANY, peaked(9, 9)], 0.5, False, "nor get a peak"),
    ([_flat(0.2)] * 50, [_flat(0.2)] * 50, 0.5, False, "flat maps alone say nothing about peaks"),
]


@pytest.mark.parametrize(("exact", "found", "inout", "agrees", "why"), AGREEMENTS, ids=[c[4] for c in AGREEMENTS])
def test_what_agrees(exact: list[Any], found: list[Any], inout: float, agrees: bool, why: str) -> None:
    one = agreement("bfloat16", [_result(exact)], [_result(found, inout)], milliseconds_per_frame=1)
    assert one.agrees is agrees, why
    assert one.rows == len(exact)


def test_a_model_without_in_out_is_compared_by_its_maps() -> None:
    nothing = float("nan")
    one = agreement("float16", [_result(MANY, nothing)], [_result(MANY, nothing)], milliseconds_per_frame=1)
    assert (one.inout_difference, one.agrees) == (None, True)


def _agreement(dtype: str, milliseconds: float, *, moved: int = 0, rows: int = 20) -> TypeAgreement:
    return TypeAgreement.model_validate(
        {"dtype": dtype, "rows": rows, "moved_peaks": moved, "milliseconds_per_frame": milliseconds}
    )


CHOICES = [
    ([_agreement("float16", 4), _agreement("bfloat16", 3)], "bfloat16", "the fastest of those that agree"),
    ([_agreement("float16", 4), _agreement("bfloat16", 3, moved=1)], "float16", "the fastest one moves a peak"),
    ([_agreement("float16", 4), _agreement("bfloat16", 3.9)], "float16", "as fast within 5 %: the more exact one"),
    ([_agreement("tf32", 9.8)], "float32", "not faster"),
    ([_agreement("bfloat16", 3, moved=2)], "float32", "none agrees"),
    ([_agreement("bfloat16", 3, rows=3)], "float32", "too little was compared"),
    ([TypeAgreement(dtype="float16", refused="no")], "float32", "the model refuses it"),
]


@pytest.mark.parametrize(("compared", "expected", "why"), CHOICES, ids=[case[2] for case in CHOICES])
def test_the_choice(compared: list[TypeAgreement], expected: str, why: str) -> None:
    word, reason = TypeComparison(float32_milliseconds_per_frame=10, compared=compared).best()
    assert word == expected, why
    assert reason


def test_products_are_exact_or_rounded_as_the_word_says_and_restored() -> None:
    """The switches exist without a CUDA device; that they act is documented as not run."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    for word, expected in (("tf32", (True, True)), ("float32", (False, False)), ("float16", before)):
        with products_in(word, torch.device("cuda")):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == expected
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before
    with products_in("tf32", torch.device("cpu")):
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before
