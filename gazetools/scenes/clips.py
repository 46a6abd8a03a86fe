"""Write clips: `videos/`, `heads/`, `gaze/`, `actions.csv`, `scenes.json`; several processes draw long sets."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gazetools.io.atomic import atomic_path
from gazetools.io.json_files import write_json_atomic
from gazetools.scenes.effects import CameraEffects
from gazetools.scenes.picture import Scene
from gazetools.scenes.script import Action, AlongKind
from gazetools.scenes.settings import GENERATOR_VERSION, NOUNS, VERBS, SceneSettings

_FRAMES_WORTH_A_PROCESS = 300
_EPIC_COLUMNS = (
    "narration_id participant_id video_id narration_timestamp start_timestamp stop_timestamp start_frame stop_frame "
    "narration verb verb_class noun noun_class all_nouns all_noun_classes"
)


def render_scenes(
    folder: Path,
    *,
    clips: int,
    seconds: float,
    seed: int,
    settings: SceneSettings | None = None,
    workers: int | None = None,
) -> list[str]:
    """Write `clips` clips of `seconds` below `folder` and return their ids, such as P01_01.

    Files: `videos/<id>.mp4` (H.264), `heads/<id>.csv` (frame, track_id, xmin, ymin, xmax, ymax in pixels),
    `gaze/<id>.csv` (frame, track_id, x, y, inout: the true target in 0..1 of the frame; -1, -1, 0 outside it),
    `actions.csv` (EPIC-KITCHENS-100 columns; actions of person 1), `scenes.json` (settings, statistics, seeds). The
    first clip is of P01, the next of P02, and so on through `settings.participants` kitchens. Equal arguments give
    equal bytes on one version of the encoder, however many workers draw them.

    Args:
        seed: seed of the set; tests and scores use seeds from TEST_SEED on, training smaller ones.
        workers: processes; None: one per core, at most 4, where there is enough to draw.
    """
    settings = settings or SceneSettings()
    ids = [f"P{number % settings.participants + 1:02d}_{number + 1:02d}" for number in range(clips)]
    jobs = [(folder, video_id, settings, seed, number, seconds) for number, video_id in enumerate(ids)]
    if workers is None:
        workers = min(4, os.cpu_count() or 1, max(1, int(clips * seconds * settings.fps) // _FRAMES_WORTH_A_PROCESS))
    if min(workers, clips) > 1:
        with ProcessPoolExecutor(min(workers, clips), multiprocessing.get_context("spawn")) as pool:
            actions = list(pool.map(_write_clip, *zip(*jobs, strict=True)))
    else:
        actions = [_write_clip(*job) for job in jobs]
    by_clip = dict(zip(ids, actions, strict=True))
    rows = [_epic_row(video_id, k, action) for video_id, some in by_clip.items() for k, action in enumerate(some)]
    _write_csv(folder / "actions.csv", _EPIC_COLUMNS, rows)
    write_json_atomic(folder / "scenes.json", _document(settings, by_clip, seed, seconds))
    return ids


def _write_clip(
    folder: Path, video_id: str, settings: SceneSettings, seed: int, number: int, seconds: float
) -> list[Action]:
    import av
    import cv2

    cv2.setNumThreads(1)
    scene = Scene(settings, seed=seed, clip=number, participant=number % settings.participants, seconds=seconds)
    size_hw = (settings.height, settings.width)
    camera = CameraEffects(np.random.default_rng([seed, 2, number]), size_hw)
    heads, gazes = [], []
    with atomic_path(folder / "videos" / f"{video_id}.mp4") as temp, av.open(str(temp), "w", format="mp4") as container:
        # One thread: bytes must not depend on the machine. The fastest preset: drawing is to be most of the time.
        options = {"crf": str(18 + (seed + number * 5) % 11), "preset": "ultrafast", "threads": "1"}
        if settings.keyframe_every is not None:
            options["g"] = str(settings.keyframe_every)
        stream = container.add_stream("libx264", rate=Fraction(settings.fps), options=options)
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
        for index in range(round(seconds * settings.fps)):
            for person in scene.truth_at(index / settings.fps):
                x0, y0, x1, y1 = person.box_xyxy
                pixels = (x0 * settings.width, y0 * settings.height, x1 * settings.width, y1 * settings.height)
                heads.append([index, person.track_id, *(round(v, 2) for v in pixels)])
                gazes.append([index, person.track_id, *(round(v, 5) for v in person.gaze_xy), int(person.inside)])
            picture = camera(scene.draw(index / settings.fps, size_hw), index)
            planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    _write_csv(folder / "heads" / f"{video_id}.csv", "frame track_id xmin ymin xmax ymax", heads)
    _write_csv(folder / "gaze" / f"{video_id}.csv", "frame track_id x y inout", gazes)
    return scene.actions


def _document(settings: SceneSettings, actions: dict[str, list[Action]], seed: int, seconds: float) -> dict[str, Any]:
    """What the set was drawn with and what it therefore allows; `actions` by video id."""
    kinds = [action.gaze for some in actions.values() for action in some]
    return {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "seconds": seconds,
        "fps": settings.fps,
        "nouns": list(NOUNS),
        "verbs": list(VERBS),
        "settings": asdict(settings),
        "statistics": {
            "actions": len(kinds),
            **{f"gaze_{kind}": kinds.count(kind) for kind in get_args(AlongKind)},
            "chance_noun_accuracy": settings.chance_noun_accuracy,
            "achievable_noun_accuracy": settings.achievable_noun_accuracy,
        },
        "clips": [
            {
                "video_id": video_id,
                "participant": number % settings.participants + 1,
                "seeds": [seed, number],
                "actions": [asdict(action) for action in some],
            }
            for number, (video_id, some) in enumerate(actions.items())
        ],
    }


def _epic_row(video_id: str, number: int, action: Action) -> list[object]:
    def stamp(seconds: float) -> str:
        return f"00:{int(seconds // 60):02d}:{seconds % 60:05.2f}"

    verb, noun = VERBS[action.verb], NOUNS[action.noun]
    start, stop = action.start_seconds, action.stop_seconds
    # EPIC-KITCHENS-100 counts the frames of PXX_YY videos at 60 fps, whatever the file's rate
    frames = [round(start * 60), round(stop * 60)]
    return [
        f"{video_id}_{number}", video_id[:3], video_id, stamp(start), stamp(start), stamp(stop), *frames,
        f"{verb} {noun}", verb, action.verb, noun, action.noun, f"['{noun}']", f"[{action.noun}]",
    ]  # fmt: skip


def _write_csv(path: Path, columns: str, rows: Sequence[Sequence[object]]) -> None:
    with atomic_path(path) as temp, temp.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns.split(), *rows])
