"""Score a gaze model on held-out kitchens against priors: python -m gazetools.trainer.finetune.tiny.scoring.

The exit code is 1 below the bounds, or that of an error. The frames have seeds that training does not use, 796x448
pixels, the camera's blur and noise and the artefacts of JPEG; the model receives them through its own preprocessing, as
in `extract`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.gazemodels import load_gaze_model
from gazetools.gazemodels.gazelle.prompts import BoxXyxy
from gazetools.gazemodels.head_crops import has_pixels
from gazetools.gazemodels.interface import GazeModel, needs_boxes
from gazetools.io.json_files import write_json_atomic
from gazetools.metrics.gaze import predicted_point
from gazetools.scenes.effects import CameraEffects
from gazetools.scenes.heads import random_head
from gazetools.scenes.picture import Scene
from gazetools.scenes.poses import PersonTruth
from gazetools.scenes.settings import GENERATOR_VERSION, HEIGHT, NOUNS, TEST_SEED, WIDTH, SceneSettings
from gazetools.scenes.shifted import ShiftedCamera, shifted_head
from gazetools.schemas.errors import GazetoolsError, UsageError

Floats = npt.NDArray[np.float64]
World = Literal["kitchens", "shifted"]

LARGEST_L2_RATIO, LEAST_HIT_RATIO, LEAST_SWAP_SHARE = 0.5, 2.0, 0.8
"""Bounds: mean distance over the best prior's, object hits over chance, share of swapped prompts that are followed."""
_SECONDS = 12.0  # length of each scene
_BATCH = 16
_PRIOR_SCENES, _PRIOR_SEED = 600, 500_000
_PRIORS = ("centre", "mean_target", "head_direction", "head_box", "whole_frame")
_APART = 0.2  # least distance of two targets, in shares of the frame, for a swap of prompts to count


@dataclass(frozen=True, kw_only=True)
class HeldOutFrame:
    """One picture with the truth about its people and objects."""

    picture: npt.NDArray[np.uint8]
    people: list[PersonTruth]
    objects_xy: Floats  # [nouns, 2] as shares of the frame


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """Scores of a model. Distances are mean L2 in shares of the frame, from the corner of the peak's cell."""

    frames: int
    people: int
    people_not_evaluated: int  # without a box that the model can take
    l2: float
    l2_centre: float  # prior: everybody looks at the frame's middle
    l2_mean_target: float  # prior: everybody looks at the mean target of training scenes
    l2_head_direction: float  # prior: the control `head-direction`, from the head towards the middle
    l2_head_box: float  # prior: regression from the head box to the target, fitted on training scenes
    l2_whole_frame: float | None  # prior: the model itself without a head prompt; None: it needs a head
    object_hits: float  # share of looks at objects whose object is the one nearest to the peak
    object_chance: float  # the larger of 1 / nouns and the best prior's share
    swaps: int  # pairs of a person and the prompt of another person who looks at another place
    swap_follows: float  # share of these pairs whose peak lies nearer to the other person's target
    inout_auc: float  # area under the ROC curve of the in/out score; NaN where all look inside

    @property
    def best_prior(self) -> float:
        """The smallest distance of the priors, none of which reads the prompted head."""
        distances = (getattr(self, f"l2_{name}") for name in _PRIORS)
        return min(distance for distance in distances if distance is not None)

    @property
    def verdicts(self) -> dict[str, bool]:
        """Each bound -> whether it is kept."""
        near = self.l2 <= LARGEST_L2_RATIO * self.best_prior
        hits = self.object_hits >= LEAST_HIT_RATIO * self.object_chance
        return {
            f"mean L2 at most {LARGEST_L2_RATIO:g} of the best prior's": near,
            f"object hits at least {LEAST_HIT_RATIO:g} times chance": hits,
            f"swapped prompts followed in {LEAST_SWAP_SHARE:.0%} or more": self.swap_follows >= LEAST_SWAP_SHARE,
        }

    def document(self) -> dict[str, Any]:
        """All scores as JSON values."""
        return {
            "generator_version": GENERATOR_VERSION,
            **asdict(self),
            "best_prior": self.best_prior,
            "l2_ratio": self.l2 / self.best_prior,
            "verdicts": self.verdicts,
        }


