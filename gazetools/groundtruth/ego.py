"""The wearer's gaze in the wearer's own picture: 2-D gaze of Ego-Exo4D, gaze CSV of Ego4D."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazetools.annotations.ego4d import read_wearer_gaze
from gazetools.egoexo.exo_view import cached_sha256
from gazetools.egoexo.gaze_2d import UPRIGHT_RGB, read_gaze_2d
from gazetools.egoexo.geometry import Floats
from gazetools.egoexo.take import Take
from gazetools.egoexo.wearer import frame_times
from gazetools.groundtruth.render import cells_of, render
from gazetools.groundtruth.targets import Frames, Targets
from gazetools.heads.calib import WEARER
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.groundtruth import GroundTruthOptions
from gazetools.schemas.store import Prompt
from gazetools.video.source import VideoSource


def egoexo_targets(reader: VideoSource, frames: Frames, *, take: Take, options: GroundTruthOptions) -> Targets:
    """Gaze in the Aria RGB video from `*_eye_gaze_2d.csv`, whose pixels refer to the upright 1408x1408 picture.

    A target beyond the picture's edge has a map of zeros and inout 0. Raises DataFileError where the file is missing or
    of another calibration, the video is not square, or it is of other glasses than the wearer's.
    """
    path = take.eye_gaze(flat=True, kind=options.gaze)
    if path is None:
        raise DataFileError(
            f"Take {take.name} has no 2-D eye-gaze file.", hint=f"Get it with: {take.download('take_eye_gaze')}"
        )
    width, height, frame_count = reader.info.width, reader.info.height, reader.frame_count
    if width != height:
        raise DataFileError(
            f"Take {take.name}: the ego video is {width}x{height}; 2-D gaze refers to the square upright RGB picture.",
            hint="Use the frame-aligned RGB video (214-1).",
        )
    gaze = read_gaze_2d(path)
    clock = frame_times(take, frame_count, first_row=options.first_row) if take.timesync.is_file() else None
    found = next((camera for camera in take.cameras if camera.name == Path(reader.info.path).stem), None)
    if clock is not None and found is not None and found.camera_id in take.arias and found.camera_id != clock.glasses:
        raise DataFileError(
            f"Take {take.name}: the video is of {found.camera_id}, but the gaze is of the wearer of {clock.glasses} "
            f"({'; '.join(clock.notes)}).",
            hint=f"Pass --cameras {clock.glasses}.",
        )
    by_time = clock is not None and bool((gaze.times_us >= 0).all())
    xy = gaze.of_frames(frame_count, clock.times_us if clock is not None and by_time else None) / UPRIGHT_RGB
    notes = clock.notes if clock is not None else ()
    rule = "samples matched by time" if by_time else "sample of frame i = row (i + 1) // 3: no times to match by"
    return _targets(
        xy[frames],
        frames,
        age=np.full(len(frames), np.nan),
        counts={},
        notes=[f"2-D gaze: {path.name}", rule, f"frame 0 is row {options.first_row} of timesync.csv", *notes],
        warnings=notes,
        sources={"eye_gaze_2d": cached_sha256(path)},
    )


def ego4d_targets(reader: VideoSource, frames: Frames, *, gaze_path: Path, options: GroundTruthOptions) -> Targets:
    """Gaze in an Ego4D video from `gaze/<video_uid>.csv`."""
    gaze = read_wearer_gaze(
        gaze_path, reader.frame_count, min_confidence=options.min_confidence, origin=options.gaze_origin
    )
    return _targets(
        gaze.xy[frames],
        frames,
        age=gaze.age_seconds[frames],
        counts={f"gaze_{name}": float(count) for name, count in gaze.counts.items() if count},
        notes=[f"gaze: {gaze_path.name}", f"norm_pos origin taken as {options.gaze_origin}; look at one video"],
        sources={"gaze": cached_sha256(gaze_path)},
    )


def _targets(
    xy: Floats,
    frames: Frames,
    *,
    age: Floats,
    counts: dict[str, float],
    notes: list[str],
    sources: dict[str, str],
    warnings: tuple[str, ...] = (),
) -> Targets:
    rows = np.flatnonzero(np.isfinite(xy).all(axis=1))
    cells = cells_of(xy[rows])
    inout = (cells >= 0).astype(np.float64)
    inside = float(inout.sum())
    found = {"frames_no_gaze_sample": float(len(xy) - len(rows)), "inside": inside, "outside": len(rows) - inside}
    return Targets(
        frame=frames[rows],
        track_id=WEARER,
        box_xyxy=np.tile([0.0, 0.0, 1.0, 1.0], (len(rows), 1)),
        prompt=np.full(len(rows), Prompt.NONE),
        inout=inout,
        maps=lambda start, stop: render(cells[start:stop]),
        extras={"target_xy": xy[rows].astype(np.float32), "sample_age_seconds": age[rows].astype(np.float32)},
        counts={name: count for name, count in found.items() if count} | counts,
        notes=notes,
        warnings=warnings,
        sources=sources,
        geometry={},
    )
