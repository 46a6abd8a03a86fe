"""Figures of held-out heads: loss, distance, in/out; by one process after the other's heads, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gazetools.metrics.gaze import inout_average_precision, predicted_point
from gazetools.progress import Progress
from gazetools.trainer.finetune.batch_loading import LoadedItems, MakesParts
from gazetools.trainer.finetune.batches import NO_AUGMENTATION, BatchMaker
from gazetools.trainer.finetune.feature_shelf import FeatureShelf
from gazetools.trainer.finetune.head_sample import Floats
from gazetools.trainer.finetune.labelled import LabelledHead
from gazetools.trainer.finetune.learner import GazeLearner
from gazetools.trainer.processes.world import World

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class HeadFigures:
    """Figures of one held-out head."""

    place: int
    loss: float
    l2: float
    """Distance of the peak's cell corner to the (first) gaze point, as shares; NaN for a target outside."""
    inout: float
    """Score; NaN where the network has none."""


@dataclass(frozen=True, kw_only=True)
class HeldOutFigures:
    """Means over held-out heads; NaN where nothing is measured."""

    heads: int
    loss: float
    l2: float
    """Mean over in-frame heads, as VideoAttentionTarget defines it."""
    inout_ap: float
    share_inside: float
    """Share of heads with a target in the picture: what a score without information reaches as average precision."""
    each: tuple[HeadFigures, ...]

    def values(self) -> dict[str, float]:
        """The figures that are numbers, by name."""
        named = {"loss": self.loss, "l2": self.l2, "inout_ap": self.inout_ap, "share_inside": self.share_inside}
        return {f"val_{name}": value for name, value in named.items() if math.isfinite(value)}


class HeldOut:
    """The held-out heads of a run, measured by all processes together."""

    def __init__(
        self,
        heads: Sequence[LabelledHead],
        learner: GazeLearner,
        *,
        workers: int,
        world: World,
        progress: Progress,
        shelf: FeatureShelf | None = None,
    ) -> None:
        self._heads, self._learner, self._world, self._progress = heads, learner, world, progress
        own = range(world.rank, len(heads), world.size)
        self._count = len(own)
        parts = [tuple(own[start : start + _BATCH]) for start in range(0, len(own), _BATCH)]
        maker = BatchMaker(heads, learner.network, NO_AUGMENTATION, seed=0, shelf=shelf)
        self._batches = LoadedItems(MakesParts(maker=maker, parts=parts), range(len(parts)), workers=workers)

    @torch.no_grad()
    def measure(self) -> HeldOutFigures:
        """The figures with the learner's present weights, in eval mode."""
        network = self._learner.network.eval()
        self._progress.start("held-out heads", self._count, unit="heads")
        found: list[HeadFigures] = []
        for batch in self._batches:
            answer = self._learner.answer(batch)
            maps = answer.maps.float().cpu().numpy()
            scores = [math.nan] * len(maps) if answer.inout is None else answer.inout.float().cpu().tolist()
            losses = self._learner.losses_of_each(answer, batch)
            for number, place in enumerate(batch.places):
                distance = self._distance(place, maps[number]) if bool(batch.inside_n[number]) else math.nan
                found.append(HeadFigures(place=place, loss=losses[number], l2=distance, inout=scores[number]))
            self._progress.advance("held-out heads", len(batch.places))
        self._progress.finish("held-out heads")
        network.train()
        together = sorted((one for some in self._world.gather(found) for one in some), key=lambda one: one.place)
        return self._means(together)

    def close(self) -> None:
        """End the workers."""
        self._batches.close()

    def _distance(self, place: int, heatmap: Floats) -> float:
        x, y = predicted_point(heatmap)
        gaze_x, gaze_y = self._heads[place].gaze_shares[0]
        if self._heads[place].teacher_row is not None:
            return math.nan  # a teacher's peak is no truth
        return math.hypot(x - gaze_x, y - gaze_y)

    def _means(self, each: Sequence[HeadFigures]) -> HeldOutFigures:
        distances = [one.l2 for one in each if math.isfinite(one.l2)]
        inside = [self._heads[one.place].inside for one in each]
        scores = [one.inout for one in each]
        scored = all(math.isfinite(score) for score in scores) and 0 < sum(inside) < len(inside)
        return HeldOutFigures(
            heads=len(each),
            loss=float(np.mean([one.loss for one in each])) if each else math.nan,
            l2=float(np.mean(distances)) if distances else math.nan,
            inout_ap=inout_average_precision([float(one) for one in inside], scores) if scored else math.nan,
            share_inside=sum(inside) / len(inside) if inside else math.nan,
            each=tuple(each),
        )