def held_out_frames(count: int, *, first_seed: int = TEST_SEED, world: World = "kitchens") -> Iterator[HeldOutFrame]:
    """`count` frames, each of another kitchen of the world, with the default settings of `render_scenes`."""
    for number in range(count):
        rng = np.random.default_rng([first_seed, number])
        looks = random_head if world == "kitchens" else shifted_head
        scene = Scene(SceneSettings(), seed=first_seed + number, seconds=_SECONDS, looks=looks)
        seconds = float(rng.uniform(0, _SECONDS - 0.5))
        people, objects_xy = scene.truth_at(seconds), scene.object_targets_at(seconds)
        clean = scene.draw(seconds, (HEIGHT, WIDTH))
        if world == "shifted":
            camera = ShiftedCamera(rng, WIDTH / HEIGHT)
            clean, objects_xy = camera.picture(clean), camera.points(objects_xy)
            people = [seen for person in people if (seen := camera.truth(person)) is not None]
        recorded = CameraEffects(rng, (HEIGHT, WIDTH))(clean, number)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 95))]
        picture = cv2.imdecode(cv2.imencode(".jpg", recorded[:, :, ::-1], quality)[1], cv2.IMREAD_COLOR)
        yield HeldOutFrame(
            picture=np.ascontiguousarray(np.asarray(picture, np.uint8)[:, :, ::-1]),
            people=people,
            objects_xy=objects_xy,
        )


def score(
    model: GazeModel, *, frames: int = 400, first_seed: int = TEST_SEED, world: World = "kitchens"
) -> HeldOutScores:
    """Run `model` on held-out frames, with right prompts and with none, and compare it with the priors.

    Raises UsageError where the model can take no box of anybody.
    """
    rows: list[dict[str, Any]] = []
    followed: list[bool] = []
    seen = 0
    priors = [name for name in _PRIORS if name != "whole_frame" or not needs_boxes(model)]
    left = held_out_frames(frames, first_seed=first_seed, world=world)
    prior, direction = _box_prior(), load_gaze_model("head-direction", device="cpu")
    while batch := list(itertools.islice(left, _BATCH)):
        seen += sum(len(frame.people) for frame in batch)
        if needs_boxes(model):
            batch = [_with_usable_boxes(frame) for frame in batch]
        for people in _batch_rows(model, direction, prior, batch):
            rows += people
            followed += [
                # With each other's prompts both peaks are exchanged: does the peak of b lie nearer to the target of b?
                bool(np.linalg.norm(b["peak"] - b["gaze"]) < np.linalg.norm(b["peak"] - a["gaze"]))
                for a, b in itertools.permutations(people, 2)
                if a["inside"] and b["inside"] and np.linalg.norm(a["gaze"] - b["gaze"]) >= _APART
            ]
    if not rows:
        raise UsageError(
            f"The model can take no box of the {seen} people in {frames} frames.", hint="Use more --frames."
        )
    inside = [row for row in rows if row["inside"]]
    looks = [row for row in inside if row["object"] is not None]

    def distance(name: str) -> float:
        return float(np.mean([np.linalg.norm(row[name] - row["gaze"]) for row in inside]))

    def hits(name: str) -> float:
        ways = [(row["objects"] - row[name]) * (WIDTH / HEIGHT, 1) for row in looks]
        nearest = [int(np.linalg.norm(way, axis=1).argmin()) for way in ways]
        return float(np.mean([number == row["object"] for number, row in zip(nearest, looks, strict=True)]))

    distances: dict[str, Any] = {f"l2_{name}": distance(name) if name in priors else None for name in _PRIORS}
    return HeldOutScores(
        frames=frames,
        people=len(rows),
        people_not_evaluated=seen - len(rows),
        l2=distance("peak"),
        **distances,
        object_hits=hits("peak"),
        object_chance=max(1 / len(NOUNS), *map(hits, priors)),
        swaps=len(followed),
        swap_follows=float(np.mean(followed)) if followed else float("nan"),
        inout_auc=_rank_auc(np.array([row["inside"] for row in rows]), np.array([row["inout"] for row in rows])),
    )


