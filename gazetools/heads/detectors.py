"""Detectors of `detect:NAME`: frames in, people with their heads out."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gazetools.heads.geometry import head_from_face, head_from_keypoints, inside_frame
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.heads import DETECTORS, DetectOptions


@dataclass(frozen=True, kw_only=True)
class People:
    """The people found in one frame, in its pixels, best score first."""

    body_xyxy: npt.NDArray[np.float64]
    """[N, 4] boxes that the tracker follows: the person, or the head where only that is found."""
    score: npt.NDArray[np.float64]
    """[N] scores of the person (or face), 0..1."""
    head_xyxy: list[npt.NDArray[np.float64] | None]
    """[N] head boxes inside the frame; None where a person's head can't be placed."""


class HeadDetector(Protocol):
    """Finds people and their heads."""

    weights_sha256: dict[str, str]
    """Role -> hex sha256 of its weights file."""
    device: str
    """`cpu` or `cuda`."""

    def find(self, frames: list[npt.NDArray[np.uint8]], min_score: float) -> list[People]:
        """The people of each frame [H, W, 3] RGB with a score of at least `min_score`."""


class BodyHeadDetector:
    """Finds people by a detector of whole persons and their heads by keypoints."""

    def __init__(self, person_folder: Path, pose_folder: Path, device: str) -> None:
        from gazetools.gazemodels.devices import resolve_device
        from gazetools.heads.persons import PersonDetector
        from gazetools.heads.pose import PoseModel
        from gazetools.heads.weights import WEIGHTS

        torch_device = resolve_device(device)
        self._persons = PersonDetector(person_folder, torch_device)
        self._pose = PoseModel(pose_folder, torch_device)
        self.device = torch_device.type
        folders = {"detector": person_folder, "pose": pose_folder}
        self.weights_sha256 = {role: sha256_of_file(folder / WEIGHTS) for role, folder in folders.items()}

    def find(self, frames: list[npt.NDArray[np.uint8]], min_score: float) -> list[People]:
        found = self._persons.detect(frames, min_score)
        poses = self._pose.keypoints(frames, [boxes for boxes, _ in found])
        people = []
        for frame, (boxes, scores), (points, point_scores) in zip(frames, found, poses, strict=True):
            heads = [head_from_keypoints(p, s, box) for p, s, box in zip(points, point_scores, boxes, strict=True)]
            people.append(People(body_xyxy=boxes, score=scores, head_xyxy=[_inside(head, frame) for head in heads]))
        return people


class FaceHeadDetector:
    """Finds heads by their faces, on the CPU; the head is the box that is followed."""

    device = "cpu"

    def __init__(self, path: Path) -> None:
        from gazetools.heads.faces import FaceDetector

        self._faces = FaceDetector(path)
        self.weights_sha256 = {"detector": sha256_of_file(path)}

    def find(self, frames: list[npt.NDArray[np.uint8]], min_score: float) -> list[People]:
        people = []
        for frame in frames:
            faces, scores = self._faces.detect(frame, min_score)
            heads = head_from_face(faces)
            people.append(People(body_xyxy=heads, score=scores, head_xyxy=[_inside(head, frame) for head in heads]))
        return people


def load_detector(options: DetectOptions, *, offline: bool | None = None) -> HeadDetector:
    """The detector that `options` name, its weights checked.

    Raises EnvironmentLacksError for missing weights (with the commands that get them) or device, UsageError or
    CheckpointError for a path that does not exist, a model of another kind or weights that do not fit.
    """
    from gazetools.heads.weights import face_model_file, model_folder

    name = options.detector
    if name == "yunet" or name.lower().endswith(".onnx"):
        return FaceHeadDetector(face_model_file(name, offline=offline))
    if name not in DETECTORS and "/" not in name and not Path(name).expanduser().exists():
        raise UsageError(
            f"Unknown detector {name!r}.",
            hint=f"Use {', '.join(DETECTORS)}, OWNER/MODEL of the Hugging Face hub, a model folder or a YuNet .onnx.",
        )
    if importlib.util.find_spec("transformers") is None:
        raise EnvironmentLacksError(
            f"--heads detect:{name} needs the package transformers, which is not installed.",
            hint="pip install 'gazetools[detect]', or detect faces only: --heads detect:yunet",
        )
    person_folder = model_folder(DETECTORS.get(name, name), option="--heads detect:", offline=offline)
    pose_folder = model_folder(options.pose, option="--pose ", offline=offline)
    return BodyHeadDetector(person_folder, pose_folder, options.device)


def _inside(head_xyxy: npt.NDArray[np.float64] | None, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64] | None:
    return None if head_xyxy is None else inside_frame(head_xyxy, frame.shape[1], frame.shape[0])
