"""`--heads calib`: the wearer's head boxes in an exo video of Ego-Exo4D, from cameras and trajectory of its take."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from gazetools.egoexo.ego_pose import agreement, find_ego_pose, read_head_joints
from gazetools.egoexo.exo_view import ExoView, cached_sha256, exo_view
from gazetools.egoexo.head_boxes import BoxState
from gazetools.egoexo.takes import take_of_video
from gazetools.heads.table import FoundBoxes, HeadTable
from gazetools.schemas.errors import DataFileError, HeadsError, UsageError
from gazetools.schemas.heads import FirstRow
from gazetools.video.probe import probe

WEARER = 1
"""Track id of the wearer."""
BOX_REVISION = "outline of the head's ellipsoid"
"""Changed whenever the same recordings would give other boxes, so that no store mixes both."""


def calib_heads(video: Path, *, width: int, height: int, frame_count: int, first_row: FirstRow = "start") -> FoundBoxes:
    """The wearer's head boxes in `video`; errors as `exo_view`, HeadsError where no frame has a box."""
    # calibrations are of landscape pictures: a portrait one may have been turned by its flag
    rotation = probe(video, None).rotation_degrees if height > width and video.is_file() else 0
    view = exo_view(
        video,
        width=width,
        height=height,
        frame_count=frame_count,
        rotation_degrees=rotation,
        first_row=first_row,
    )
    counts = head_counts(view)
    frame = np.flatnonzero(view.boxes.state == BoxState.GOOD).astype(np.int64)
    if not len(frame):
        said = ", ".join(f"{name} {count:g}" for name, count in counts.items() if count)
        raise HeadsError(
            f"{video}: geometry gives no head box in any of {frame_count} frames ({said}).",
            hint="The wearer is never in this camera's picture, or the recordings don't fit; leave the camera out.",
        )
    track = np.full(len(frame), WEARER, np.int32)
    boxes = view.boxes.box_xyxy[frame]
    table = HeadTable.from_columns(f"calib:{video}", frame, track, boxes, frame, {WEARER: "wearer"})
    return FoundBoxes(table=replace(table, clipped=view.boxes.clipped), counts=counts, notes=view.track.times.notes)


def head_counts(view: ExoView) -> dict[str, float]:
    """Frames without a box by reason (only what occurs), and the agreement with EgoPose where it is annotated."""
    named = {f"heads_{name}": count for name, count in view.boxes.counts.items()}
    named |= {f"pose_{name}": count for name, count in view.track.counts.items()}
    named["pseudo_cameras"] = view.take.pseudo_cameras
    counts = {name: float(count) for name, count in named.items() if count}
    if (path := find_ego_pose(view.take)) is not None:
        try:
            counts |= agreement(read_head_joints(path), view.camera, view.boxes.box_xyxy)
        except DataFileError:  # the boxes don't depend on it
            counts["egopose_unreadable"] = 1.0
    return counts


def calib_digest(video: Path, first_row: FirstRow = "start") -> str:
    """sha256 over what the boxes of `video` come from; absent recordings count as absent."""
    try:
        take = take_of_video(video)
    except UsageError as error:
        raise HeadsError(error.message, hint=error.hint) from None
    digest = hashlib.sha256(f"{take.name} {video.name} {take.timesync_start} {take.timesync_end}".encode())
    digest.update(f"{BOX_REVISION} {first_row} {take.arias} {take.recorded_aria}".encode())
    for path in (take.calibration, take.trajectory, take.timesync):
        digest.update(cached_sha256(path).encode())
    return digest.hexdigest()
