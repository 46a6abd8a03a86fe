"""Head boxes on the patch grid: which cells a box marks, which boxes are refused, and the smallest repair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gazetools.schemas.errors import UsageError

if TYPE_CHECKING:
    import torch

BoxXyxy = tuple[float, float, float, float]
"""(x0, y0, x1, y1), left, top, right, bottom, as fractions of the frame's width and height."""

CellsXyxy = tuple[int, int, int, int]
"""Half-open ranges of grid cells: columns [x0, x1), rows [y0, y1)."""


def check_box(box: Sequence[float], *, where: str = "box") -> BoxXyxy:
    """`box` as four floats; UsageError unless they are finite, in order and within -1..2 (others look like pixels)."""
    try:
        values = tuple(float(value) for value in box)
    except (TypeError, ValueError):
        values = ()
    if len(values) != 4:
        raise UsageError(f"{where} = {box!r} is not (x0, y0, x1, y1).", hint="Give four numbers in 0..1 or None.")
    x0, y0, x1, y1 = values
    if not all(math.isfinite(value) for value in values):
        raise UsageError(f"{where} = {values} has NaN or infinity.", hint="Give None where there is no head box.")
    if any(value > 2.0 or value < -1.0 for value in values):
        raise UsageError(
            f"{where} = {values} lies far outside 0..1; it looks like pixels.",
            hint="Divide x by the frame's width and y by its height.",
        )
    if x1 < x0 or y1 < y0:
        raise UsageError(
            f"{where} = {values} is swapped: x0 <= x1 and y0 <= y1 are needed.",
            hint="Give left, top, right, bottom (not x, y, width, height).",
        )
    return x0, y0, x1, y1


def box_cells(box: BoxXyxy, grid_hw: tuple[int, int]) -> CellsXyxy:
    """The cells that `box` marks in the head map; none where the box is smaller than the rounding.

    Corners are rounded half to even and cut at the frame's edges, as in fkryan/gazelle (`gazelle/model.py`,
    get_input_head_maps), where however a negative number, left of or above the frame, is a slice from the far edge.

    >>> box_cells((0.3125, 0.0625, 0.4375, 0.1875), (8, 8))  # 2.5, 0.5, 3.5, 1.5 cells
    (2, 0, 4, 2)
    """
    rows, columns = grid_hw
    x0, x1 = (min(max(round(x * columns), 0), columns) for x in box[::2])
    y0, y1 = (min(max(round(y * rows), 0), rows) for y in box[1::2])
    return x0, y0, x1, y1


def is_empty(cells: CellsXyxy) -> bool:
    """Whether `cells` holds no cell, so that the model gets no head prompt."""
    x0, y0, x1, y1 = cells
    return x0 >= x1 or y0 >= y1


def grow_to_cell(box: BoxXyxy, grid_hw: tuple[int, int]) -> BoxXyxy:
    """The smallest change of `box` after which it marks at least one cell of the grid.

    A side that covers no cell becomes the cell that holds its centre (the first or last one outside the frame).

    >>> grow_to_cell((0.40, 0.40, 0.43, 0.43), (8, 8))  # 3.2 to 3.44 cells: rounds to nothing
    (0.375, 0.375, 0.5, 0.5)
    """
    cells = box_cells(box, grid_hw)
    x0, x1 = _grow_side(box[0], box[2], cells[0] < cells[2], grid_hw[1])
    y0, y1 = _grow_side(box[1], box[3], cells[1] < cells[3], grid_hw[0])
    return x0, y0, x1, y1


def _grow_side(low: float, high: float, covers_cell: bool, cells: int) -> tuple[float, float]:
    if covers_cell:
        return low, high
    cell = min(max(math.floor((low + high) / 2 * cells), 0), cells - 1)
    return cell / cells, (cell + 1) / cells


def head_maps(boxes: Sequence[BoxXyxy | None], grid_hw: tuple[int, int]) -> torch.Tensor:
    """0/1 maps, float32 [N, rows, columns], on the CPU; all zeros for None and for boxes that mark no cell."""
    import torch

    maps_nhw = torch.zeros((len(boxes), *grid_hw))
    for index, box in enumerate(boxes):
        if box is not None:
            x0, y0, x1, y1 = box_cells(box, grid_hw)
            maps_nhw[index, y0:y1, x0:x1] = 1.0
    return maps_nhw
