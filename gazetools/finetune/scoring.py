"""Score a gaze model on held-out kitchens against priors: python -m gazetools.finetune.scoring.

The exit code is 1 below the bounds. The frames have seeds that training does not use, 796x448 pixels, the camera's blur
and noise and the artefacts of JPEG; the model receives them through its own preprocessing, as in `extract`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.gazemodels import load_gaze_model
from gazetools.gazemodels.interface import GazeModel
from gazetools.io.json_files import write_json_atomic
from gazetools.metrics.gaze import predicted_point
from gazetools.scenes.effects import CameraEffects
from gazetools.scenes.picture import Scene
from gazetools.scenes.poses import PersonTruth
from gazetools.scenes.settings import GENERATOR_VERSION, HEIGHT, NOUNS, TEST_SEED, WIDTH, SceneSettings

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

LARGEST_L2_RATIO, LEAST_HIT_RATIO, LEAST_SWAP_SHARE = 0.5, 2.0, 0.8
"""Bounds: mean distance over the best prior's, object hits over chance, share of swapped prompts that are followed."""
_SECONDS = 12.0
"""Length of each scene."""
_BATCH = 16
_PRIOR_SCENES = 600
_PRIOR_SEED = 500_000
_APART = 0.2
"""Least distance of two targets, in shares of the frame, for a swap of prompts to count."""


@dataclass(frozen=True, kw_only=True)
class HeldOutFrame:
    """One picture with the truth about its people and objects."""

    picture: Pixels
    people: list[PersonTruth]
    objects_xy: Floats
    """[nouns, 2] as shares of the frame."""


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """Scores of a model. Distances are mean L2 in shares of the frame, from the corner of the peak's cell."""

    frames: int
    people: int
    l2: float
    l2_centre: float
    """Prior: everybody looks at the frame's middle."""
    l2_mean_target: float
    """Prior: everybody looks at the mean target of training scenes."""
    l2_head_direction: float
    """Prior: the control `head-direction`, from the head towards the middle."""
    l2_head_box: float
    """Prior: regression from the head box to the target, fitted on training scenes."""
    l2_whole_frame: float
    """Prior: the model itself without a head prompt."""
    object_hits: float
    """Share of looks at objects whose object is the one nearest to the peak."""
    object_chance: float
    """The larger of 1 / nouns and the best prior's share."""
    swaps: int
    """Pairs of a person and the prompt of another person who looks at another place."""
    swap_follows: float
    """Share of these pairs whose peak lies nearer to the other person's target."""
    inout_auc: float
    """Area under the ROC curve of the in/out score; NaN where all look inside."""

    @property
    def best_prior(self) -> float:
        """The smallest distance of the priors, none of which reads the prompted head."""
        return min(self.l2_centre, self.l2_mean_target, self.l2_head_direction, self.l2_head_box, self.l2_whole_frame)

    @property
    def verdicts(self) -> dict[str, bool]:
        """Each bound -> whether it is kept."""
        return {
            f"mean L2 at most {LARGEST_L2_RATIO:g} of the best prior's": self.l2 <= LARGEST_L2_RATIO * self.best_prior,
            f"object hits at least {LEAST_HIT_RATIO:g} times chance": self.object_hits
            >= LEAST_HIT_RATIO * self.object_chance,
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


def held_out_frames(count: int, *, first_seed: int = TEST_SEED) -> Iterator[HeldOutFrame]:
    """`count` frames, each of another kitchen, with the default settings of `render_scenes`."""
    settings = SceneSettings()
    for number in range(count):
        rng = np.random.default_rng([first_seed, number])
        scene = Scene(settings, seed=first_seed + number, seconds=_SECONDS)
        seconds = float(rng.uniform(0, _SECONDS - 0.5))
        clean = scene.draw(seconds, (HEIGHT, WIDTH))
        seen = CameraEffects(rng, (HEIGHT, WIDTH))(clean, number)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 95))]
        picture = cv2.imdecode(cv2.imencode(".jpg", seen[:, :, ::-1], quality)[1], cv2.IMREAD_COLOR)
        yield HeldOutFrame(
            picture=np.ascontiguousarray(np.asarray(picture, np.uint8)[:, :, ::-1]),
            people=scene.truth_at(seconds),
            objects_xy=scene.object_targets_at(seconds),
        )


def score(model: GazeModel, *, frames: int = 400, first_seed: int = TEST_SEED) -> HeldOutScores:
    """Run `model` on held-out frames, with right prompts and with none, and compare it with the priors."""
    rows: list[dict[str, Any]] = []
    followed: list[bool] = []
    left = held_out_frames(frames, first_seed=first_seed)
    prior, direction = _BoxPrior.fitted(), load_gaze_model("head-direction", device="cpu")
    while batch := list(itertools.islice(left, _BATCH)):
        for people in _batch_rows(model, direction, prior, batch):
            rows += people
            followed += _swaps_followed(people)
    inside = [row for row in rows if row["inside"]]
    looks = [row for row in inside if row["object"] is not None]

    def distance(name: str) -> float:
        return float(np.mean([np.linalg.norm(row[name] - row["gaze"]) for row in inside]))

    def hits(name: str) -> float:
        return float(np.mean([_nearest(row[name], row["objects"]) == row["object"] for row in looks]))

    return HeldOutScores(
        frames=frames,
        people=len(rows),
        l2=distance("peak"),
        l2_centre=distance("centre"),
        l2_mean_target=distance("mean"),
        l2_head_direction=distance("direction"),
        l2_head_box=distance("box"),
        l2_whole_frame=distance("whole"),
        object_hits=hits("peak"),
        object_chance=max(1 / len(NOUNS), *(hits(name) for name in ("centre", "mean", "direction", "box", "whole"))),
        swaps=len(followed),
        swap_follows=float(np.mean(followed)) if followed else float("nan"),
        inout_auc=_rank_auc([row["inside"] for row in rows], [row["inout"] for row in rows]),
    )


