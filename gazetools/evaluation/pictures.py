"""Score predictions against the annotated heads of a benchmark's pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.annotations.gaze_labels import BenchmarkPicture, Head, Labels
from gazetools.annotations.label_files import read_labels
from gazetools.evaluation.picture_groups import groups_of
from gazetools.evaluation.predictions import predictions
from gazetools.evaluation.protocols import PROTOCOLS
from gazetools.evaluation.scores import HeadScore, Tally
from gazetools.progress import Progress
from gazetools.schemas.errors import UsageError
from gazetools.schemas.evaluation import EvaluateOptions, LabelNote
from gazetools.schemas.gaze_labels import Protocol

_PLACES = 20
_INSIDE = 0.5


@dataclass(frozen=True, kw_only=True)
class ShownHead:
    """What the page draws of a head: one of the best or worst."""

    picture: str
    """Path below the root of the pictures."""
    box_xyxy: tuple[float, float, float, float]
    gaze_xy: tuple[tuple[float, float], ...]
    heatmap: npt.NDArray[np.float16]
    inout: float


class Extremes:
    """The heads with the lowest and highest average L2, at most one per picture; others are forgotten at once."""

    def __init__(self, count: int) -> None:
        """Keep `count` heads at either end."""
        self._count = count
        self._best: dict[str, tuple[float, HeadScore, ShownHead]] = {}
        self._worst: dict[str, tuple[float, HeadScore, ShownHead]] = {}

    def add(self, row: HeadScore, head: Head, heatmap: npt.NDArray[np.float32]) -> None:
        """Keep this head if it is among the extremes so far."""
        if not self._count or not math.isfinite(row.avg_l2):
            return
        for kept, order in ((self._best, row.avg_l2), (self._worst, -row.avg_l2)):
            full = len(kept) == self._count and row.video_id not in kept
            last = max(kept, key=lambda name: kept[name][0]) if kept else ""
            if (full and order >= kept[last][0]) or (row.video_id in kept and order >= kept[row.video_id][0]):
                continue
            if full:
                del kept[last]
            kept[row.video_id] = (order, row, _shown(row, head, heatmap))

    def ordered(self) -> tuple[list[tuple[HeadScore, ShownHead]], list[tuple[HeadScore, ShownHead]]]:
        """The best heads, best first, and the worst, worst first."""
        best, worst = (sorted(kept.values(), key=lambda one: one[0]) for kept in (self._best, self._worst))
        return [(row, shown) for _, row, shown in best], [(row, shown) for _, row, shown in worst]


def _shown(row: HeadScore, head: Head, heatmap: npt.NDArray[np.float32]) -> ShownHead:
    return ShownHead(
        picture=row.video_id,
        box_xyxy=head.box_xyxy,
        gaze_xy=tuple(zip(head.gaze_x, head.gaze_y, strict=True)),
        heatmap=heatmap.astype(np.float16),
        inout=row.inout_score,
    )


def read_truth(truth: Path, options: EvaluateOptions) -> Labels:
    """The annotations to be scored."""
    images = None if options.images is None else Path(options.images)
    return read_labels(truth, kind=options.benchmark, images=images, split=options.split)


def score_pictures(
    predicted: str, labels: Labels, options: EvaluateOptions, tally: Tally, progress: Progress
) -> Extremes:
    """Add to `tally` a row for every head that has a prediction, and count all others.

    Pictures that are missing are in `tally.failed`. Returns the heads that the page shows.
    """
    if predicted.startswith("model:"):
        options.refuse_for(f"The heatmap of {predicted[:100]}")
    if missing := labels.left_out.get("picture_missing"):
        tally.failed["pictures"] = f"{missing.count} heads have no picture; the first: {missing.places[0]}"
    pictures = labels.pictures[: options.limit]
    if any(picture.is_video for picture in pictures):
        raise UsageError(
            "Labels of videos can't be scored as pictures.", hint="Extract the frames, and name them in `picture`."
        )
    shown = Extremes(options.examples)
    progress.start("evaluate", len(pictures), unit="pictures")
    results_of = predictions(predicted, pictures, options, tally.failed)
    for number, (picture, results) in enumerate(zip(pictures, results_of, strict=True)):
        if picture.path in tally.failed:
            tally.counts["picture_missing"] += len(picture.heads)
            continue
        for head, result in zip(picture.heads, results, strict=True):
            if result is None:
                tally.counts["people_not_evaluated"] += 1
                continue
            row = _row(labels.protocol, picture, number, head, result)
            tally.counts["target_outside" if math.isnan(row.avg_l2) else "scored"] += 1
            tally.rows.append(row)
            shown.add(row, head, result[0])
        progress.advance("evaluate")
    progress.finish("evaluate")
    return shown


def _row(
    protocol: Protocol,
    picture: BenchmarkPicture,
    number: int,
    head: Head,
    result: tuple[npt.NDArray[np.float32], float],
) -> HeadScore:
    heatmap, inout_score = result
    found: dict[str, Any] = dict(PROTOCOLS[protocol].score(picture, head, heatmap))
    own = {name: found.pop(name) for name in ("auc", "avg_l2", "min_l2") if name in found}
    inout_true = math.nan if head.inout is None else float(head.inout)
    if math.isfinite(inout_true) and math.isfinite(inout_score):
        found["inout_accuracy"] = float((inout_score >= _INSIDE) == (inout_true == 1))
    return HeadScore(
        video_id=picture.path,
        frame=number,
        block=picture.clip or picture.path,
        groups=groups_of(head),
        inout_true=inout_true,
        inout_score=inout_score,
        more=found,
        person=head.person,
        place=head.place,
        **own,
    )


def label_notes(labels: Labels) -> list[LabelNote]:
    """What is odd in the annotations, with the places of the first rows of each reason."""
    return [
        LabelNote(reason=reason, count=noted.count, scored=scored, places=noted.places[:_PLACES])
        for notes, scored in ((labels.left_out, False), (labels.mended, True))
        for reason, noted in sorted(notes.items())
    ]
