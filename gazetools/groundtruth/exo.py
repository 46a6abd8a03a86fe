"""Gaze targets of the wearer in an exo video: eye-gaze ray -> depth -> world point -> the camera's pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.exo_view import ExoView, cached_sha256, exo_view, source_sha256
from gazetools.egoexo.eye_gaze import DepthQuality, EyeGaze, gaze_samples_hint, nearest_samples, read_eye_gaze
from gazetools.egoexo.geometry import Floats, gaze_direction
from gazetools.egoexo.head_boxes import BoxState
from gazetools.egoexo.points import read_scene_points
from gazetools.egoexo.take import Take
from gazetools.groundtruth.render import Cells, cells_of, render, render_segments
from gazetools.groundtruth.targets import Targets
from gazetools.heads.calib import WEARER, head_counts
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.groundtruth import GroundTruthOptions
from gazetools.schemas.store import Prompt
from gazetools.video.source import VideoSource

SEGMENT_NEAR_M, SEGMENT_FAR_M = 0.25, 6.0
"""A target without a depth lies between these distances from the eyes."""
_SEGMENT_STEPS = 48
_SEGMENT_BLOCK = 1024
"""Frames projected at a time: their points (1 MB) stay in the cache."""
_WHOLE_FRAME = np.array([0.0, 0.0, 1.0, 1.0])


def exo_targets(reader: VideoSource, frames: npt.NDArray[np.int64], *, options: GroundTruthOptions) -> Targets:
    """The wearer's gaze target at the `frames` of an exo video of Ego-Exo4D.

    A frame has a row where its time, the wearer's pose and a gaze sample within 60 ms are known. A target outside the
    picture has a map of zeros and inout 0. Without a credible depth `options.unknown_depth` decides; inout is NaN where
    only part of the segment is inside. Raises DataFileError or HeadsError where the recordings can't be used.
    """
    info = reader.info
    view = exo_view(Path(info.path), width=info.width, height=info.height, frame_count=reader.frame_count)
    size = np.array([info.width, info.height], np.float64)
    gaze = _eye_gaze(view.take, options)
    rays = _rays(view, gaze, frames)
    depth, quality = _depths(view, rays, options)
    unknown = quality == DepthQuality.UNKNOWN
    kept = rays.usable & (~unknown | (options.unknown_depth != "skip"))
    depth = np.where(unknown, np.nan, depth)
    segments = _segments(view, rays, kept & unknown, size)
    target_camera = view.camera.to_camera(rays.eyes_world + depth[:, None] * rays.direction_world)
    uv, _ = view.camera.lens.project(target_camera)
    inout = np.where(np.isnan(depth), segments.inout, view.camera.lens.contains(uv).astype(np.float64))
    aims = _Aims(target_camera=target_camera, xy=uv / size, inout=inout, segments=segments)

    rows = np.flatnonzero(kept)
    good_box = view.boxes.state[frames] == BoxState.GOOD
    box = np.where(good_box[:, None], view.boxes.box_xyxy[frames] / np.tile(size, 2), _WHOLE_FRAME)
    lens = view.camera.lens
    return Targets(
        frame=frames[rows],
        track_id=WEARER,
        box_xyxy=box[rows],
        prompt=np.where(good_box, Prompt.GIVEN, Prompt.NONE)[rows],
        inout=aims.inout[rows],
        maps=lambda start, stop: aims.render(rows[start:stop]),
        extras={
            "target_xy": aims.xy[rows].astype(np.float32),
            "target_camera": aims.target_camera[rows].astype(np.float32),
            "eyes_camera": view.camera.to_camera(rays.eyes_world)[rows].astype(np.float32),
            "depth_m": depth[rows].astype(np.float32),
            "depth_quality": quality[rows].astype(np.uint8),
            "sample_age_seconds": (rays.age_us[rows] * 1e-6).astype(np.float32),
        },
        counts=_counts(view, gaze, rays, quality[rows], aims.inout[rows]),
        notes=[
            f"eye gaze: {gaze.path.name} ({gaze.generation})",
            f"timesync: {view.track.times.end_bound}",
            f"unknown depth: {options.unknown_depth}",
            "inout says whether the target is inside the picture; whether something hides it is not known",
        ],
        sources={**source_sha256(view.take), "eye_gaze": cached_sha256(gaze.path)},
        geometry={
            "camera": view.camera.name,
            "take": view.take.name,
            "lens": {name: getattr(lens, name) for name in ("fx", "fy", "cx", "cy", "k", "width", "height")},
        },
    )


def _eye_gaze(take: Take, options: GroundTruthOptions) -> EyeGaze:
    path = take.eye_gaze(kind=options.gaze)
    if path is None:
        raise DataFileError(
            f"Take {take.name} has no {'' if options.gaze == 'auto' else options.gaze + ' '}eye-gaze file.",
            hint=f"Get it with: {take.download('take_eye_gaze')} (some takes have none).",
        )
    return _read_eye_gaze(path, cached_sha256(path))


@lru_cache(maxsize=4)  # shared by the cameras of a take
def _read_eye_gaze(path: Path, _sha256: str) -> EyeGaze:
    return read_eye_gaze(path)


@dataclass(frozen=True, kw_only=True)
class _Rays:
    """Gaze rays at the chosen frames."""

    usable: npt.NDArray[np.bool_]
    no_pose: npt.NDArray[np.bool_]
    no_sample: npt.NDArray[np.bool_]
    age_us: npt.NDArray[np.int64]
    eyes_world: Floats
    """[N, 3] origin of the central pupil frame."""
    direction_world: Floats
    depth_m: Floats
    """[N] NaN where not credible."""


def _rays(view: ExoView, gaze: EyeGaze, frames: npt.NDArray[np.int64]) -> _Rays:
    times = view.track.times.times_us[frames]
    sample, age = nearest_samples(gaze.times_us, times)
    found = sample >= 0
    if not found.any() and (times >= 0).any():
        raise DataFileError(gaze_samples_hint(gaze, times[times >= 0]), path=str(gaze.path))
    direction_cpf = gaze_direction(gaze.yaw[sample], gaze.pitch[sample])
    rotation, posed = view.track.cpf.rotation[frames], view.track.known[frames]
    return _Rays(
        usable=found & posed & np.isfinite(gaze.yaw[sample]),
        no_pose=~posed,
        no_sample=posed & ~found,
        age_us=age,
        eyes_world=view.track.cpf.translation[frames],
        direction_world=np.einsum("nij,nj->ni", rotation, direction_cpf),
        depth_m=np.where(found, gaze.depth_m[sample], np.nan),
    )


def _depths(view: ExoView, rays: _Rays, options: GroundTruthOptions) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Distance and its quality per frame, by the policy for those that eye tracking leaves open."""
    depth = rays.depth_m.copy()
    quality = np.where(np.isfinite(depth), DepthQuality.MEASURED, DepthQuality.UNKNOWN).astype(np.uint8)
    missing = np.flatnonzero(rays.usable & (quality == DepthQuality.UNKNOWN))
    if options.unknown_depth == "fixed":
        depth[missing] = options.fixed_depth_m
        quality[missing] = DepthQuality.FIXED
    elif options.unknown_depth == "points" and missing.size:
        path = view.take.require(view.take.semidense_points, "take_point_cloud")
        scene = read_scene_points(path, graph_uid=view.camera.graph_uid)
        depth[missing] = scene.depths(rays.eyes_world[missing], rays.direction_world[missing])
        quality[missing[np.isfinite(depth[missing])]] = DepthQuality.POINTS
    return depth, quality


