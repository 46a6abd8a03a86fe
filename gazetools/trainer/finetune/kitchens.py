"""Synthetic kitchens as labelled pictures: drawn once into a folder, each with the gaze of all people in it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gazetools.io.atomic import write_bytes_atomic
from gazetools.progress import Progress
from gazetools.scenes.effects import CameraEffects
from gazetools.scenes.heads import random_head
from gazetools.scenes.picture import Scene
from gazetools.scenes.poses import PersonTruth
from gazetools.scenes.settings import GENERATOR_VERSION, SceneSettings
from gazetools.scenes.shifted import ShiftedCamera, shifted_head
from gazetools.schemas.finetune_data import SceneSource
from gazetools.trainer.finetune.head_sample import Pixels
from gazetools.trainer.finetune.labelled import HeadSet, LabelledHead, PicturePlace

_SECONDS = 12.0


def kitchen_heads(source: SceneSource, folder: Path, progress: Progress) -> HeadSet:
    """The people of `source.count` kitchens; pictures that the folder has are not drawn again.

    Kitchen k is a function of (seed, k) and the world, so that a larger count contains a smaller one.
    """
    own = folder / f"{source.world}_{GENERATOR_VERSION}_{source.seed}"
    found = HeadSet()
    task = f"draw {source.world}"
    progress.start(task, source.count, unit="pictures")
    for number in range(source.count):
        path = own / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        people = truth_of(source, number) if path.exists() else _drawn(source, number, path)
        name = f"{source.world}-{source.seed}-{number}"
        found.heads += [
            LabelledHead(
                place=PicturePlace(path=path),
                box_shares=(person.box_xyxy[0], person.box_xyxy[1], person.box_xyxy[2], person.box_xyxy[3]),
                gaze_shares=(person.gaze_xy,),
                inside=person.inside,
                video=name,
                person=f"{name}#{person.track_id}",
                row=f"kitchen {name}, person {person.track_id}",
            )
            for person in people
        ]
        progress.advance(task)
    progress.finish(task)
    return found


def truth_of(source: SceneSource, number: int) -> list[PersonTruth]:
    """The people in a kitchen's picture."""
    scene, seconds, camera = _scene(source, number)
    people = scene.truth_at(seconds)
    if camera is None:
        return people
    return [moved for person in people if (moved := camera.truth(person)) is not None]


def kitchen_picture(source: SceneSource, number: int) -> Pixels:
    """The picture of a kitchen as its camera records it, uint8 RGB [H, W, 3]."""
    scene, seconds, camera = _scene(source, number)
    settings = scene.settings
    size_hw = settings.height, settings.width
    effects = CameraEffects(np.random.default_rng([source.seed, number, 1]), size_hw)
    clean = scene.draw(seconds, size_hw)
    return effects(clean if camera is None else camera.picture(clean), number)


def _drawn(source: SceneSource, number: int, path: Path) -> list[PersonTruth]:
    quality = int(np.random.default_rng([source.seed, number, 2]).integers(70, 96))
    picture = kitchen_picture(source, number)
    encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    write_bytes_atomic(path, bytes(encoded))
    return truth_of(source, number)


def _scene(source: SceneSource, number: int) -> tuple[Scene, float, ShiftedCamera | None]:
    rng = np.random.default_rng([source.seed, number])
    settings = SceneSettings()
    shifted = source.world == "shifted"
    scene = Scene(
        settings,
        seed=source.seed * 1_000_003 + number,
        clip=number,
        seconds=_SECONDS,
        looks=shifted_head if shifted else random_head,
    )
    seconds = float(rng.uniform(0, _SECONDS - 0.5))
    return scene, seconds, ShiftedCamera(rng, settings.aspect) if shifted else None
