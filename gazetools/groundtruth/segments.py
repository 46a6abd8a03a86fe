"""Segments of gaze rays in a fisheye picture: every cell of the map that the projected segment passes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Fisheye, Floats
from gazetools.groundtruth.render import SIZE, Cells, render_segments

SEGMENT_NEAR_M, SEGMENT_FAR_M = 0.25, 6.0
"""A target without a depth lies between these distances from the eyes."""
_STEP_CELLS = 0.9
"""Largest distance of neighbouring points in the map. A line in a fisheye picture has a radius of some 100 cells, so
that the straight piece between two points misses the curve by about 1/1000 of a cell."""
_MAX_STEPS = 1024
_BLOCK = 256
"""Frames projected at a time."""
_NUDGE = 1e-7
"""Radians by which a cut segment ends before the plane of the camera, where a point has no pixel."""
_THROUGH_M = 1e-6
"""A segment that passes the camera's centre nearer than this is seen as its two ends."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Where the targets of frames without a depth lie."""

    cells: Cells
    """[M] all cells of all segments, frame by frame."""
    start: Cells
    """[N + 1] frame i has the cells [start[i], start[i + 1]); none where it is not wanted."""
    inout: Floats
    """[N] 1 inside the picture, 0 outside, NaN partly inside or not wanted."""

    def render(self, frames: Cells) -> npt.NDArray[np.float16]:
        """Maps [n, 64, 64] of some frames."""
        lengths = self.start[frames + 1] - self.start[frames]
        owner = np.repeat(np.arange(len(frames)), lengths)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return render_segments(owner, self.cells[np.repeat(self.start[frames], lengths) + within], len(frames))


def draw_segments(lens: Fisheye, eyes: Floats, direction: Floats, *, wanted: npt.NDArray[np.bool_]) -> Segments:
    """The segment from 0.25 to 6 m of each ray [N, 3] (camera's axes, unit directions) where it is `wanted` [N]."""
    places = np.flatnonzero(wanted)
    inout = np.full(len(wanted), np.nan)
    lengths = np.zeros(len(wanted), np.int64)
    parts = []
    for begin in range(0, len(places), _BLOCK):
        block = places[begin : begin + _BLOCK]
        rays, whole = _even_rays(lens, eyes[block], direction[block])
        uv, _ = lens.project(rays)
        inside = lens.contains(uv)
        inout[block] = np.where(whole & inside.all(axis=1), 1.0, np.where(inside.any(axis=1), np.nan, 0.0))
        cells = np.sort(_cells_passed(uv / np.array([lens.width, lens.height])), axis=1)
        first = np.diff(cells, axis=1, prepend=np.int16(-1)) > 0  # each cell once, and never -1, outside the picture
        lengths[block] = first.sum(axis=1)
        parts.append(cells[first])
    return Segments(
        cells=np.concatenate([np.zeros(0, np.int16), *parts]).astype(np.int64),
        start=np.concatenate([[0], np.cumsum(lengths)]),
        inout=inout,
    )


