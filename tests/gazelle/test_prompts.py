"""Head boxes on the grid: rounding, edges, refusals, growth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazetools.gazemodels.gazelle.prompts import box_cells, check_box, grow_to_cell, head_maps, is_empty
from gazetools.schemas.errors import UsageError

GRID = (8, 8)


@pytest.mark.parametrize(
    ("box", "cells", "reason"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0, 0, 8, 8), "the whole frame"),
        ((0.3125, 0.0625, 0.4375, 0.1875), (2, 0, 4, 2), "2.5 0.5 3.5 1.5 cells round half to even"),
        ((0.4, 0.4, 0.43, 0.43), (3, 3, 3, 3), "smaller than the rounding: empty"),
        ((0.51, 0.3, 0.53, 0.8), (4, 2, 4, 6), "empty in x only"),
        ((0.8, 0.7, 1.2, 1.3), (6, 6, 8, 8), "cut at the right and bottom edge"),
        ((-0.1, 0.1, 0.3, 0.4), (0, 1, 2, 3), "cut at the left edge, no negative slice"),
        ((-0.6, -0.5, -0.2, -0.1), (0, 0, 0, 0), "left of the frame: empty, not at the far edge"),
        ((1.2, 0.1, 1.5, 0.4), (8, 1, 8, 3), "right of the frame: empty"),
        ((0.2, 0.2, 0.2, 0.2), (2, 2, 2, 2), "no area"),
    ],
)
def test_cells(box: tuple[float, float, float, float], cells: tuple[int, int, int, int], reason: str) -> None:
    assert box_cells(check_box(box), GRID) == cells, reason
    x0, y0, x1, y1 = cells
    assert float(head_maps([box], GRID).sum()) == max(0, x1 - x0) * max(0, y1 - y0)


def test_cells_of_a_non_square_grid_use_columns_for_x() -> None:
    assert box_cells((0.5, 0.5, 1.0, 1.0), (4, 10)) == (5, 2, 10, 4)
    assert head_maps([(0.5, 0.5, 1.0, 1.0)], (4, 10))[0, 2:, 5:].all()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((100.0, 50.0, 300.0, 220.0), "looks like pixels"),
        ((0.1, 0.1, 2.5, 0.2), "looks like pixels"),
        ((-1.5, 0.1, 0.5, 0.2), "looks like pixels"),
        ((0.5, 0.1, 0.2, 0.4), "swapped"),
        ((0.1, 0.4, 0.2, 0.1), "swapped"),
        ((math.nan, 0.1, 0.2, 0.4), "NaN"),
        ((0.1, 0.1, math.inf, 0.4), "infinity"),
        ((0.1, 0.1, 0.4), "not \\(x0, y0, x1, y1\\)"),
        (("a", 0.1, 0.4, 0.4), "not \\(x0, y0, x1, y1\\)"),
        (7, "not \\(x0, y0, x1, y1\\)"),
    ],
)
def test_refused_boxes_are_named(box: object, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_box(box, where="boxes[2][1]")  # type: ignore[arg-type]
    assert "boxes[2][1]" in str(caught.value)


def test_grow_takes_the_cell_that_holds_the_centre() -> None:
    assert grow_to_cell((0.40, 0.40, 0.43, 0.43), GRID) == (0.375, 0.375, 0.5, 0.5)


def test_grow_leaves_a_direction_that_covers_a_cell() -> None:
    grown = grow_to_cell((0.51, 0.3, 0.53, 0.8), GRID)
    assert grown[1::2] == (0.3, 0.8)
    assert box_cells(grown, GRID) == (4, 2, 5, 6)


def test_grow_leaves_a_box_that_is_big_enough() -> None:
    assert grow_to_cell((0.1, 0.1, 0.4, 0.4), GRID) == (0.1, 0.1, 0.4, 0.4)


sides = st.tuples(st.floats(-1, 2), st.floats(-1, 2)).map(sorted)


@given(x=sides, y=sides, rows=st.integers(1, 64), columns=st.integers(1, 64))
def test_grown_boxes_always_cover_a_cell_and_full_ones_never_change(
    x: list[float], y: list[float], rows: int, columns: int
) -> None:
    box = (x[0], y[0], x[1], y[1])
    before, after = box_cells(box, (rows, columns)), box_cells(grow_to_cell(box, (rows, columns)), (rows, columns))
    assert not is_empty(after)
    if not is_empty(before):
        assert after == before
    for axis, cells in ((0, columns), (1, rows)):
        if before[axis] == before[axis + 2]:
            centre_cell = min(max(math.floor((box[axis] + box[axis + 2]) / 2 * cells), 0), cells - 1)
            assert (after[axis], after[axis + 2]) == (centre_cell, centre_cell + 1)
