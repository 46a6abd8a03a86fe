"""`groundtruth`: list the videos of an Ego-Exo4D or Ego4D root, render one store file per video, account for all."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import gazetools
from gazetools.annotations.ego4d_root import (
    download_command,
    ego4d_folder,
    ego4d_videos_with_gaze,
    missing_ego4d,
)
from gazetools.egoexo.take import CameraVideo, Take
from gazetools.egoexo.takes import choose_cameras, choose_takes, is_egoexo_root
from gazetools.egoexo.takes_file import TAKES_NAME
from gazetools.groundtruth.ego import ego4d_targets, egoexo_targets
from gazetools.groundtruth.exo import exo_targets
from gazetools.groundtruth.render import SIZE
from gazetools.groundtruth.targets import Targets
from gazetools.io.atomic import check_writable_folder, remove_stale_temps
from gazetools.io.json_files import write_json_atomic
from gazetools.progress import NoProgress, Progress
from gazetools.sampling import choose_frames
from gazetools.schemas.base import parse_settings
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.extract import PIECE_FRAMES
from gazetools.schemas.groundtruth import GroundTruthItem, GroundTruthOptions, GroundTruthReport
from gazetools.schemas.provenance import GROUND_TRUTH, GazeModel, HeadSource, Provenance
from gazetools.schemas.store import FINGERPRINT_SIZE, GROUND_TRUTH_REPORT_NAME, Piece, Prompt, Rows
from gazetools.store.listing import is_complete
from gazetools.store.writer import write_store
from gazetools.video import VideoReader
from gazetools.video.facts import source_video

REVISION = 1
"""Raised whenever the same inputs would give other numbers."""

_Render = Callable[..., Targets]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One video to render."""

    video_id: str
    path: Path | None
    lacking: str
    """What to say where `path` is None."""
    targets: Callable[[VideoReader, npt.NDArray[np.int64]], Targets]


