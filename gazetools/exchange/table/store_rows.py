"""Rows of a table from a store: one per frame and person, with head box, angles and pairs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Fisheye
from gazetools.exchange.areas.on_maps import VideoAreas, VideoFrames
from gazetools.exchange.table.pairs import MapsOfPeople, pair_columns
from gazetools.exchange.table.row_blocks import (
    MAPS_AT_ONCE,
    ROWS_AT_ONCE,
    Block,
    TableBlock,
    VideoRows,
    cut_at_frames,
    figure_columns,
    joined,
    spread_radius,
    text_column,
)
from gazetools.heatmaps.map_figures import map_figures
from gazetools.heatmaps.values import to_float32
from gazetools.schemas.table import TableOptions
from gazetools.store import StoreReader
from gazetools.store.order import check_order

_HEAD = ("head_x_min", "head_y_min", "head_x_max", "head_y_max")


class StoreRows(VideoRows):
    """Rows of one store file; `lens` is that of its calibrated camera at the video's size, None where unknown.

    Raises DataFileError where the file's columns contradict each other.
    """

    def __init__(self, store: StoreReader, lens: Fisheye | None) -> None:
        check_order(store)
        self._store, self._lens = store, lens
        video = store.provenance.video
        self._size = video.width, video.height
        self._has_head = store.row_has_head
        self.count = len(store)
        self.rows_without_head = int((~self._has_head).sum())
        self.frames_without_people = len(store.frames.index) - len(np.unique(store.row_frame))
        rate = Fraction(video.rate)
        self.frames = VideoFrames(
            video_id=store.video_id,
            size_wh=self._size,
            frame_count=video.frame_count,
            index=store.frames.index,
            pts_seconds=store.frames.pts_seconds,
            frame_seconds=float(1 / rate) if rate > 0 else 0.0,
        )

    def close(self) -> None:
        self._store.close()

    def blocks(self, areas: VideoAreas | None, options: TableOptions) -> Iterator[TableBlock]:
        for start, stop in cut_at_frames(self._store.row_frame, ROWS_AT_ONCE):
            yield self._block(slice(start, stop), areas, options)

    def _block(self, part: slice, areas: VideoAreas | None, options: TableOptions) -> TableBlock:
        rows = self._own_columns(part)
        figures, pairs = [], []
        broken = empty = 0
        for start, stop in cut_at_frames(rows["frame"], MAPS_AT_ONCE):
            maps = to_float32(self._store.read_heatmaps(part.start + start, part.start + stop), 1.0)
            found = map_figures(maps)
            masses = None if areas is None else areas.masses(rows["frame"][start:stop], maps, found.total)
            figures.append(figure_columns(found, masses, () if areas is None else tuple(areas.names)))
            broken += int(found.broken.sum())
            empty += int(found.empty.sum())
            if options.social is not None:
                own = {name: values[start:stop] for name, values in rows.items()}
                people = MapsOfPeople(maps=maps, figures=found, has_head=self._has_head[part][start:stop])
                pairs.append(pair_columns(own, people, options))
        rows |= joined(figures)
        rows["spread_radius"] = spread_radius(rows, self._size)
        rows |= self._angles(rows)
        return TableBlock(rows=rows, pairs=joined(pairs) if pairs else None, broken=broken, empty=empty)

    def _own_columns(self, part: slice) -> dict[str, npt.NDArray[Any]]:
        """What the store has of the rows."""
        store = self._store
        frame, track = store.row_frame[part], store.row_track_id[part]
        box = np.where(self._has_head[part][:, None], store.row_box[part], np.float32(np.nan))
        role = np.empty(len(track), object)
        for one in np.unique(track):
            role[track == one] = store.tracks.get(int(one), "other")
        return {
            "video_id": text_column(store.video_id, len(frame)),
            "frame": frame,
            "pts_seconds": store.frames.pts_seconds[np.searchsorted(store.frames.index, frame)],
            "track_id": track,
            "role": role,
            **{name: box[:, column] for column, name in enumerate(_HEAD)},
            "inout": store.row_inout[part],
        }

    def _angles(self, rows: Block) -> dict[str, npt.NDArray[np.float64]]:
        """The angles of the rows, in the picture and, where the lens is known, at the camera."""
        size = np.array(self._size, np.float64)
        box = np.stack([rows[name] for name in _HEAD], axis=1).astype(np.float64)
        head = (box[:, :2] + box[:, 2:]) / 2 * size
        peak = np.stack([rows["peak_x"], rows["peak_y"]], axis=1) * size
        return {
            "gaze_angle_deg": picture_angle(head, peak),
            "camera_angle_deg": np.full(len(head), np.nan) if self._lens is None else ray_angle(self._lens, head, peak),
        }


def picture_angle(origin: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Direction [n] in degrees from points [n, 2] to others, both in pixels: 0 to the right, 90 up, above -180 to 180.

    NaN where the points coincide or one is unknown.
    """
    right, up = target[:, 0] - origin[:, 0], origin[:, 1] - target[:, 1]
    angle = np.degrees(np.arctan2(up + 0.0, right))  # without -0.0, whose angle to the left would be -180
    return np.where((right == 0) & (up == 0), np.nan, angle)


def ray_angle(lens: Fisheye, one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Angle [n] in degrees between the lens's rays through pixels [n, 2] and others; NaN where one is unknown."""
    a, b = lens.unproject(one), lens.unproject(other)
    across = np.linalg.norm(np.cross(a, b), axis=1)
    return np.degrees(np.arctan2(across, np.einsum("ni,ni->n", a, b)))
