"""The videos of an Ego-Exo4D or Ego4D root that ground truth is wanted of, and what is not there."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.annotations.ego4d import download_command, ego4d_folder, ego4d_videos_with_gaze, missing_ego4d
from gazetools.egoexo.take import CameraVideo, Take
from gazetools.egoexo.takes import choose_cameras, choose_takes, is_egoexo_root
from gazetools.egoexo.takes_file import TAKES_NAME
from gazetools.groundtruth.ego import ego4d_targets, egoexo_targets
from gazetools.groundtruth.exo import exo_targets
from gazetools.groundtruth.targets import Targets
from gazetools.schemas.errors import UsageError
from gazetools.schemas.groundtruth import GroundTruthOptions
from gazetools.video import VideoReader


@dataclass(frozen=True, kw_only=True)
class TruthVideo:
    """One video to render."""

    video_id: str
    path: Path | None
    lacking: str
    """What to say where `path` is None."""
    targets: Callable[[VideoReader, npt.NDArray[np.int64]], Targets]


def missing_files(root: str | Path, options: GroundTruthOptions) -> dict[str, list[tuple[str, str]]]:
    """What is not there: take (Ego4D: video uid) -> (file or camera, download command); nothing is done."""
    base = Path(root).expanduser()
    if (folder := ego4d_folder(base)) is not None and not is_egoexo_root(base):
        return missing_ego4d(base, folder, options.takes)
    if not is_egoexo_root(base):
        raise _no_root(base)
    takes, unusable = choose_takes(base, options.takes)
    again = f"egoexo -o {base} --parts metadata"
    lacking = {take.name: _lacks(take, options, again) for take in takes}
    lacking |= {entry.item_id: [(f"a usable entry ({entry.message})", again)] for entry in unusable}
    return {name: files for name, files in lacking.items() if files}


def _lacks(take: Take, options: GroundTruthOptions, metadata: str) -> list[tuple[str, str]]:
    """What a take lacks: files, and cameras that takes.json spoils."""
    cameras = choose_cameras(take, views=options.view, cameras=options.cameras)
    spoilt = [(camera.problem, metadata) for camera in cameras if camera.problem is not None]
    return spoilt + take.missing(options.view, points=options.unknown_depth == "points")


def _no_root(root: Path) -> UsageError:
    return UsageError(
        f"{root} is neither an Ego-Exo4D root (takes.json beside takes/) nor an Ego4D one (gaze/ beside "
        "full_scale/ or video_540ss/).",
        hint=f"Get one with: egoexo -o {root} --parts metadata takes captures take_trajectory take_eye_gaze "
        f"(or {download_command(root, 'gaze full_scale')})",
    )


def plan(root: Path, options: GroundTruthOptions) -> list[TruthVideo]:
    """The videos of a root, those that can't be worked on too; UsageError where nothing can be chosen."""
    if is_egoexo_root(root):
        takes, unusable = choose_takes(root, options.takes)
        jobs = [_lost(entry.item_id, entry.message) for entry in unusable]
        for take in takes:
            cameras = choose_cameras(take, views=options.view, cameras=options.cameras)
            if not cameras and options.cameras is None:
                jobs.append(_lost(take.name, f"{root / TAKES_NAME} lists no {options.view} video of it."))
            jobs += [_egoexo_job(take, camera, options) for camera in cameras]
        if not jobs:
            raise UsageError(f"No {options.view} camera of the chosen takes is left.", hint="Check --cameras.")
        return jobs
    folder = ego4d_folder(root)
    if folder is None:
        raise _no_root(root)
    if options.view != "ego":
        raise UsageError("Ego4D has no third-person view of its wearer.", hint="Pass --view ego.")
    patterns = [part.strip() for part in (options.takes or "*").split(",")]
    jobs = []
    for uid, video, gaze in ego4d_videos_with_gaze(folder):
        if any(fnmatch.fnmatchcase(uid, pattern) for pattern in patterns):
            lacking = f"The video of {gaze} is missing. Get it with: {download_command(root, 'full_scale', uid)}"
            jobs.append(
                TruthVideo(video_id=uid, path=video, lacking=lacking, targets=partial(_of_ego4d, gaze, options))
            )
    if not jobs:
        raise UsageError(f"{folder / 'gaze'} has no gaze of {options.takes or 'any video'}.", hint="Check --takes.")
    return jobs


def _lost(video_id: str, reason: str) -> TruthVideo:
    """What can't be worked on, as an item that fails by name."""
    return TruthVideo(video_id=video_id, path=None, lacking=reason, targets=_no_targets)


def _no_targets(reader: VideoReader, frames: npt.NDArray[np.int64]) -> Targets:
    raise AssertionError("a job without a video has no targets")


def _egoexo_job(take: Take, camera: CameraVideo, options: GroundTruthOptions) -> TruthVideo:
    if camera.problem is not None:
        return _lost(take.video_id(camera), f"{camera.problem}.")
    return TruthVideo(
        video_id=take.video_id(camera),
        path=camera.path,
        lacking=f"The video is missing. Get it with: {take.download('takes')} --views {options.view}",
        targets=partial(_of_exo, options) if options.view == "exo" else partial(_of_ego, take, options),
    )


def _of_exo(options: GroundTruthOptions, reader: VideoReader, frames: npt.NDArray[np.int64]) -> Targets:
    return exo_targets(Path(reader.info.path), frames, **_size(reader), options=options)


def _of_ego(take: Take, options: GroundTruthOptions, reader: VideoReader, frames: npt.NDArray[np.int64]) -> Targets:
    return egoexo_targets(take, frames, **_size(reader), options=options)


def _of_ego4d(gaze: Path, options: GroundTruthOptions, reader: VideoReader, frames: npt.NDArray[np.int64]) -> Targets:
    return ego4d_targets(gaze, frames, frame_count=reader.frame_count, options=options)


def _size(reader: VideoReader) -> dict[str, int]:
    return {"width": reader.info.width, "height": reader.info.height, "frame_count": reader.frame_count}
