"""Gaze points (CSV) as heatmaps, rendered while loading, for training from raw gaze."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.annotations.segment import csv_lines, missing_columns, named_cells, refuse_problems
from gazetools.heatmaps.people import weight
from gazetools.io.find_files import FileLookup, composed
from gazetools.sampling import nearest_indices
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.excerpt import excerpt
from gazetools.schemas.training import InOutUse, MissingPolicy
from gazetools.schemas.training_data import GazePointSettings
from gazetools.schemas.video_id import check_video_id
from gazetools.trainer.data.maps.base import (
    ClipFramesAsked,
    ClipHeatmaps,
    HeatmapSurvey,
    KnownMaps,
    WantedSource,
    survey_videos,
)

MAX_ROWS = 20_000_000
DEFAULT_SIGMA = 3 / 64
"""Sigma relative to each side: 3 on a map of 64x64, as fkryan/gazelle's get_heatmap."""
# The first of the names that a header has: ours, then those of Ego4D's and Ego-Exo4D's gaze files.
_TIME = ("time_seconds", "pts_seconds", "canonical_timestamp_s")
_FRAME = ("frame", "frame_num", "frame_number")
_X = ("x", "norm_pos_x")
_Y = ("y", "norm_pos_y")


@dataclass(frozen=True, kw_only=True)
class GazePoints:
    """The points of one video, sorted by time. All arrays have length P."""

    key: npt.NDArray[np.float64]
    """Seconds from the video's first frame, or frame indices where `by_frame`."""
    xy: npt.NDArray[np.float64]
    """[P, 2] relative to the whole frame; inside is 0..1, x to the right, y down."""
    inout: npt.NDArray[np.float64]
    """0..1; 0 for points outside the frame, whatever the file says."""
    by_frame: bool


def read_gaze_points(path: Path, settings: GazePointSettings) -> dict[str, GazePoints]:
    """Video id -> points of a CSV, read by column name; without a column video_id, the file's stem is the id.

    Columns: `time_seconds` or `frame` (or Ego4D's canonical_timestamp_s, Ego-Exo4D's frame_num), `x`, `y` (or
    norm_pos_x, norm_pos_y), and optionally `confidence` and `inout`. Rows with an empty x or y are frames without
    gaze. Raises DataFileError with every wrong row (at most 20 shown).
    """
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    problems: list[str] = []
    try:
        lines = csv_lines(path)
        _, header = next(lines)
        columns, by_frame = _columns(header, path)
        for line, values in lines:
            try:
                cells = named_cells(values, columns, len(header))
                parsed = _row(cells, settings)
                video_id = check_video_id(cells["video_id"]) if "video_id" in cells else composed(path.stem)
                rows.setdefault(video_id, []).extend([parsed] if parsed is not None else [])
            except (ValueError, UsageError) as error:
                problems.append(f"line {line}: {error}")
            if line > MAX_ROWS:
                raise DataFileError(f"{path} has more than {MAX_ROWS} rows.", hint="Split it by video.")
    except OSError as error:
        raise DataFileError(f"Cannot read the gaze points {path}: {error.strerror}.") from error
    refuse_problems(path, problems)
    return {video_id: _sorted(found, by_frame) for video_id, found in rows.items()}


def _columns(header: list[str], path: Path) -> tuple[dict[str, int], bool]:
    """(Column -> its place in the header, whether the points are of frames instead of times)."""
    names = {"key": (*_TIME, *_FRAME), "x": _X, "y": _Y}
    found = {column: next((name for name in known if name in header), "") for column, known in names.items()}
    wanted = {"key": "time_seconds (or frame)", "x": "x", "y": "y"}
    if missing := [wanted[column] for column, name in found.items() if not name]:
        raise missing_columns(path, missing, header, "Gaze points need time_seconds or frame, x and y.")
    found |= {name: name for name in ("video_id", "confidence", "inout") if name in header}
    return {column: header.index(name) for column, name in found.items()}, found["key"] in _FRAME


def _row(cells: dict[str, str], settings: GazePointSettings) -> tuple[float, float, float, float] | None:
    """(key, x, y, inout) of one row; None for a row without gaze."""
    key = _number("time or frame", cells["key"])
    if key < 0:
        raise ValueError(f"time or frame {cells['key']} is negative")
    if any(not cells[axis] or math.isnan(float(cells[axis])) for axis in "xy"):
        return None
    if cells.get("confidence") and _number("confidence", cells["confidence"]) < settings.min_confidence:
        return None
    x, y = _number("x", cells["x"]), _number("y", cells["y"])
    if settings.points_size is not None:
        x, y = x / settings.points_size[0], y / settings.points_size[1]
    if settings.y_axis == "up":
        y = 1.0 - y
    if settings.points_size is None and max(abs(x), abs(y)) > 8:
        raise ValueError(f"({cells['x']}, {cells['y']}) is not relative to the frame; set points_size for pixels")
    inout = _number("inout", cells["inout"]) if cells.get("inout") else 1.0
    return key, x, y, inout if 0.0 <= x <= 1.0 and 0.0 <= y <= 1.0 else 0.0


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} = {excerpt(text, 60)} is no number")
    return value


def _sorted(rows: list[tuple[float, float, float, float]], by_frame: bool) -> GazePoints:
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return GazePoints(key=table[:, 0], xy=table[:, 1:3], inout=table[:, 3], by_frame=by_frame)


