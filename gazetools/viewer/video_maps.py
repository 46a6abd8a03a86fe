"""The heatmaps of one video as the page needs them: one table of rows, and maps by range of rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps import HeatmapReader
from gazetools.heatmaps.values import Maps
from gazetools.io.closing import Closing
from gazetools.sampling import nearest_indices
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.provenance import Provenance
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.store.order import check_order

_MOST_FRAMES = 1 << 24
"""Frames of a video, 6 days at 30 per second: a store may state any number, and each frame's time takes memory."""
NO_TRACK = -1
"""Track id of the rows of sources that have one map per frame and no people."""


@dataclass(frozen=True, kw_only=True)
class RowTable:
    """Which rows there are, ascending by frame: one per frame and person."""

    frame: npt.NDArray[np.int64]
    """[N] decoded frame."""
    row: npt.NDArray[np.int64]
    """[N] position of the map in its file."""
    track_id: npt.NDArray[np.int32]
    """[N]; NO_TRACK: the source has no people."""
    box_xyxy: npt.NDArray[np.float32]
    """[N, 4] relative to the frame; NaN: no box of a head."""
    inout: npt.NDArray[np.float32]
    """[N] in 0..1; NaN: unknown."""

    def of_frames(self, start: int, stop: int) -> slice:
        """The rows of the frames [start, stop)."""
        low, high = np.searchsorted(self.frame, [start, stop])
        return slice(int(low), int(high))


class VideoMaps(Closing):
    """Heatmaps of one video in any source. Not for use by several threads at once."""

    table: RowTable
    size_hw: tuple[int, int]
    roles: dict[int, str]
    """Track id -> role, such as `wearer`."""
    frame_count: int
    """Frames that the source knows of, also those without a map."""
    pts_seconds: npt.NDArray[np.float64] | None
    """[frame_count] times that the source knows, NaN for the others; None: none."""
    provenance: Provenance | None
    """Where the heatmaps come from; None: not stated."""
    follows_video: bool = True
    """False: rows lie on a grid of their own, which becomes frames by the times of the video."""

    @abstractmethod
    def read(self, rows: slice) -> Maps:
        """Maps float32 [n, H, W] of some rows of the table; not all are finite in damaged files."""


class StoreVideoMaps(VideoMaps):
    """Heatmaps of a store file."""

    def __init__(self, path: Path) -> None:
        self._store = store = open_store(path)
        check_order(store)
        boxes = store.row_box.copy()
        whole = (store.row_prompt == Prompt.NONE) & (boxes == (0, 0, 1, 1)).all(axis=1)
        boxes[whole | ~np.isfinite(boxes).all(axis=1)] = (
            np.nan
        )  # a whole one stands for the frame, as without head boxes, and is no head
        self.table = RowTable(
            frame=store.row_frame, row=np.arange(len(store)), track_id=store.row_track_id, box_xyxy=boxes,
            inout=store.row_inout,
        )  # fmt: skip
        self.size_hw, self.roles = store.heatmap_shape, store.tracks
        self.frame_count = store.provenance.video.frame_count
        if self.frame_count > _MOST_FRAMES:
            raise DataFileError(f"{path} is of {self.frame_count} frames; at most {_MOST_FRAMES} can be shown.")
        self.pts_seconds = np.full(self.frame_count, np.nan)
        self.pts_seconds[store.frames.index] = store.frames.pts_seconds
        self.provenance = store.provenance

    def read(self, rows: slice) -> Maps:
        return self._store.read_heatmaps(rows.start, rows.stop).astype(np.float32)

    def close(self) -> None:
        self._store.close()


class ReaderMaps(VideoMaps):
    """Heatmaps of a packed dataset or of another tool: one map per frame.

    `follows_video`: row i is frame i. Else each row belongs to the frame of `video_pts` nearest to its own time (to
    frame i again where either side has no times), and of several rows of one frame the first is shown.
    """

    def __init__(
        self,
        root: Path,
        video_id: str,
        choice: ArrayChoice,
        *,
        provenance: Provenance | None = None,
        follows_video: bool = True,
        video_pts: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._reader = reader = HeatmapReader(root, video_id, choice=choice, resized=False)
        is_packed = (root / MANIFEST_NAME).exists()
        rows = np.arange(len(reader)) if is_packed else np.flatnonzero(reader.valid)
        frames, times = rows, reader.pts_seconds
        self.pts_seconds = times
        self.frame_count = len(reader)
        if not follows_video and times is not None and video_pts is not None and np.isfinite(times).all():
            frames, first = np.unique(nearest_indices(video_pts, times[rows]), return_index=True)
            rows, self.pts_seconds, self.frame_count = rows[first], video_pts, len(video_pts)
        inout = np.full(len(reader), np.nan, np.float32) if reader.inout is None else reader.inout
        self.table = RowTable(
            frame=frames.astype(np.int64), row=rows, track_id=np.full(len(rows), NO_TRACK, np.int32),
            box_xyxy=np.full((len(rows), 4), np.nan, np.float32), inout=inout[rows].astype(np.float32),
        )  # fmt: skip
        self.size_hw, self.roles = reader.shape[1:], {}
        self.provenance, self.follows_video = provenance, follows_video

    def read(self, rows: slice) -> Maps:
        return self._reader.read(self.table.row[rows])

    def close(self) -> None:
        self._reader.close()
