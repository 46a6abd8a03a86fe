"""Rows of a table from a dataset or another tool's heatmaps: one per row, whoever's gaze it is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.exchange.areas.on_maps import VideoAreas, VideoFrames
from gazetools.exchange.table.row_blocks import (
    MAPS_AT_ONCE,
    ROWS_AT_ONCE,
    TableBlock,
    VideoRows,
    figure_columns,
    joined,
    spread_radius,
    text_column,
)
from gazetools.heatmaps import HeatmapReader
from gazetools.heatmaps.map_figures import map_figures
from gazetools.schemas.dataset import PackedVideo
from gazetools.schemas.table import TableOptions


class DatasetRows(VideoRows):
    """Rows of one video of a dataset; `entry` is the manifest's, None for heatmaps of other tools.

    `rows_are_frames` says whether row i shows decoded frame i.
    """

    frames_without_people = 0
    rows_without_head = 0

    def __init__(self, reader: HeatmapReader, entry: PackedVideo | None, *, rows_are_frames: bool) -> None:
        self._reader, self._rows_are_frames = reader, rows_are_frames
        video: dict[str, Any] = {} if entry is None else entry.provenance.get("video") or {}
        self.count = len(reader)
        rate = Fraction(video.get("rate") or 0)
        pts = reader.pts_seconds
        self.frames = VideoFrames(
            video_id=reader.video_id,
            size_wh=(video["width"], video["height"]) if {"width", "height"} <= video.keys() else None,
            frame_count=len(reader),
            index=np.arange(len(reader), dtype=np.int64) if rows_are_frames else None,
            pts_seconds=pts if pts is not None and np.isfinite(pts).all() else None,
            frame_seconds=float(1 / rate) if rate > 0 else 0.0,
        )

    def close(self) -> None:
        self._reader.close()

    def blocks(self, areas: VideoAreas | None, options: TableOptions) -> Iterator[TableBlock]:
        for start in range(0, self.count, ROWS_AT_ONCE):
            yield self._block(start, min(start + ROWS_AT_ONCE, self.count), areas)

    def _block(self, start: int, stop: int, areas: VideoAreas | None) -> TableBlock:
        reader, row = self._reader, np.arange(start, stop, dtype=np.int64)
        unknown = np.full(len(row), np.nan)
        rows: dict[str, npt.NDArray[Any]] = {
            "video_id": text_column(reader.video_id, len(row)),
            "row": row,
            "frame": row,
            "pts_seconds": unknown if reader.pts_seconds is None else reader.pts_seconds[start:stop],
            "valid": reader.valid[start:stop],
            "inout": unknown.astype(np.float32) if reader.inout is None else reader.inout[start:stop],
        }
        figures = []
        broken = empty = 0
        for first in range(start, stop, MAPS_AT_ONCE):
            part = row[first - start : first - start + MAPS_AT_ONCE]
            maps = reader.read(part)
            found = map_figures(maps)
            frames = part if self._rows_are_frames else None
            masses = None if areas is None else areas.masses(frames, maps, found.total)
            figures.append(figure_columns(found, masses, () if areas is None else tuple(areas.names)))
            broken += int(found.broken.sum())
            empty += int(found.empty.sum())
        rows |= joined(figures)
        size = self.frames.size_wh
        rows["spread_radius"] = unknown if size is None else spread_radius(rows, size)
        return TableBlock(rows=rows, pairs=None, broken=broken, empty=empty)
