"""Training samples: frames of a pool of kitchens, augmented as in fkryan/gazelle; each is a function of its index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.io.atomic import write_bytes_atomic
from gazetools.scenes.effects import CameraEffects
from gazetools.scenes.picture import Scene
from gazetools.scenes.poses import PersonTruth
from gazetools.scenes.settings import TEST_SEED, SceneSettings
from gazetools.trainer.finetune.tiny.crowds import add_heads, head_bank

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_CANVAS_HW = (320, 400)  # size to which frames are squashed: a crop of two thirds still has the model's resolution
_SECONDS = 12.0
_LEAST_CROP = 0.55  # least share of each side that a crop keeps
_JITTER = 0.2  # largest shift of a head box's edges, in sides of the box (gazelle/utils.py, random_bbox_jitter)


@dataclass(frozen=True, kw_only=True)
class GazeSample:
    """One picture and the people whose heads are in it. Coordinates are shares of the picture."""

    picture: Pixels  # uint8 RGB [side, side, 3]
    boxes: Floats  # [people, 4] x0, y0, x1, y1: the true head boxes
    prompts: Floats  # [people, 4]: the boxes that the model receives; half of them are jittered
    gaze_xy: Floats  # [people, 2]: the gaze targets; (-1, -1) outside the picture
    inside: npt.NDArray[np.bool_]  # [people]: whether the gaze target is in the picture
    head_axes: Floats  # [people, 3]: forward direction of each head: right, up, towards the camera
    objects_xy: Floats  # [objects in the picture, 2]: where one looks at them
    more_boxes: Floats  # [heads, 4]: boxes of floating heads, which have no gaze target and serve to learn poses
    more_axes: Floats  # [heads, 3]: forward directions of the floating heads


@dataclass(frozen=True, kw_only=True)
class SamplePool:
    """`size` kitchens, each at one time. A folder keeps their pictures, because drawing costs more than learning."""

    seed: int
    size: int
    folder: Path

    def picture(self, number: int) -> Pixels:
        """Picture `number`, uint8 RGB of the canvas's size; drawn and written as a JPEG at the first call."""
        path = self.folder / f"{self.seed}_{number // 1000:03d}" / f"{number:06d}.jpg"
        if not path.exists():
            write_bytes_atomic(path, self._draw(number))
        return np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1]

    def scene(self, number: int) -> tuple[Scene, float]:
        """The kitchen `number` and the time of its picture in seconds."""
        rng = np.random.default_rng([self.seed, number])
        settings = SceneSettings(
            width=2 * int(rng.integers(310, 460)),
            height=448,
            people=(3, 3) if rng.random() < 0.6 else (1, 3),
            place_habit=0.0,
            place_jitter=0.22,
            p_outside=0.15,
        )
        scene = Scene(settings, seed=int(rng.integers(TEST_SEED)), clip=number, seconds=_SECONDS)
        return scene, float(rng.uniform(0, _SECONDS - 0.5))

    def _draw(self, number: int) -> bytes:
        rng = np.random.default_rng([self.seed, number, 1])
        scene, seconds = self.scene(number)
        effects = CameraEffects(rng, _CANVAS_HW)
        previous = scene.draw(seconds - 1 / 30, _CANVAS_HW) if rng.random() < 0.2 else None
        picture = effects(scene.draw(seconds, _CANVAS_HW), number, previous=previous)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 97))]
        return bytes(cv2.imencode(".jpg", picture[:, :, ::-1], quality)[1])


def make_sample(pool: SamplePool, index: int, side: int, *, crowd: bool = False, share: float = 1.0) -> GazeSample:
    """Sample `index`: a kitchen of the pool with augmentations; equal arguments give equal samples.

    Half of the samples are cropped around one person and target, which may leave targets of other people outside; half
    are flipped, half of the boxes are jittered, all colours are shifted. Exposure, blur, noise and JPEG artefacts are
    in the pool's pictures. `side` is in pixels; `crowd` pastes in heads of the first `share` (0..1) of the bank.
    """
    rng = np.random.default_rng([pool.seed, 2, index])
    number = index % pool.size
    scene, seconds = pool.scene(number)
    people = scene.truth_at(seconds)
    x0, y0, x1, y1 = _crop(rng, people) if rng.random() < 0.5 else (0.0, 0.0, 1.0, 1.0)
    height, width = _CANVAS_HW
    cut = pool.picture(number)[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
    small = cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA)
    low, size = np.array([x0, y0]), np.array([x1 - x0, y1 - y0])
    people = [moved for p in people if (moved := _moved(p, low, size)) is not None]
    objects_xy = (scene.object_targets_at(seconds) - low) / size
    boxes, gaze_xy = np.array([p.box_xyxy for p in people]), np.array([p.gaze_xy for p in people])
    head_axes = np.array([p.head_axes for p in people])
    if rng.random() < 0.5:
        small = small[:, ::-1]
        boxes = np.stack((1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]), axis=1)
        gaze_xy[:, 0], objects_xy[:, 0], head_axes[:, 0] = 1 - gaze_xy[:, 0], 1 - objects_xy[:, 0], -head_axes[:, 0]
    more_boxes, more_axes = np.zeros((0, 4)), np.zeros((0, 3))
    if crowd:
        small = np.ascontiguousarray(small)
        more_boxes, more_axes = add_heads(rng, small, boxes, head_bank(pool.seed), share=share)
    small = np.clip(small * rng.uniform(0.85, 1.15, 3) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)
    sides = (boxes[:, 2:] - boxes[:, :2])[:, [0, 1, 0, 1]]
    shift = rng.uniform(-_JITTER, _JITTER, boxes.shape) * sides * (rng.random((len(boxes), 1)) < 0.5)
    return GazeSample(
        picture=np.ascontiguousarray(small),
        boxes=boxes,
        prompts=np.clip(boxes + shift, 0, 1),
        gaze_xy=gaze_xy,
        inside=np.array([p.inside for p in people]),
        head_axes=head_axes,
        objects_xy=objects_xy[((objects_xy > 0) & (objects_xy < 1)).all(axis=1)],
        more_boxes=more_boxes,
        more_axes=more_axes,
    )


def _crop(rng: np.random.Generator, people: list[PersonTruth]) -> tuple[float, float, float, float]:
    """A part of the frame with the head of one person and, where it is inside the frame, the target."""
    person = people[int(rng.integers(len(people)))]
    points = [person.box_xyxy[:2], person.box_xyxy[2:]] + ([person.gaze_xy] if person.inside else [])
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    start = rng.uniform(0, np.minimum(low, 1 - _LEAST_CROP))
    stop = rng.uniform(np.minimum(np.maximum(high, start + _LEAST_CROP), 1), 1)
    return float(start[0]), float(start[1]), float(stop[0]), float(stop[1])


def _moved(person: PersonTruth, low: Floats, size: Floats) -> PersonTruth | None:
    """The person in the coordinates of a crop; None where less than 70 % of the head box is left."""
    box = (np.array(person.box_xyxy) - np.tile(low, 2)) / np.tile(size, 2)
    cut = np.clip(box, 0, 1)
    if np.prod(cut[2:] - cut[:2]) < 0.7 * np.prod(box[2:] - box[:2]):
        return None
    gaze = (np.array(person.gaze_xy) - low) / size
    inside = bool(person.inside and (gaze >= 0).all() and (gaze < 1).all())
    return replace(
        person,
        box_xyxy=(float(cut[0]), float(cut[1]), float(cut[2]), float(cut[3])),
        gaze_xy=(float(gaze[0]), float(gaze[1])) if inside else (-1.0, -1.0),
        inside=inside,
    )