def groundtruth(
    root: str | Path,
    output: str | Path,
    *,
    options: GroundTruthOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> GroundTruthReport:
    """Render where the wearer looks, by eye tracking, into one store file per video.

    Args:
        root: what `egoexo -o` filled (takes.json, takes/), or `ego4d -o` (gaze/ beside the videos; `view="ego"`).
        output: the store folder; finished videos in it are not done again.
        options: how; or give its fields as keyword arguments.
        progress: receives videos done.

    Returns:
        The report that is also written to `output/groundtruth_report.json`: every video, the failed ones with reasons.

    Raises:
        UsageError: a root, choice or output that can't work; nothing was done.
        FaultError: the disk is full; finished videos are kept.

    >>> report = groundtruth("EGOEXO", "TRUTH", takes="iiith_cooking_*")     # doctest: +SKIP
    >>> report.items[0].counts["depth_measured"]                                       # doctest: +SKIP
    812.0
    """
    if options is None:
        options = parse_settings(GroundTruthOptions, settings, what="groundtruth options")
    elif settings:
        raise UsageError(f"Give either options= or single settings, not both ({', '.join(settings)}).")
    progress = progress or NoProgress()
    store = Path(output)
    jobs = _plan(Path(root).expanduser(), options)
    check_writable_folder(store, option="-o")
    remove_stale_temps(store)
    items: list[GroundTruthItem] = []
    progress.start("videos", len(jobs), unit="videos")
    for job in jobs:
        items.append(_one(store, job, options, progress))
        progress.advance("videos")
    progress.finish("videos")
    report = GroundTruthReport(tool_version=gazetools.__version__, options=options.model_dump(), items=items)
    write_json_atomic(store / GROUND_TRUTH_REPORT_NAME, report.model_dump(mode="json"))
    return report


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


def _plan(root: Path, options: GroundTruthOptions) -> list[_Job]:
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
            jobs.append(_Job(video_id=uid, path=video, lacking=lacking, targets=partial(_of_ego4d, gaze, options)))
    if not jobs:
        raise UsageError(f"{folder / 'gaze'} has no gaze of {options.takes or 'any video'}.", hint="Check --takes.")
    return jobs


def _lost(video_id: str, reason: str) -> _Job:
    """What can't be worked on, as an item that fails by name."""
    return _Job(video_id=video_id, path=None, lacking=reason, targets=_no_targets)


def _no_targets(reader: VideoReader, frames: npt.NDArray[np.int64]) -> Targets:
    raise AssertionError("a job without a video has no targets")


def _egoexo_job(take: Take, camera: CameraVideo, options: GroundTruthOptions) -> _Job:
    if camera.problem is not None:
        return _lost(take.video_id(camera), f"{camera.problem}.")
    return _Job(
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


def _one(store: Path, job: _Job, options: GroundTruthOptions, progress: Progress) -> GroundTruthItem:
    """One video; what is wrong with it alone is its result, so that the others go on."""
    try:
        if job.path is None:
            raise DataFileError(job.lacking)
        return _render(store, job, job.path, options)
    except UsageError as error:
        progress.say(f"failed: {job.video_id}: {error}")
        return GroundTruthItem(video_id=job.video_id, path=str(job.path or ""), status="failed", reason=str(error))


def _render(store: Path, job: _Job, path: Path, options: GroundTruthOptions) -> GroundTruthItem:
    began = time.monotonic()
    with VideoReader(path) as reader:
        frames = choose_frames(reader.pts_seconds, fps=options.fps, stride=options.stride)
        targets = job.targets(reader, frames)
        video = source_video(reader, "decoding" if reader.counted_by == "decoding" else "index")
        pts = reader.pts_seconds
    key = _key(options, targets, video.sha256)
    done = is_complete(store, job.video_id)
    if done is not None and done.options_key != key and not options.overwrite:
        raise UsageError(
            f"The store already has {job.video_id!r}, made from other recordings or with other options.",
            hint="Pass --overwrite to replace it, or choose another -o.",
        )
    if done is None or done.options_key != key:
        prompts = {kind.name.lower(): int((targets.prompt == kind).sum()) for kind in Prompt}
        provenance = Provenance(
            video_id=job.video_id,
            tool_version=gazetools.__version__,
            video=video,
            model=GazeModel(
                name=GROUND_TRUTH,
                weights_sha256=targets.sources,
                backbone="none",
                in_size=(video.height, video.width),
                out_size=(SIZE, SIZE),
                inout=True,
                dtype="float64",
                device="cpu",
                implementation=f"gazetools {gazetools.__version__}",
            ),
            heads=HeadSource(
                spec="calib" if options.view == "exo" else "whole",
                sha256=None,
                rows=len(targets.frame),
                clipped_boxes=0,
                small_heads="none",
                prompts={name: count for name, count in prompts.items() if count},
                counts=targets.counts,
            ),
            batch_size=1,
            piece_frames=PIECE_FRAMES,
            options={**options.shaping(), "notes": targets.notes, "geometry": targets.geometry},
            options_key=key,
            libraries={
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("numpy", "h5py", "av")},
            },
        )
        write_store(
            store,
            job.video_id,
            provenance=provenance,
            pieces=_pieces(targets, frames, pts, draw=True),
            outline=_pieces(targets, frames, pts, draw=False),
            track_roles={targets.track_id: "wearer"},
            heatmap_shape=(SIZE, SIZE),
            extras=targets.extras,
        )
    return GroundTruthItem(
        video_id=job.video_id,
        path=str(path),
        status="complete" if done is not None and done.options_key == key else "done",
        frames=len(frames),
        rows=len(targets.frame),
        counts=targets.counts,
        notes=targets.notes,
        seconds=round(time.monotonic() - began, 3),
    )


def _key(options: GroundTruthOptions, targets: Targets, video_sha256: str) -> str:
    parts = {
        "revision": REVISION,
        "options": options.shaping(),
        "sources": targets.sources,
        "video": video_sha256,
        "geometry": targets.geometry,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _pieces(
    targets: Targets, frames: npt.NDArray[np.int64], pts_seconds: npt.NDArray[np.float64], *, draw: bool
) -> list[Callable[[], Piece]]:
    """One loader per 256 frames; maps are drawn when the store asks, so that memory stays bounded."""

    blank = np.zeros((), np.float16)

    def load(start: int) -> Piece:
        index = frames[start : start + PIECE_FRAMES]
        first, stop = (int(i) for i in np.searchsorted(targets.frame, [index[0], index[-1] + 1]))
        rows = slice(first, stop)
        return Piece(
            frame_index=index,
            pts_seconds=pts_seconds[index],
            fingerprint=np.zeros((0, FINGERPRINT_SIZE, FINGERPRINT_SIZE), np.uint8),
            fingerprint_index=np.zeros(0, np.int64),
            rows=Rows(
                frame=targets.frame[rows],
                track_id=np.full(stop - first, targets.track_id, np.int32),
                box_xyxy=targets.box_xyxy[rows].astype(np.float32),
                inout=targets.inout[rows].astype(np.float32),
                prompt=targets.prompt[rows].astype(np.uint8),
                heatmap=targets.maps(first, stop) if draw else np.broadcast_to(blank, (stop - first, SIZE, SIZE)),
            ),
            batch_size=1,
        )

    return [partial(load, start) for start in range(0, len(frames), PIECE_FRAMES)]