def sigma_relative(settings: GazePointSettings, frame_hw: tuple[int, int]) -> tuple[float, float]:
    """(x, y) width of the Gaussian relative to the frame's sides.

    Degrees are those at the centre of a pinhole camera: pixels = focal length * tan(angle).
    """
    height, width = frame_hw
    if settings.sigma_degrees is not None and settings.horizontal_fov_degrees is not None:
        focal = width / 2 / math.tan(math.radians(settings.horizontal_fov_degrees) / 2)
        pixels = focal * math.tan(math.radians(settings.sigma_degrees))
    elif settings.sigma_pixels is not None:
        pixels = settings.sigma_pixels
    else:
        return DEFAULT_SIGMA, DEFAULT_SIGMA
    return pixels / width, pixels / height


def render_points(
    xy: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    *,
    sigma_xy: tuple[float, float],
    size_hw: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """float32 [H, W]: the largest, over points, of weight * exp(-(dx^2 / 2 sx^2 + dy^2 / 2 sy^2)) at cell centres.

    Positions and sigma are relative to the frame; peaks are 1 where a point lies on a cell's centre.
    """
    height, width = size_hw
    xs, ys = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    across = np.exp(-0.5 * ((xs[None, :] - xy[:, :1]) / sigma_xy[0]) ** 2)
    down = np.exp(-0.5 * ((ys[None, :] - xy[:, 1:]) / sigma_xy[1]) ** 2)
    maps = weights[:, None, None] * down[:, :, None] * across[:, None, :]
    return maps.max(axis=0, initial=0.0).astype(np.float32)


class PointMaps:
    """Maps rendered from the gaze points of `path`: one CSV with a column video_id, or a folder of `<video_id>.csv`."""

    def __init__(self, path: Path, settings: GazePointSettings, *, missing: MissingPolicy, inout: InOutUse) -> None:
        self.path = path
        self._files = FileLookup(path, [".csv"])
        self.settings = settings
        self.missing = missing
        self.inout = inout
        self._points: dict[str, GazePoints] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A loader's worker reads the files of a folder that it needs; the points of one big file are sent to it.
        return {**self.__dict__, "_points": {} if self.path.is_dir() else self._points}

    @classmethod
    def from_config(cls, wanted: WantedSource) -> PointMaps:
        """The source of a config; UsageError where sigma needs a picture's size that is not known."""
        points = wanted.settings.points
        sized = points.sigma_pixels is not None or points.sigma_degrees is not None
        if sized and wanted.view is not None and points.points_size is None:
            raise UsageError(
                f"The gaze points {wanted.path} are of another view, whose size in pixels is not known for sigma.",
                hint=f"Set points.points_size of the heatmap source {wanted.name!r}.",
            )
        return cls(wanted.path, points, missing=wanted.missing, inout=wanted.inout)

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        """What there is for these videos. Raises DataFileError where one broken file holds the points of all videos."""
        if not self.path.is_dir() and not self._points:
            self._points = read_gaze_points(self.path, self.settings)
        return survey_videos(video_ids, self._inspect)

    def _inspect(self, video_id: str) -> KnownMaps | None:
        points = self._points_of(video_id)
        if points is None:
            return None
        table = np.column_stack([points.key, points.xy, points.inout])
        return KnownMaps(content=hashlib.sha256(table.tobytes()).hexdigest())

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        """Maps of the frames asked for. A point outside the frame gives an empty map, which is valid."""
        points = self._points_of(video_id)
        if points is None:
            raise DataFileError(f"{self.path} has no gaze points of {video_id!r}.")
        size = self.settings.points_size
        frame_hw = asked.frame_hw if asked.same_video or size is None else (size[1], size[0])
        sigma = sigma_relative(self.settings, frame_hw)
        times = asked.video_pts_seconds - asked.video_pts_seconds[0]
        moments, first = np.unique(self._times_of(points, times, video_id), return_index=True)
        usable = int(np.searchsorted(moments, asked.end_seconds, side="left"))
        ends = np.append(first[1:], len(points.key))
        size_hw, wanted = self.settings.map_size, times[asked.indices]
        maps = np.zeros((len(wanted), *size_hw), dtype=np.float32)
        if not usable:
            return ClipHeatmaps(maps_thw=maps, invalid_frames=len(maps))
        nearest = np.minimum(nearest_indices(moments, wanted), usable - 1)
        near = np.abs(moments[nearest] - wanted) <= self.settings.max_gap_sec
        weights = weight(points.inout, self.inout)
        if weights is None:  # a target outside the frame shows nothing under any option
            weights = (points.inout > 0).astype(np.float64)
        for place in np.flatnonzero(near).tolist():
            chosen = slice(int(first[nearest[place]]), int(ends[nearest[place]]))
            maps[place] = render_points(points.xy[chosen], weights[chosen], sigma_xy=sigma, size_hw=size_hw)
        return ClipHeatmaps(maps_thw=maps, invalid_frames=int((~near).sum()))

    def _times_of(self, points: GazePoints, times: npt.NDArray[np.float64], video_id: str) -> npt.NDArray[np.float64]:
        if not points.by_frame:
            return points.key
        frames = points.key.astype(np.int64)
        if len(frames) and (frames[-1] >= len(times) or (frames != points.key).any()):
            raise DataFileError(
                f"{self.path}: the gaze points of {video_id!r} reach frame {points.key[-1]:g}, its video has "
                f"{len(times)} frames.",
                hint="Frames count from 0 among the decoded frames; use time_seconds for another rate.",
            )
        return times[frames]

    def _points_of(self, video_id: str) -> GazePoints | None:
        if self.path.is_dir():
            path = self._files.find(video_id)
            if video_id not in self._points and path is not None:
                of_file = read_gaze_points(path, self.settings)
                self._points[video_id] = of_file.get(video_id) or next(iter(of_file.values()), _sorted([], False))
        elif not self._points:
            self._points = read_gaze_points(self.path, self.settings)
        return self._points.get(video_id)
