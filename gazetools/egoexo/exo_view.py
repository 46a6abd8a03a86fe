"""One exo video of a take with everything that geometry needs, or the reason why geometry can't be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.cameras import read_calibration
from gazetools.egoexo.geometry import StaticCamera
from gazetools.egoexo.head_boxes import HeadBoxes, head_boxes
from gazetools.egoexo.take import Take
from gazetools.egoexo.takes import take_of_video
from gazetools.egoexo.wearer import WearerTrack, wearer_track
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import DataFileError, HeadsError
from gazetools.schemas.heads import FirstRow

_NO_TIMES = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class ExoView:
    """One exo video with everything that geometry needs."""

    take: Take
    camera: StaticCamera
    """The exo camera, its lens scaled to the decoded video's size."""
    track: WearerTrack
    boxes: HeadBoxes


def exo_view(
    video: Path,
    *,
    width: int,
    height: int,
    frame_count: int,
    rotation_degrees: int = 0,
    first_row: FirstRow = "start",
    sample_times_us: npt.NDArray[np.int64] = _NO_TIMES,
) -> ExoView:
    """Geometry of an exo video of a size as decoded, after its flag turned it by `rotation_degrees`.

    The track has the poses at `sample_times_us` in addition. Raises HeadsError or DataFileError: why the geometry can't
    be trusted, or which files are missing.
    """
    take, camera = exo_camera(video, width=width, height=height, rotation_degrees=rotation_degrees)
    track = wearer_track(
        take, frame_count, graph_uid=camera.graph_uid, first_row=first_row, sample_times_us=sample_times_us
    )
    return ExoView(take=take, camera=camera, track=track, boxes=head_boxes(camera, track.cpf, track.known))


def exo_camera(video: Path, *, width: int, height: int, rotation_degrees: int = 0) -> tuple[Take, StaticCamera]:
    """The take of an exo video and its calibrated camera, at the decoded size and orientation.

    Raises UsageError outside an Ego-Exo4D root, HeadsError for an ego or unusable camera, DataFileError for a
    calibration that is missing or can't be trusted.
    """
    take = take_of_video(video)
    found = next((camera for camera in take.cameras if camera.name == video.stem), None)
    if found is None:
        names = ", ".join(camera.name for camera in take.cameras) or "none"
        raise HeadsError(f"Take {take.name} has no camera {video.stem!r}; its cameras are {names}.")
    if found.is_ego:
        raise HeadsError(
            f"{take.name}/{found.name} is an ego camera: its wearer is not in its picture.",
            hint="Use --views exo, or --heads whole.",
        )
    if found.problem is not None:
        raise HeadsError(f"Take {take.name}: {found.problem}.", hint="Leave this camera out.")
    camera = read_calibration(take.require(take.calibration, "take_trajectory")).camera(found.camera_id)
    stored_landscape, landscape = camera.lens.width > camera.lens.height, width > height
    if rotation_degrees in (90, 270) and stored_landscape != landscape:  # the calibration is of the picture as stored
        camera = camera.turned(rotation_degrees)
    lens = camera.lens.scaled(width=width, height=height, name=f"{take.name}/{found.name}")
    camera = replace(camera, lens=lens)
    return take, camera


def source_sha256(take: Take) -> dict[str, str]:
    """Role -> sha256 of the recordings of a take that are there."""
    paths = {"gopro_calibs": take.calibration, "trajectory": take.trajectory, "timesync": take.timesync}
    return {role: cached_sha256(path) for role, path in paths.items() if path.is_file()}


def cached_sha256(path: Path) -> str:
    """Hex sha256 of a recording, computed again when the file has changed; `absent` where there is none."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return _sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)  # five cameras of a take share a trajectory of 180 MB
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror}.", path=str(path)) from None