def _even_rays(lens: Fisheye, eyes: Floats, direction: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Directions [N, S, 3] from the camera to points of the segments, in even steps of the angle at the camera.

    Of a segment that passes behind the camera only the part before it counts; the second array [N] is False there.

    With h the distance of the ray from the camera and m the unit vector to its nearest point, the ray's point at the
    angle a behind that one lies in the direction cos(a) m + sin(a) u. Even angles are even steps in the picture of an
    equidistant camera, and nearly so in that of any fisheye, wherever the segment lies.
    """
    along = np.einsum("ni,ni->n", eyes, direction)
    nearest = eyes - along[:, None] * direction
    height = np.linalg.norm(nearest, axis=1)
    through = height < _THROUGH_M
    ends = np.stack([along + SEGMENT_NEAR_M, along + SEGMENT_FAR_M], axis=1)
    angles = np.where(
        through[:, None], np.sign(ends) * np.pi / 2, np.arctan2(ends, np.maximum(height, 1e-300)[:, None])
    )
    toward = np.where(through[:, None], 0.0, nearest / np.where(through, 1.0, height)[:, None])
    angles, whole = _before_camera(angles, toward[:, 2], direction[:, 2])
    span = float((angles[~through, 1] - angles[~through, 0]).max(initial=0.0))
    cells_per_radian = SIZE * max(lens.fx / lens.width, lens.fy / lens.height) * _steepest(lens)
    steps = int(np.clip(np.ceil(span * cells_per_radian / _STEP_CELLS), 1, _MAX_STEPS))
    share = np.linspace(0.0, 1.0, steps + 1)
    between = angles[:, :1] + (angles[:, 1:] - angles[:, :1]) * share
    between = np.where(through[:, None] & (share > 0) & (share < 1), angles[:, :1], between)
    rays = np.cos(between)[..., None] * toward[:, None] + np.sin(between)[..., None] * direction[:, None]
    return rays, whole


def _before_camera(angles: Floats, toward_z: Floats, along_z: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Ranges of angles [N, 2] without their parts at cos(a) toward_z + sin(a) along_z < 0; False where one was cut."""
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.arctan(-toward_z / along_z)
    depth = np.cos(angles) * toward_z[:, None] + np.sin(angles) * along_z[:, None]
    cut = (angles[:, 0] < level) & (level < angles[:, 1]) & (depth[:, 0] * depth[:, 1] < 0)
    level = np.where(cut, level, 0.0)
    low = np.where(cut & (depth[:, 0] < 0), level + _NUDGE, angles[:, 0])
    high = np.where(cut & (depth[:, 1] < 0), level - _NUDGE, angles[:, 1])
    return np.stack([low, high], axis=1), ~cut


def _steepest(lens: Fisheye) -> float:
    """Largest growth of the distorted angle per radian in the half plane before the camera, at least 1.

    Across the radius the picture grows by rd / sin(angle), which is larger: at most pi / 2 times.
    """
    angle = np.linspace(0.0, min(lens.max_angle, np.pi / 2), 64)
    square = angle**2
    k1, k2, k3, k4 = lens.k
    slope = 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))
    across = (1 + square * (k1 + square * (k2 + square * (k3 + square * k4)))) * angle[-1] / np.sin(angle[-1])
    return float(max(1.0, slope.max(), across.max()))


def _cells_passed(xy: Floats) -> npt.NDArray[np.int16]:
    """Cells [N, 3 S - 2] of the points [N, S, 2] (fractions of the picture) and of the straight pieces between them.

    A piece under one cell crosses at most one line of the grid in each direction. Between the two crossings, if there
    are two, it is in a third cell: that of the middle of the two. -1 outside the picture and for NaN.
    """
    x, y = xy[..., 0] * SIZE, xy[..., 1] * SIZE
    at_x, at_y = _crossing(x), _crossing(y)
    middle = np.where((at_x >= 0) & (at_y >= 0), (at_x + at_y) / 2, 0.0)
    between = (one[:, :-1] + middle * np.diff(one, axis=1) for one in (x, y))
    return np.concatenate([_cells(x, y), _cells(*between)], axis=1)


def _crossing(places: Floats) -> Floats:
    """Share [N, S - 1] of each piece at which it crosses a line of the grid in one direction; -1 where it does not."""
    begin, end = places[:, :-1], places[:, 1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        at = (np.floor(np.maximum(begin, end)) - begin) / (end - begin)
    return np.where((at >= 0) & (at <= 1), at, -1.0)


def _cells(x: Floats, y: Floats) -> npt.NDArray[np.int16]:
    """Cell numbers of places in cells, as `cells_of` has them; -1 outside the picture and for NaN."""
    inside = (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
    column, row = (np.where(inside, one, 0.0).astype(np.int16) for one in (x, y))
    return np.where(inside, row * np.int16(SIZE) + column, np.int16(-1))
