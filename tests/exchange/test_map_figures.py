"""Figures of heatmaps and masses in boxes against plain loops over cells, and rules that hold for any map."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazetools.heatmaps.box_mass import cell_weights, disjoint, mass_in_boxes
from gazetools.heatmaps.map_figures import map_figures

Cells = list[tuple[int, int, float]]


def _map(cells: Cells, shape: tuple[int, int] = (4, 8), background: float = 0.0) -> npt.NDArray[np.float32]:
    values = np.full(shape, background, np.float32)
    for row, column, value in cells:
        values[row, column] = value
    return values


def by_loops(values: npt.NDArray[Any]) -> dict[str, float]:
    """All figures of one map by loops over its cells, in Python's floats."""
    height, width = values.shape
    cells = [(float(values[r, c]), (c + 0.5) / width, (r + 0.5) / height) for r in range(height) for c in range(width)]
    total = math.fsum(v for v, _, _ in cells)
    top = max(v for v, _, _ in cells)
    first = next(cell for cell in cells if cell[0] == top)
    cx, cy = (math.fsum(cell[0] * cell[axis] for cell in cells) / total for axis in (1, 2))
    return {
        "total": total,
        "largest": top,
        "peak_x": first[1],
        "peak_y": first[2],
        "cells": sum(v == top for v, _, _ in cells),
        "cx": cx,
        "cy": cy,
        "sx": math.sqrt(math.fsum(v * (x - cx) ** 2 for v, x, _ in cells) / total),
        "sy": math.sqrt(math.fsum(v * (y - cy) ** 2 for v, _, y in cells) / total),
    }


def mass_by_loops(values: npt.NDArray[Any], box: tuple[float, float, float, float]) -> float:
    """Share of the mass in a box by the area that it has in common with each cell."""
    height, width = values.shape
    inside = total = 0.0
    for row in range(height):
        for column in range(width):
            wide = min(box[2], (column + 1) / width) - max(box[0], column / width)
            tall = min(box[3], (row + 1) / height) - max(box[1], row / height)
            share = max(wide, 0.0) * width * max(tall, 0.0) * height
            inside += float(values[row, column]) * share
            total += float(values[row, column])
    return inside / total


def _all_figures(values: npt.NDArray[np.float32]) -> dict[str, float]:
    found = map_figures(values[None])
    return {
        "total": float(found.total[0]),
        "largest": float(found.largest[0]),
        "peak_x": float(found.peak_xy[0, 0]),
        "peak_y": float(found.peak_xy[0, 1]),
        "cells": int(found.peak_cells[0]),
        "cx": float(found.centre_xy[0, 0]),
        "cy": float(found.centre_xy[0, 1]),
        "sx": float(found.spread_xy[0, 0]),
        "sy": float(found.spread_xy[0, 1]),
    }


