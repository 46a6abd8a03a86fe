"""Parts of a table as columns, and what the rows of a video are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.exchange.areas.on_maps import VideoAreas, VideoFrames
from gazetools.heatmaps.map_figures import MapFigures
from gazetools.io.closing import Closing
from gazetools.schemas.table import AREA_PREFIX, TableOptions

Block = Mapping[str, npt.NDArray[Any]]
"""Column -> values [n]; texts are arrays of objects, NaN in a column of numbers means unknown."""
ROWS_AT_ONCE = 16_384
"""Rows of a block at most, unless one frame has more people."""
MAPS_AT_ONCE = 256
"""Heatmaps that are looked at together: 4 MiB as float32 at 64x64."""


@dataclass(frozen=True, kw_only=True)
class TableBlock:
    """Some rows of one video, and the pairs of people in them."""

    rows: Block
    pairs: Block | None
    """None: not asked for."""
    broken: int
    """Rows whose map is broken."""
    empty: int
    """Rows whose map is zero everywhere."""


class VideoRows(Closing):
    """The rows of one open video."""

    frames: VideoFrames
    count: int
    """Number of rows."""
    frames_without_people: int
    rows_without_head: int

    @abstractmethod
    def blocks(self, areas: VideoAreas | None, options: TableOptions) -> Iterator[TableBlock]:
        """All rows in order; masses in `areas`, and pairs where `options.social` is set. Raises DataFileError."""


def cut_at_frames(frame: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Ranges (start, stop) of at most `most` rows that never part the rows of a frame; one frame may have more.

    >>> list(cut_at_frames(np.array([0, 0, 0, 1, 2]), 2))
    [(0, 3), (3, 5)]
    """
    borders = np.append(np.flatnonzero(np.diff(frame)) + 1, len(frame))
    start = 0
    while start < len(frame):
        within = int(np.searchsorted(borders, start + most, side="right"))
        first = int(np.searchsorted(borders, start, side="right"))
        stop = int(borders[max(within - 1, first)])
        yield start, stop
        start = stop


def figure_columns(
    figures: MapFigures, masses: npt.NDArray[np.float64] | None, names: tuple[str, ...]
) -> dict[str, npt.NDArray[Any]]:
    """The columns that come from the heatmaps alone; `masses` [n, A] in the areas `names`."""
    columns: dict[str, npt.NDArray[Any]] = {
        "map_sum": figures.total,
        "map_max": figures.largest,
        "peak_x": figures.peak_xy[:, 0],
        "peak_y": figures.peak_xy[:, 1],
        "peak_cells": figures.peak_cells,
        "centre_x": figures.centre_xy[:, 0],
        "centre_y": figures.centre_xy[:, 1],
        "spread_x": figures.spread_xy[:, 0],
        "spread_y": figures.spread_xy[:, 1],
    }
    if masses is not None:
        columns |= {AREA_PREFIX + name: masses[:, place] for place, name in enumerate(names)}
    return columns


def joined(parts: list[dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """Parts with the same columns, at least one, below each other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def spread_radius(columns: Block, size_wh: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Root mean square distance [n] of the mass from its centre in pixels, as a fraction of the frame's diagonal."""
    width, height = size_wh
    return np.hypot(columns["spread_x"] * width, columns["spread_y"] * height) / np.hypot(width, height)


def text_column(text: str, count: int) -> npt.NDArray[Any]:
    """`text` [count] as objects."""
    column = np.empty(count, object)
    column[:] = text
    return column
