"""The videos of an Ego-Exo4D or Ego4D root for which ground truth is wanted, and the files that are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gazetools.annotations.ego4d import ego4d_folder, ego4d_videos_with_gaze, missing_ego4d
from gazetools.egoexo.take import CameraVideo, Take
from gazetools.egoexo.takes import choose_cameras, choose_takes, is_egoexo_root
from gazetools.egoexo.takes_file import TAKES_NAME
from gazetools.groundtruth.ego import ego4d_targets, egoexo_targets
from gazetools.groundtruth.exo import exo_targets
from gazetools.groundtruth.targets import Frames, Targets
from gazetools.schemas.downloads import ego4d_command, egoexo_command
from gazetools.schemas.errors import UsageError
from gazetools.schemas.groundtruth import GroundTruthOptions
from gazetools.video.source import VideoSource


@dataclass(frozen=True, kw_only=True)
class TruthVideo:
    """One video to render."""

    video_id: str
    path: Path | None = None
    lacking: str
    """Message for the user where `path` is None."""
    targets: Callable[[VideoSource, Frames], Targets] | None = None
    """Gaze targets at some frames of the open video; None without a video."""


def missing_files(root: str | Path, options: GroundTruthOptions) -> dict[str, list[tuple[str, str]]]:
    """Missing files: take (Ego4D: video uid) -> (file or camera, download command); nothing is done."""
    base = Path(root).expanduser()
    if not is_egoexo_root(base):
        return missing_ego4d(base, _ego4d_folder(base), options.takes)
    takes, unusable = choose_takes(base, options.takes)
    again = egoexo_command(base, "metadata")
    lacking = {}
    for take in takes:
        cameras = choose_cameras(take, views=options.view, cameras=options.cameras)
        lacking[take.name] = [(camera.problem, again) for camera in cameras if camera.problem is not None]
        lacking[take.name] += take.missing(options.view, points=options.unknown_depth == "points")
    lacking |= {entry.item_id: [(f"a usable entry ({entry.message})", again)] for entry in unusable}
    return {name: files for name, files in lacking.items() if files}


def _ego4d_folder(root: Path) -> Path:
    """As `ego4d_folder`; UsageError where `root` is no root of a known kind."""
    if folder := ego4d_folder(root):
        return folder
    raise UsageError(
        f"{root} is neither an Ego-Exo4D root (takes.json and takes/) nor an Ego4D one (gaze/ and "
        "full_scale/ or video_540ss/).",
        hint=f"Get one with: {egoexo_command(root, 'metadata')} and then the parts of some takes "
        f"(docs/egoexo4d.md); Ego4D: {ego4d_command(root, 'gaze', 'full_scale')}",
    )


def truth_videos(root: Path, options: GroundTruthOptions) -> list[TruthVideo]:
    """The videos of a root, those that can't be worked on too; UsageError where nothing can be chosen."""
    if is_egoexo_root(root):
        return _egoexo_videos(root, options)
    folder = _ego4d_folder(root)
    if options.view != "ego":
        raise UsageError("Ego4D has no third-person view of its wearer.", hint="Pass --view ego.")
    videos = [
        TruthVideo(
            video_id=uid,
            path=video,
            lacking=f"The video of {gaze} is missing. Get it with: {ego4d_command(root, 'full_scale', video_uid=uid)}",
            targets=partial(ego4d_targets, gaze_path=gaze, options=options),
        )
        for uid, video, gaze in ego4d_videos_with_gaze(folder, options.takes)
    ]
    if not videos:
        raise UsageError(f"{folder / 'gaze'} has no gaze of {options.takes or 'any video'}.", hint="Check --takes.")
    return videos


def _egoexo_videos(root: Path, options: GroundTruthOptions) -> list[TruthVideo]:
    takes, unusable = choose_takes(root, options.takes)
    videos = [TruthVideo(video_id=entry.item_id, lacking=entry.message) for entry in unusable]
    for take in takes:
        cameras = choose_cameras(take, views=options.view, cameras=options.cameras)
        if not cameras and options.cameras is None:
            reason = f"{root / TAKES_NAME} lists no {options.view} video of it."
            videos.append(TruthVideo(video_id=take.name, lacking=reason))
        videos += [_egoexo_video(take, camera, options) for camera in cameras]
    if not videos:
        raise UsageError(f"No {options.view} camera of the chosen takes is left.", hint="Check --cameras.")
    return videos


def _egoexo_video(take: Take, camera: CameraVideo, options: GroundTruthOptions) -> TruthVideo:
    if camera.problem is not None:
        return TruthVideo(video_id=take.video_id(camera), lacking=f"{camera.problem}.")
    ego = partial(egoexo_targets, take=take, options=options)
    return TruthVideo(
        video_id=take.video_id(camera),
        path=camera.path,
        lacking=f"The video is missing. Get it with: {take.download('takes', options=f'--views {options.view}')}",
        targets=partial(exo_targets, options=options) if options.view == "exo" else ego,
    )