@pytest.mark.parametrize(
    ("values", "expected", "reason"),
    [
        (
            _map([(1, 2, 0.5)]),
            {"total": 0.5, "peak_x": 2.5 / 8, "peak_y": 1.5 / 4, "cells": 1, "cx": 2.5 / 8, "cy": 1.5 / 4, "sx": 0.0},
            "one cell: peak and centre are the cell's centre, not its corner, and there is no spread",
        ),
        (
            _map([(0, 1, 0.5), (0, 5, 0.5)]),
            {"peak_x": 1.5 / 8, "cells": 2, "cx": 3.5 / 8, "sx": 2 / 8, "sy": 0.0},
            "two equal cells: the first in reading order is the peak, the spread is half their distance",
        ),
        (
            _map([(2, 0, 1.0), (1, 7, 1.0)]),
            {"peak_x": 7.5 / 8, "peak_y": 1.5 / 4, "cells": 2},
            "row by row: an upper cell comes first, however far right it is",
        ),
        (
            _map([], background=0.25),
            {"total": 8.0, "peak_x": 0.5 / 8, "peak_y": 0.5 / 4, "cells": 32, "cx": 0.5, "cy": 0.5}
            | {"sx": math.sqrt((1 - 1 / 64) / 12), "sy": math.sqrt((1 - 1 / 16) / 12)},
            "a constant map: every cell is a peak; the spread is that of 8 and 4 equal places",
        ),
        (
            _map([(0, 0, 3.0), (3, 0, 1.0)]),
            {"total": 4.0, "largest": 3.0, "cy": (3 * 0.5 + 3.5) / 16, "sy": math.sqrt(3 / 16 * (3 / 4) ** 2)},
            "unequal masses 3 : 1 at a distance of 3/4: variance 3/4 * 1/4 * (3/4)^2",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_figures_of_small_maps(values: Any, expected: dict[str, float], reason: str) -> None:
    found = _all_figures(values)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-7), reason


def test_maps_without_mass_and_broken_maps_have_no_figures_and_do_not_change_their_neighbours() -> None:
    good = _map([(1, 2, 0.5)])
    nan, negative, infinite = (_map([(1, 1, 1.0), (3, 3, bad)]) for bad in (math.nan, -0.25, math.inf))
    found = map_figures(np.stack([good, np.zeros_like(good), nan, negative, infinite, good]))
    assert found.broken.tolist() == [False, False, True, True, True, False]
    assert found.empty.tolist() == [False, True, False, False, False, False]
    assert found.total[1] == found.largest[1] == 0
    assert found.peak_cells.tolist() == [1, 0, 0, 0, 0, 1]
    for values in (found.peak_xy, found.centre_xy, found.spread_xy):
        assert np.isnan(values).any(axis=1).tolist() == [False, True, True, True, True, False]
    assert np.array_equal(found.peak_xy[0], found.peak_xy[5])
    assert map_figures(np.zeros((0, 4, 8), np.float32)).total.shape == (0,)


def test_figures_and_masses_agree_with_loops_over_the_cells() -> None:
    rng = np.random.default_rng(3)
    maps = rng.random((40, 5, 7)).astype(np.float32) ** 8
    maps[::3] = np.round(maps[::3], 1) + np.float32(0.1)  # with ties
    found = map_figures(maps)
    corners = np.sort(rng.uniform(-0.2, 1.2, (40, 2, 2)), axis=1).reshape(40, 4)
    masses = mass_in_boxes(maps, np.arange(40), corners, found.total)
    for number, values in enumerate(maps):
        assert _all_figures(values) == pytest.approx(by_loops(values), abs=2e-6)
        assert masses[number] == pytest.approx(mass_by_loops(values, tuple(corners[number])), abs=2e-6)


def test_mass_of_a_cell_that_a_box_covers_in_part_counts_by_its_area() -> None:
    maps = _map([(1, 2, 1.0)])[None]
    boxes = np.array([[2 / 8, 1 / 4, 3 / 8, 2 / 4], [2.5 / 8, 0, 1, 1], [2.75 / 8, 0, 1, 1.25 / 4], [0, 0, 2 / 8, 1]])
    masses = mass_in_boxes(maps, np.zeros(4, np.int64), boxes, np.ones(1))
    assert masses.tolist() == pytest.approx([1.0, 0.5, 0.25 * 0.25, 0.0])
    assert np.isnan(mass_in_boxes(maps * 0, np.zeros(1, np.int64), boxes[:1], np.zeros(1)))


@settings(max_examples=60, deadline=None)
@given(
    xs=st.lists(st.floats(0.001, 0.999), max_size=4, unique=True),
    ys=st.lists(st.floats(0.001, 0.999), max_size=4, unique=True),
    seed=st.integers(0, 10_000),
)
def test_the_masses_of_a_partition_of_the_frame_sum_to_one(xs: list[float], ys: list[float], seed: int) -> None:
    maps = np.random.default_rng(seed).random((1, 16, 12)).astype(np.float32) ** 6
    x, y = [0.0, *sorted(xs), 1.0], [0.0, *sorted(ys), 1.0]
    boxes = np.array([[a, c, b, d] for a, b in pairwise(x) for c, d in pairwise(y)])
    total = map_figures(maps).total
    masses = mass_in_boxes(maps, np.zeros(len(boxes), np.int64), boxes, total)
    assert masses.sum() == pytest.approx(1, abs=1e-5)
    assert (masses >= 0).all()
    weights = np.stack([cell_weights(box[None], (16, 12)) for box in boxes])
    assert weights.sum(axis=0) == pytest.approx(1, abs=1e-5)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=5))
def test_boxes_cut_to_be_disjoint_cover_what_they_covered(corners: list[tuple[int, int, int, int]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners]
    wanted = np.zeros((13, 13), int)
    for x0, y0, x1, y1 in boxes:
        wanted[y0:y1, x0:x1] = 1
    found = np.zeros((13, 13), int)
    for x0, y0, x1, y1 in disjoint(np.array(boxes, float)).astype(int):
        found[y0:y1, x0:x1] += 1  # 2 where two of them overlap
    assert np.array_equal(found, wanted)
    assert cell_weights(np.array(boxes) / 13, (13, 13)) == pytest.approx(wanted, abs=1e-5)