def _batch_rows(
    model: GazeModel, direction: GazeModel, prior: tuple[Floats, Floats], batch: list[HeldOutFrame]
) -> Iterator[list[dict[str, Any]]]:
    """For each frame one row per person: the truth, the model's peak and the points of the priors."""
    weights, mean_target = prior
    pictures = np.stack([frame.picture for frame in batch])
    boxes = [[person.box_xyxy for person in frame.people] for frame in batch]
    out = model(pictures, boxes)
    peaks, directions = _peaks(out.heatmap), _peaks(direction(pictures, boxes).heatmap)
    own = zip(peaks, directions, [np.nan] * len(peaks) if out.inout is None else out.inout.tolist(), strict=True)
    wholes = [None] * len(batch) if needs_boxes(model) else _peaks(model(pictures, [[None] for _ in batch]).heatmap)
    for frame, whole in zip(batch, wholes, strict=True):
        yield [
            {
                "inside": person.inside,
                "gaze": np.array(person.gaze_xy),
                "object": person.look.number if person.look.kind == "object" else None,
                "objects": frame.objects_xy,
                "peak": peak,
                "centre": np.array([0.5, 0.5]),
                "mean_target": mean_target,
                "head_direction": direction_peak,
                "head_box": _terms([person.box_xyxy])[0] @ weights,
                "whole_frame": whole,
                "inout": probability,
            }
            for person, (peak, direction_peak, probability) in zip(frame.people, own, strict=False)
        ]


def _with_usable_boxes(frame: HeldOutFrame) -> HeldOutFrame:
    """The frame with only those people whose box a model can cut from it."""
    size = (frame.picture.shape[0], frame.picture.shape[1])
    return replace(frame, people=[person for person in frame.people if has_pixels(_box(person), size)])


def _box(person: PersonTruth) -> BoxXyxy:
    x0, y0, x1, y1 = person.box_xyxy
    return x0, y0, x1, y1


def _box_prior() -> tuple[Floats, Floats]:
    """Weights [7, 2] of the regression from the `_terms` of head boxes to targets, and the mean target [2]."""
    boxes, targets = [], []
    for number in range(_PRIOR_SCENES):
        scene = Scene(SceneSettings(), seed=_PRIOR_SEED + number, seconds=_SECONDS)
        people = [p for seconds in (2.0, 5.0, 8.0) for p in scene.truth_at(seconds) if p.inside]
        boxes += [p.box_xyxy for p in people]
        targets += [p.gaze_xy for p in people]
    return np.linalg.lstsq(_terms(boxes), np.array(targets), rcond=None)[0], np.mean(targets, axis=0)


def _terms(boxes: Sequence[Sequence[float]]) -> Floats:
    """What the regression multiplies, [N, 7], of boxes [N, 4]."""
    b = np.array(boxes)
    x, y, height = (b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, b[:, 3] - b[:, 1]
    return np.stack([np.ones_like(x), x, y, height, x * x, x * y, y * y], axis=1)


def _peaks(heatmaps: Any) -> Floats:
    return np.array([predicted_point(one) for one in heatmaps])


def _rank_auc(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Probability that a positive's score is above a negative's; NaN without both."""
    inside, outside = scores[positive][:, None], scores[~positive]
    if not len(inside) or not len(outside):
        return float("nan")
    return float((inside > outside).mean() + 0.5 * (inside == outside).mean())


def main() -> None:
    """Load, score, print a table, write JSON."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gazelle_tiny", help="a name or path that `gazetools extract` takes")
    parser.add_argument("--checkpoint", help="weights for a name")
    parser.add_argument("--world", choices=("kitchens", "shifted"), default="kitchens")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("-o", "--output", type=Path, default=Path("gazelle_tiny_scores.json"))
    options = parser.parse_args()
    try:
        model = load_gaze_model(options.model, checkpoint=options.checkpoint, device="cpu")
        scores = score(model, frames=options.frames, world=options.world)
    except GazetoolsError as error:
        Console(stderr=True).print(f"Error: {error}", markup=False)
        sys.exit(error.exit_code)
    document = {
        "model": options.model,
        "world": options.world,
        "weights_sha256": model.weights_sha256,
        **scores.document(),
    }
    write_json_atomic(options.output, document)
    table = Table("score", "value", title=f"{options.model} on {scores.frames} held-out frames, {scores.people} people")
    for name, value in document.items():
        if isinstance(value, (int, float)):
            table.add_row(name.replace("_", " "), f"{value:.4g}")
    for name, good in scores.verdicts.items():
        table.add_row(name, "yes" if good else "NO")
    Console().print(table)
    sys.exit(0 if all(scores.verdicts.values()) else 1)


if __name__ == "__main__":
    main()
