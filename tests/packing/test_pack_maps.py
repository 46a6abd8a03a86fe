"""Normalising, combining people and store types, against plain per-frame formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gazetools.heatmaps.normalise import normalise
from gazetools.heatmaps.people import combine_people
from gazetools.heatmaps.values import UINT8_MAX_ERROR, resize, to_float16, to_float32, to_stored
from gazetools.schemas.errors import DataFileError

HALVES = hnp.arrays(
    np.float16,
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7)),
    elements=st.floats(0, 1, width=16),
)
"""Raw maps: all of 0..1 that float16 has, zeros and subnormals included."""


def _reference(frame: np.ndarray, rule: str, temperature: float) -> np.ndarray:
    """The formulas of `normalise` in Python floats with exact sums."""
    values = [float(v) for v in frame.ravel()]
    if max(values) == 0 or rule == "none":
        result = values
    elif rule == "max":
        result = [v / max(values) for v in values]
    elif rule == "sum":
        result = [v / math.fsum(values) for v in values]
    elif rule == "minmax":
        span = max(values) - min(values)
        result = [(v - min(values)) / span if span else 0.0 for v in values]
    else:
        powers = [math.exp(max((v - max(values)) / temperature, -745)) for v in values]
        result = [p / math.fsum(powers) for p in powers]
    return np.array(result).reshape(frame.shape)


@pytest.mark.parametrize("rule", ["none", "max", "sum", "minmax", "softmax"])
@settings(max_examples=40, deadline=None)
@given(raw=HALVES, temperature=st.sampled_from([1e-300, 1e-3, 0.1, 1.0, 50.0]))
def test_normalise_matches_the_formula(rule: str, raw: np.ndarray, temperature: float) -> None:
    out = normalise(to_float32(raw, 1.0), rule, temperature=temperature)
    expected = np.stack([_reference(frame, rule, temperature) for frame in raw])
    assert out.dtype == np.float32
    assert out.shape == raw.shape
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", ["none", "max", "sum", "minmax", "softmax"])
def test_a_map_of_zeros_stays_zeros(rule: str) -> None:
    maps = np.zeros((2, 4, 5), np.float32)
    maps[1, 2, 3] = 0.5
    out = normalise(maps, rule, temperature=0.1)
    assert not out[0].any()
    assert np.isfinite(out).all()
    assert out[1].argmax() == 2 * 5 + 3


@settings(max_examples=60, deadline=None)
@given(raw=hnp.arrays(np.float16, st.integers(0, 40), elements=st.floats(width=16)))
def test_half_conversion_is_exact_for_every_kind_of_number(raw: np.ndarray) -> None:
    np.testing.assert_array_equal(to_float32(raw, 1.0), raw.astype(np.float32))


def test_float16_rounds_as_numpy_does_at_every_border_of_0_to_1() -> None:
    """Every half in 0..1, every middle between two, and the floats beside each: where rounding can go wrong."""
    halves = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[1:] + halves[:-1]) / 2
    points = np.concatenate([halves, middles])
    points = np.concatenate([points, np.nextafter(points, np.float32(0)), np.nextafter(points, np.float32(1))])
    assert points.max() <= 1, "above 1 numpy's own cast is taken"
    np.testing.assert_array_equal(to_float16(points).view(np.uint16), points.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("odd", [np.nan, -0.0, -0.3, 1.5, 1e9, np.inf])
def test_float16_of_other_numbers_is_numpys(odd: float) -> None:
    maps = np.array([[0.25, odd, 1e-6]], np.float32)
    with np.errstate(over="ignore"):
        expected = maps.astype(np.float16)
    np.testing.assert_array_equal(to_float16(maps).view(np.uint16), expected.view(np.uint16))


def test_half_conversion_is_exact_for_all_halves_in_0_to_1() -> None:
    every = np.arange(0x3C01, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(to_float32(every, 1.0), every.astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(raw=HALVES)
def test_uint8_is_at_most_half_a_step_off(raw: np.ndarray) -> None:
    maps = raw.astype(np.float32)
    stored = to_stored(maps, "uint8", sums_to_one=False, where="v")
    back = to_float32(stored, 1 / 255)
    assert np.abs(back - maps).max() <= UINT8_MAX_ERROR + 1e-7
    assert UINT8_MAX_ERROR == 1 / 510
    np.testing.assert_array_equal(to_stored(back, "uint8", sums_to_one=False, where="v"), stored)


def test_uint8_ends_are_exact() -> None:
    ends = to_float32(np.array([0, 255], np.uint8), 1 / 255)
    assert ends.tolist() == [0.0, 1.0]


def test_float16_is_refused_where_it_would_change_the_distribution() -> None:
    large = normalise(np.ones((1, 1080, 1920), np.float32), "sum")  # 5e-7 a pixel: float16 steps are 6e-8
    with pytest.raises(DataFileError, match=r"vid.*mass of a map of 1080x1920.*--dtype float32"):
        to_stored(large, "float16", sums_to_one=True, where="vid")
    small = normalise(np.ones((1, 64, 64), np.float32), "sum")
    assert to_stored(small, "float16", sums_to_one=True, where="vid").dtype == np.float16


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    rule=st.sampled_from(["max", "mean"]),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_combined_people_match_a_loop(counts: list[int], rule: str, weighted: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    maps = generator.random((sum(counts), 3, 4), dtype=np.float32)
    weights = generator.choice([0.0, 0.25, 0.9], size=sum(counts)).astype(np.float32) if weighted else None
    first = np.cumsum([0, *counts[:-1]]).astype(np.int64)
    combined, largest = combine_people(maps, first, weights, rule=rule)
    for k, begin in enumerate(first):
        people = range(begin, begin + counts[k])
        own = [maps[p] * (1.0 if weights is None else weights[p]) for p in people]
        expected = np.mean(own, axis=0) if rule == "mean" else np.max(own, axis=0)
        factor = 1.0 if largest is None else largest[k]
        np.testing.assert_allclose(combined[k] * factor, expected, rtol=1e-5, atol=1e-7)
        if largest is not None:
            assert largest[k] == max(weights[p] for p in people)


def test_resize_keeps_the_blob_where_it_is() -> None:
    """A blob centred at 25 % of the width stays there, in another size and aspect ratio."""
    y, x = np.mgrid[0:64, 0:64]
    blob = np.exp(-((x + 0.5 - 16) ** 2 + (y + 0.5 - 48) ** 2) / 50).astype(np.float32)[None]
    for height, width in [(32, 48), (128, 200), (64, 64)]:
        out = resize(blob, (height, width))
        assert out.shape == (1, height, width)
        rows, columns = np.mgrid[0:height, 0:width]
        assert ((columns + 0.5) * out[0]).sum() / out.sum() / width == pytest.approx(0.25, abs=0.01)
        assert ((rows + 0.5) * out[0]).sum() / out.sum() / height == pytest.approx(0.75, abs=0.01)