def _batch_rows(
    model: GazeModel, direction: GazeModel, prior: _BoxPrior, batch: list[HeldOutFrame]
) -> Iterator[list[dict[str, Any]]]:
    """For each frame one row per person: the truth, the model's peak and the points of the priors."""
    pictures = np.stack([frame.picture for frame in batch])
    boxes = [[person.box_xyxy for person in frame.people] for frame in batch]
    out = model(pictures, boxes)
    peaks, directions = _peaks(out.heatmap), _peaks(direction(pictures, boxes).heatmap)
    inout = [float("nan")] * len(peaks) if out.inout is None else out.inout.tolist()
    own = zip(peaks, directions, inout, strict=True)
    for frame, whole in zip(batch, _peaks(model(pictures, [[None] for _ in batch]).heatmap), strict=True):
        yield [
            {
                "inside": person.inside,
                "gaze": np.array(person.gaze_xy),
                "object": person.look.number if person.look.kind == "object" else None,
                "objects": frame.objects_xy,
                "peak": peak,
                "centre": np.array([0.5, 0.5]),
                "mean": prior.mean_xy,
                "direction": direction_peak,
                "box": prior(person.box_xyxy),
                "whole": whole,
                "inout": probability,
            }
            for person, (peak, direction_peak, probability) in zip(frame.people, own, strict=False)
        ]


def _swaps_followed(people: list[dict[str, Any]]) -> list[bool]:
    """For each pair of people who look at different places: does the peak follow an exchange of their prompts?

    Person a with the prompt of b gets the peak of b; it follows where it lies nearer to the target of b.
    """
    return [
        bool(np.linalg.norm(b["peak"] - b["gaze"]) < np.linalg.norm(b["peak"] - a["gaze"]))
        for a, b in itertools.permutations(people, 2)
        if a["inside"] and b["inside"] and np.linalg.norm(a["gaze"] - b["gaze"]) >= _APART
    ]


@dataclass(frozen=True, kw_only=True)
class _BoxPrior:
    """Target predicted from the head box alone: linear and squared terms, fitted on training scenes."""

    weights: Floats
    mean_xy: Floats

    @classmethod
    def fitted(cls) -> _BoxPrior:
        boxes, targets = [], []
        for number in range(_PRIOR_SCENES):
            scene = Scene(SceneSettings(), seed=_PRIOR_SEED + number, seconds=_SECONDS)
            for seconds in (2.0, 5.0, 8.0):
                people = [p for p in scene.truth_at(seconds) if p.inside]
                boxes += [p.box_xyxy for p in people]
                targets += [p.gaze_xy for p in people]
        wanted = np.array(targets)
        weights = np.linalg.lstsq(_terms(boxes), wanted, rcond=None)[0]
        return cls(weights=weights, mean_xy=wanted.mean(axis=0))

    def __call__(self, box: Sequence[float]) -> Floats:
        return np.asarray(_terms([box])[0] @ self.weights)


def _terms(boxes: Sequence[Sequence[float]]) -> Floats:
    b = np.array(boxes)
    x, y, height = (b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, b[:, 3] - b[:, 1]
    return np.stack([np.ones_like(x), x, y, height, x * x, x * y, y * y], axis=1)


def _peaks(heatmaps: Any) -> Floats:
    return np.array([predicted_point(one) for one in heatmaps])


def _nearest(point: Floats, objects_xy: Floats) -> int:
    return int(np.linalg.norm((objects_xy - point) * (WIDTH / HEIGHT, 1), axis=1).argmin())


def _rank_auc(positive: Sequence[bool], scores: Sequence[float]) -> float:
    """Probability that a positive's score is above a negative's; NaN without both."""
    inside = np.array([s for p, s in zip(positive, scores, strict=True) if p])
    outside = np.array([s for p, s in zip(positive, scores, strict=True) if not p])
    if not len(inside) or not len(outside):
        return float("nan")
    above = (inside[:, None] > outside[None]).mean() + 0.5 * (inside[:, None] == outside[None]).mean()
    return float(above)


def main() -> None:
    """Load, score, print a table, write JSON."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gazelle_tiny")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("-o", "--output", type=Path, default=Path("gazelle_tiny_scores.json"))
    options = parser.parse_args()
    model = load_gaze_model(options.model, device="cpu")
    scores = score(model, frames=options.frames)
    document = {"model": options.model, "weights_sha256": model.weights_sha256, **scores.document()}
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
