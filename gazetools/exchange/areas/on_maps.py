"""The areas of one video, and the share of each heatmap's mass in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.exchange.areas.area_boxes import FIXED, AreaBoxes
from gazetools.heatmaps.box_mass import cell_weights, disjoint, divided, mass_in_boxes
from gazetools.schemas.errors import DataFileError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_ASPECT_TOLERANCE = 0.02
_OVERSHOOT = 0.1
"""Boxes may reach over the frame by this share of its side; more is another picture's size."""


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """What places areas in a video."""

    video_id: str
    size_wh: tuple[int, int] | None
    """Width and height in pixels; None: unknown."""
    frame_count: int
    """Decoded frames; frames of areas are below it."""
    index: Ints | None
    """[F] decoded frame of each processed one, ascending; None: unknown."""
    pts_seconds: Floats | None
    """[F] None: unknown."""
    frame_seconds: float
    """Time from frame to frame, for areas that are given by time."""


@dataclass(frozen=True, kw_only=True)
class VideoAreas:
    """The areas of one video; columns in the order of `names`."""

    names: Sequence[str]
    held: dict[int, Floats]
    """Column -> boxes [k, 4] in 0..1 that hold for all frames."""
    frame: Ints
    """[m] decoded frame of each of the other boxes, ascending; boxes of one area in one frame do not overlap."""
    column: Ints
    """[m]"""
    box: Floats
    """[m, 4] in 0..1."""

    def masses(self, frames: Ints | None, maps: npt.NDArray[np.float32], total: Floats) -> Floats:
        """Share [n, A] of the mass of maps [n, H, W], sums `total` [n]; NaN where an area has no box in the frame."""
        count = len(maps)
        shares = np.full((count, len(self.names)), np.nan)
        if self.held:
            weights = np.stack([cell_weights(boxes, maps.shape[1:]).ravel() for boxes in self.held.values()])
            sums = (maps.reshape(count, -1) @ weights.T).astype(np.float64)
            shares[:, list(self.held)] = divided(sums, total[:, None])
        if frames is not None and len(self.frame):
            low, high = (np.searchsorted(self.frame, frames, side=side) for side in ("left", "right"))
            row = np.repeat(np.arange(count), high - low)
            if len(row):
                entry = np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)])
                mass = mass_in_boxes(maps, row, self.box[entry], total)
                place = (row, self.column[entry])
                found = np.full(shares.shape, -np.inf)
                found[place] = 0.0
                np.add.at(found, place, mass)
                shares = np.where(np.isneginf(found), shares, found)
        return shares


def areas_of_video(areas: AreaBoxes, names: Sequence[str], video: VideoFrames) -> VideoAreas:
    """The boxes of `areas` that belong to the video, as fractions of its frame.

    Raises DataFileError: the size or the frames of the video are unknown but needed, or do not fit the boxes.
    """
    ids = {None, video.video_id, video.video_id.rsplit("/", 1)[-1]}
    rows = np.array([row for row, one in enumerate(areas.video) if one in ids], np.int64)
    box = _relative(areas, rows, video)
    frame = _frames(areas, rows, video)
    places = {name: column for column, name in enumerate(names)}
    column = np.array([places[areas.name[row]] for row in rows], np.int64)
    kept = frame >= FIXED
    frame, column, box = frame[kept], column[kept], box[kept]
    is_held = np.asarray(frame == FIXED)
    held = {int(one): box[is_held & (column == one)] for one in np.unique(column[is_held])}
    moving = ~is_held
    order = np.lexsort((column[moving], frame[moving]))
    frame, column, box = frame[moving][order], column[moving][order], box[moving][order]
    frame, column, box = _without_overlap(frame, column, box)
    return VideoAreas(names=names, held=held, frame=frame, column=column, box=box)


