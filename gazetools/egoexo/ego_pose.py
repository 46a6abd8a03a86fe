"""EgoPose annotations: the 3-D head joints, and how well head boxes agree with them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats, StaticCamera
from gazetools.egoexo.take import Take
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import excerpt

HEAD_JOINTS = ("nose", "left-eye", "right-eye", "left-ear", "right-ear")


@dataclass(frozen=True, kw_only=True)
class HeadJoints:
    """Annotated head joints."""

    frame: npt.NDArray[np.int64]
    """[F] index in the frame-aligned videos, ascending; annotations are sparse."""
    points_world: Floats
    """[F, 5, 3] in the order of HEAD_JOINTS, metres; NaN where a joint is not annotated."""


def find_ego_pose(take: Take) -> Path | None:
    """The take's body annotation, manual before automatic; None where there is none."""
    base = take.root / "annotations" / "ego_pose"
    places = product(("annotation", "automatic"), ("train", "val", "test"))
    options = (base / split / "body" / kind / f"{take.uid}.json" for kind, split in places)
    return next((path for path in options if path.is_file()), None)


def read_head_joints(path: Path) -> HeadJoints:
    """Read `{"<frame>": [{"annotation3D": {"nose": {"x", "y", "z"}, ...}}]}`; DataFileError names file and frame.

    The 2-D points of these files are not used: they refer to an undistorted picture (Ego4d issue 331).
    """
    content = read_json(path, max_bytes=1 << 30)
    if not isinstance(content, dict):
        raise DataFileError(f"{path} is no EgoPose annotation: frames by number are expected.", path=str(path))
    frames = []
    for key, people in content.items():
        if not str(key).isdigit() or not isinstance(people, list):
            raise DataFileError(f"{path}: {excerpt(key)} is no frame with a list of people.", path=str(path))
        if people and isinstance(people[0], dict):
            frames.append((int(key), people[0].get("annotation3D") or {}))
    frames.sort()
    points = np.full((len(frames), len(HEAD_JOINTS), 3), np.nan)
    for row, (frame, joints) in enumerate(frames):
        for column, name in enumerate(HEAD_JOINTS):
            if isinstance(joint := joints.get(name), dict):
                try:
                    points[row, column] = [float(joint[axis]) for axis in "xyz"]
                except (KeyError, TypeError, ValueError):
                    message = f"{path}, frame {frame}: {name} has no numbers x, y, z."
                    raise DataFileError(message, path=str(path)) from None
    return HeadJoints(frame=np.array([f for f, _ in frames], np.int64), points_world=points)


def agreement(joints: HeadJoints, camera: StaticCamera, box_xyxy: Floats) -> dict[str, float]:
    """Agreement of projected joints with the boxes [N, 4] (pixels, NaN = none) of all frames of a camera.

    Frames with a box and a visible joint (none: empty), share of joints in their frame's box, and the median distance
    of the joints' mean from the box's centre in box heights.
    """
    usable = joints.frame < len(box_xyxy)
    boxes = box_xyxy[joints.frame[usable]]
    uv, in_front = camera.project(joints.points_world[usable])
    seen = in_front & camera.lens.contains(uv)
    both = np.isfinite(boxes).all(axis=1) & seen.any(axis=1)
    if not both.any():
        return {}
    boxes, uv, seen = boxes[both], uv[both], seen[both]
    inside = np.logical_and.reduce((uv >= boxes[:, None, :2]) & (uv <= boxes[:, None, 2:]), axis=2)
    centre = np.nanmean(np.where(seen[..., None], uv, np.nan), axis=1)
    error = np.linalg.norm(centre - (boxes[:, :2] + boxes[:, 2:]) / 2, axis=1) / (boxes[:, 3] - boxes[:, 1])
    return {
        "egopose_frames": float(both.sum()),
        "egopose_joints_inside": float(inside[seen].mean()),
        "egopose_centre_error": float(np.median(error)),
    }
