"""Head boxes and gaze points of one store file as columns, for exports to annotation tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.people import gate
from gazetools.store.reader import StoreReader

_BLOCK = 512
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StoredPeople:
    """All rows of one video, ascending by frame and track."""

    video_id: str
    file_name: str
    """Name of the video's file, without its folder."""
    width: int
    height: int
    frame_count: int
    rate: Fraction
    index: npt.NDArray[np.int64]
    """[F] the processed frames, ascending; `pts_seconds` [F] likewise."""
    pts_seconds: Floats
    frame: npt.NDArray[np.int64]
    """[N] frame of each row."""
    track_id: npt.NDArray[np.int64]
    box_xyxy: Floats
    """[N, 4] in 0..1."""
    gaze_xy: Floats
    """[N, 2] centre of the map's highest cell in 0..1, NaN where the map is empty."""
    peak: Floats
    """[N] value there, 0..1."""
    inout: Floats
    """[N] probability that the target is inside the frame, NaN: not known."""
    cell: tuple[float, float]
    """Width and height of a cell of the maps in 0..1."""
    roles: dict[int, str]

    @property
    def gaze_inside(self) -> npt.NDArray[np.bool_]:
        """[N] whether there is a point and its target counts as inside the frame, also where that is not known."""
        inside = gate(self.inout) | np.isnan(self.inout)
        return np.asarray(inside & np.isfinite(self.gaze_xy[:, 0]), np.bool_)

    def rows_of(self, track_id: int) -> npt.NDArray[np.int64]:
        """Rows [n] of one track, ascending by frame."""
        return np.flatnonzero(self.track_id == track_id)

    def ends(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """[n] whether a track with rows in `frames` [n] is missing in the processed frame after each of them."""
        place = np.searchsorted(self.index, frames)
        following = np.append(self.index, -1)[place + 1]
        return np.asarray(np.append(frames[1:], -2) != following, np.bool_)


def stored_people(store: StoreReader, advance: Callable[[int], None]) -> StoredPeople:
    """The columns of an open store file; `advance` receives the number of rows whose map was read."""
    count, (height, width) = len(store), store.heatmap_shape
    cells = np.empty(count, np.int64)
    peak = np.empty(count, np.float64)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        flat = store.read_heatmaps(start, stop).reshape(stop - start, -1)
        cells[start:stop] = flat.argmax(axis=1)
        peak[start:stop] = flat[np.arange(stop - start), cells[start:stop]]
        advance(stop - start)
    points = np.column_stack([(cells % width + 0.5) / width, (cells // width + 0.5) / height])
    points[~(peak > 0)] = np.nan
    video = store.provenance.video
    return StoredPeople(
        video_id=store.video_id,
        file_name=video.path.replace("\\", "/").rpartition("/")[2],
        width=video.width,
        height=video.height,
        frame_count=video.frame_count,
        rate=Fraction(video.rate),
        index=store.frames.index,
        pts_seconds=store.frames.pts_seconds,
        frame=store.row_frame,
        track_id=store.row_track_id.astype(np.int64),
        box_xyxy=store.row_box.astype(np.float64),
        gaze_xy=points.reshape(-1, 2),
        peak=peak,
        inout=store.row_inout.astype(np.float64),
        cell=(1 / width, 1 / height),
        roles=store.tracks,
    )


def nine_digits(values: npt.ArrayLike) -> list[float]:
    """Numbers with nine significant digits, which bring a float32 back bit for bit.

    >>> nine_digits([1 / 3, 1920.0])
    [0.333333333, 1920.0]
    """
    return [float(f"{value:.9g}") for value in np.asarray(values, np.float64).tolist()]