@dataclass(frozen=True, kw_only=True)
class _Segments:
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


@dataclass(frozen=True, kw_only=True)
class _Aims:
    """Where the targets of all frames lie in the picture; NaN where their depth is unknown."""

    target_camera: Floats
    """[N, 3] metres in the camera's axes."""
    xy: Floats
    """[N, 2] fractions of the picture."""
    inout: Floats
    """[N] 1 inside the picture, 0 outside, NaN partly inside."""
    segments: _Segments

    def render(self, frames: Cells) -> npt.NDArray[np.float16]:
        """Maps [n, 64, 64] of some frames."""
        lines = np.flatnonzero(np.isnan(self.target_camera[frames, 2]))
        if len(lines) == len(frames):
            return self.segments.render(frames)
        out = render(cells_of(self.xy[frames]))
        out[lines] = self.segments.render(frames[lines])
        return out


def _segments(view: ExoView, rays: _Rays, wanted: npt.NDArray[np.bool_], size: Floats) -> _Segments:
    """The segment on which each wanted frame's target lies."""
    places = np.flatnonzero(wanted)
    inout = np.full(len(wanted), np.nan)
    lengths = np.zeros(len(wanted), np.int64)
    # even steps in 1/depth are about even steps in the picture
    depths = 1 / np.linspace(1 / SEGMENT_NEAR_M, 1 / SEGMENT_FAR_M, _SEGMENT_STEPS)
    eyes = view.camera.to_camera(rays.eyes_world[places])
    direction = rays.direction_world[places] @ view.camera.rotation
    parts = []
    for start in range(0, len(places), _SEGMENT_BLOCK):
        block = slice(start, start + _SEGMENT_BLOCK)
        uv, _ = view.camera.lens.project(eyes[block, None] + depths[:, None] * direction[block, None])
        inside = view.camera.lens.contains(uv)
        inout[places[block]] = np.where(inside.all(axis=1), 1.0, np.where(inside.any(axis=1), np.nan, 0.0))
        cells = np.sort(np.where(inside, cells_of(uv / size), -1).astype(np.int16), axis=1)
        first = np.diff(cells, axis=1, prepend=np.int16(-1)) > 0  # neighbouring steps often share a cell
        lengths[places[block]] = first.sum(axis=1)
        parts.append(cells[first])
    return _Segments(
        cells=np.concatenate([np.zeros(0, np.int16), *parts]).astype(np.int64),
        start=np.concatenate([[0], np.cumsum(lengths)]),
        inout=inout,
    )


def _counts(view: ExoView, gaze: EyeGaze, rays: _Rays, quality: npt.NDArray[np.uint8], inout: Floats) -> dict[str, Any]:
    counts: dict[str, float] = {
        "frames_no_pose": float(rays.no_pose.sum()),
        "frames_no_gaze_sample": float(rays.no_sample.sum()),
        "frames_gaze_lost": float((~rays.usable & ~rays.no_pose & ~rays.no_sample).sum()),
        "inside": float((inout == 1).sum()),
        "outside": float((inout == 0).sum()),
        "partly_inside": float(np.isnan(inout).sum()),
    }
    counts |= {f"depth_{kind.name.lower()}": float((quality == kind).sum()) for kind in DepthQuality}
    counts |= {f"gaze_{name}": float(number) for name, number in gaze.counts.items()}
    return {name: number for name, number in counts.items() if number} | head_counts(view)