def _without_overlap(frame: Ints, column: Ints, box: Floats) -> tuple[Ints, Ints, Floats]:
    """The same areas with the boxes of one area in one frame cut into boxes that do not overlap."""
    change = np.flatnonzero((np.diff(frame) != 0) | (np.diff(column) != 0)) + 1
    if len(change) + 1 >= len(frame):
        return frame, column, box
    parts = [disjoint(part) for part in np.split(box, change)]
    first = np.concatenate([[0], change])
    counts = [len(part) for part in parts]
    return np.repeat(frame[first], counts), np.repeat(column[first], counts), np.concatenate(parts)


def _relative(areas: AreaBoxes, rows: Ints, video: VideoFrames) -> Floats:
    """Boxes [n, 4] in 0..1 of the frame."""
    size = areas.size_wh[rows]
    unknown: npt.NDArray[np.bool_] = np.asarray(np.isnan(size).any(axis=1))
    if unknown.any():
        if video.size_wh is None:
            raise DataFileError(
                f"{areas.source}: its boxes are in pixels, but the size of {video.video_id!r} is not known.",
                hint="Write fractions of the frame's sides and pass --areas-units fraction.",
            )
        size = np.where(unknown[:, None], np.array(video.size_wh, np.float64), size)
    elif video.size_wh is not None:
        width, height = video.size_wh
        off = np.abs(size[:, 0] / size[:, 1] / (width / height) - 1) > _ASPECT_TOLERANCE
        wrong = np.flatnonzero((size != 1).any(axis=1) & off)
        if len(wrong):
            theirs = "x".join(f"{side:g}" for side in size[wrong[0]])
            raise DataFileError(
                f"{areas.source}: its boxes are of a {theirs} picture, {video.video_id!r} has {width}x{height}: one "
                "is cropped or turned.",
                hint="Annotate the video that the heatmaps were made from.",
            )
    box = areas.box_xyxy[rows] / np.tile(size, 2)
    far = np.flatnonzero((box < -_OVERSHOOT).any(axis=1) | (box > 1 + _OVERSHOOT).any(axis=1))
    if len(far):
        row = rows[far[0]]
        raise DataFileError(
            f"{areas.source}: the box {areas.box_xyxy[row].tolist()} of {areas.name[row]!r} lies far outside "
            f"{video.video_id!r}, which has {video.size_wh} pixels.",
            hint="Are the boxes of a video of another size?",
        )
    return box


def _frames(areas: AreaBoxes, rows: Ints, video: VideoFrames) -> Ints:
    """[n] decoded frame of each box; below `FIXED` where no processed frame lies at the box's time."""
    frame, seconds = areas.frame[rows].copy(), areas.seconds[rows]
    timed = ~np.isnan(seconds)
    if not len(rows) or bool(((frame == FIXED) & ~timed).all()):
        return frame
    if video.index is None or (timed.any() and video.pts_seconds is None):
        raise DataFileError(
            f"{areas.source} has boxes of single frames, but which frames the rows of {video.video_id!r} show is not "
            "known.",
            hint="Use areas that hold for all frames, or the store.",
        )
    if int(frame.max()) >= video.frame_count:
        raise DataFileError(
            f"{areas.source} has boxes up to frame {int(frame.max())}; {video.video_id!r} has {video.frame_count} "
            "frames, counted from 0.",
            hint="Do its numbers begin with 1? Pass --areas-count-from 1.",
        )
    if not len(video.index):
        frame[timed] = FIXED - 1
    elif timed.any() and video.pts_seconds is not None:
        after = np.clip(np.searchsorted(video.pts_seconds, seconds[timed]), 1, max(len(video.pts_seconds) - 1, 1))
        near = np.stack([after - 1, np.minimum(after, len(video.pts_seconds) - 1)])
        away = np.abs(video.pts_seconds[near] - seconds[timed])
        best = np.take_along_axis(near, away.argmin(axis=0)[None], axis=0)[0]
        close = away.min(axis=0) <= 0.5 * video.frame_seconds + 1e-6
        frame[timed] = np.where(close, video.index[best], FIXED - 1)
    return frame
