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
from gazetools.egoexo.takes import take_of_video
from gazetools.groundtruth.render import Cells, cells_of, render
from gazetools.groundtruth.segments import Segments, draw_segments
from gazetools.groundtruth.targets import Targets
from gazetools.heads.calib import WEARER, head_counts
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.groundtruth import GroundTruthOptions
from gazetools.schemas.store import Prompt
from gazetools.video.source import VideoSource

_WHOLE_FRAME = np.array([0.0, 0.0, 1.0, 1.0])


def exo_targets(reader: VideoSource, frames: npt.NDArray[np.int64], *, options: GroundTruthOptions) -> Targets:
    """The wearer's gaze target at the `frames` of an exo video of Ego-Exo4D.

    A frame has a row where its time, the wearer's pose and a gaze sample within 60 ms are known. A target outside the
    picture has a map of zeros and inout 0. Without a credible depth `options.unknown_depth` decides; inout is NaN where
    only part of the segment is inside. Raises DataFileError or HeadsError where the recordings can't be used.
    """
    info = reader.info
    gaze = _eye_gaze(take_of_video(Path(info.path)), options)
    view = exo_view(
        Path(info.path),
        width=info.width,
        height=info.height,
        frame_count=reader.frame_count,
        rotation_degrees=info.rotation_degrees,
        first_row=options.first_row,
        sample_times_us=gaze.times_us,
    )
    size = np.array([info.width, info.height], np.float64)
    rays = _rays(view, gaze, frames)
    depth, quality = _depths(view, rays, options)
    unknown = quality == DepthQuality.UNKNOWN
    kept = rays.usable & (~unknown | (options.unknown_depth != "skip"))
    depth = np.where(unknown, np.nan, depth)
    from_camera = view.camera.to_camera(rays.origin_world)
    segments = draw_segments(
        view.camera.lens, from_camera, rays.direction_world @ view.camera.rotation, wanted=kept & unknown
    )
    target_camera = view.camera.to_camera(rays.origin_world + depth[:, None] * rays.direction_world)
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
            "eyes_camera": view.camera.to_camera(view.track.cpf.translation[frames])[rows].astype(np.float32),
            "depth_m": depth[rows].astype(np.float32),
            "depth_quality": quality[rows].astype(np.uint8),
            "sample_age_seconds": (rays.age_us[rows] * 1e-6).astype(np.float32),
        },
        counts=_counts(view, gaze, rays, quality[rows], aims.inout[rows]),
        notes=_notes(view, gaze, options, known=int(np.isfinite(depth[rows]).sum()), rows=len(rows)),
        warnings=view.track.times.notes,
        sources={**source_sha256(view.take), "eye_gaze": cached_sha256(gaze.path)},
        geometry={
            "camera": view.camera.name,
            "take": view.take.name,
            "glasses": view.track.times.glasses,
            "timesync_start": view.take.timesync_start,
            "lens": {name: getattr(lens, name) for name in ("fx", "fy", "cx", "cy", "k", "width", "height")},
        },
    )


def _notes(view: ExoView, gaze: EyeGaze, options: GroundTruthOptions, *, known: int, rows: int) -> list[str]:
    """Which files and rules were used."""
    return [
        f"eye gaze: {gaze.path.name} ({gaze.generation})",
        f"timesync: {view.track.times.end_bound}; frame 0 is row {options.first_row}",
        *view.track.times.notes,
        f"unknown depth: {options.unknown_depth}; a depth is known in {known} of {rows} rows",
        "inout says whether the target is inside the picture; whether something hides it is not known",
    ]


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
    origin_world: Floats
    """[N, 3] origin of the central pupil frame at the time of the sample; as the direction of the sample's own pose."""
    direction_world: Floats
    borrowed: npt.NDArray[np.bool_]
    """[N] The pose at the sample's time is unknown, so that the ray has the frame's."""
    depth_m: Floats
    """[N] NaN where not credible."""


def _rays(view: ExoView, gaze: EyeGaze, frames: npt.NDArray[np.int64]) -> _Rays:
    times = view.track.times.times_us[frames]
    sample, age = nearest_samples(gaze.times_us, times)
    found = sample >= 0
    if not found.any() and (times >= 0).any():
        raise DataFileError(gaze_samples_hint(gaze, times[times >= 0]), path=str(gaze.path))
    direction_cpf = gaze_direction(gaze.yaw[sample], gaze.pitch[sample])
    track = view.track
    posed, own = track.known[frames], found & track.sample_known[sample]
    rotation = np.where(own[:, None, None], track.sample_cpf.rotation[sample], track.cpf.rotation[frames])
    return _Rays(
        usable=found & posed & np.isfinite(gaze.yaw[sample]),
        no_pose=~posed,
        no_sample=posed & ~found,
        age_us=age,
        origin_world=np.where(own[:, None], track.sample_cpf.translation[sample], track.cpf.translation[frames]),
        borrowed=found & posed & ~own,
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
        depth[missing] = scene.depths(rays.origin_world[missing], rays.direction_world[missing])
        quality[missing[np.isfinite(depth[missing])]] = DepthQuality.POINTS
    return depth, quality


@dataclass(frozen=True, kw_only=True)
class _Aims:
    """Where the targets of all frames lie in the picture; NaN where their depth is unknown."""

    target_camera: Floats
    """[N, 3] metres in the camera's axes."""
    xy: Floats
    """[N, 2] fractions of the picture."""
    inout: Floats
    """[N] 1 inside the picture, 0 outside, NaN partly inside."""
    segments: Segments

    def render(self, frames: Cells) -> npt.NDArray[np.float16]:
        """Maps [n, 64, 64] of some frames."""
        lines = np.flatnonzero(np.isnan(self.target_camera[frames, 2]))
        if len(lines) == len(frames):
            return self.segments.render(frames)
        out = render(cells_of(self.xy[frames]))
        out[lines] = self.segments.render(frames[lines])
        return out


def _counts(view: ExoView, gaze: EyeGaze, rays: _Rays, quality: npt.NDArray[np.uint8], inout: Floats) -> dict[str, Any]:
    counts: dict[str, float] = {
        "frames_no_pose": float(rays.no_pose.sum()),
        "frames_no_gaze_sample": float(rays.no_sample.sum()),
        "rays_of_frame_pose": float((rays.usable & rays.borrowed).sum()),
        "frames_gaze_lost": float((~rays.usable & ~rays.no_pose & ~rays.no_sample).sum()),
        "inside": float((inout == 1).sum()),
        "outside": float((inout == 0).sum()),
        "partly_inside": float(np.isnan(inout).sum()),
    }
    counts |= {f"depth_{kind.name.lower()}": float((quality == kind).sum()) for kind in DepthQuality}
    counts |= {f"gaze_{name}": float(number) for name, number in gaze.counts.items()}
    return {name: number for name, number in counts.items() if number} | head_counts(view)
