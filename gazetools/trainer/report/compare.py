"""Hits of a study's models on the clips that count, and the estimates that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from gazetools.annotations.segment import group_of, participant_of
from gazetools.metrics.crossed import Clips, CrossedEstimate, Floats, Parts, clips_of, contrast_parts, estimate, level
from gazetools.metrics.replicates import replicates_of
from gazetools.metrics.verdicts import Varies
from gazetools.schemas.errors import UsageError
from gazetools.schemas.report import ClusterLevel
from gazetools.trainer.folder.predictions import Predictions
from gazetools.trainer.report.load import ModelOfRun, Study

FoundLevel = Literal["participant", "take", "video"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two arms compared on one split and task."""

    estimate: CrossedEstimate
    parts: Parts
    varies: Varies
    difference_by_training: Sequence[float]  # points, of each paired training; empty where they are not paired


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Estimates of class-mean recall@k and accuracy on the clips of which training has every class."""

    study: Study
    k: int
    cluster: ClusterLevel = "auto"

    @cached_property
    def level(self) -> FoundLevel:
        """The unit that intervals are over: what `cluster` says, `auto` being the highest that is known everywhere."""
        every = [predictions for model in self.study.models for predictions in model.splits.values()]
        unknown = next((who[1:] for found in every for who in participants(found) if who.startswith(":")), None)
        if self.cluster == "participant" and unknown is not None:
            raise UsageError(
                f"--cluster participant: nobody knows who is recorded in {unknown}.",
                hint="Give participant_id in the annotations and train again, or pass --cluster take or video.",
            )
        if self.cluster != "auto":
            return self.cluster
        if unknown is None:
            return "participant"
        return "take" if any("/" in name for p in every for name in p.video_ids) else "video"

    def clips(
        self, split: str, task: str, *, keep: npt.NDArray[np.bool_] | None = None, by_class: bool = True
    ) -> Clips:
        """The clips of a split that count (and are in `keep` [N]). Raises UsageError where none is left."""
        first = self.study.predictions(split)
        kept = _kept(first, keep)
        if not kept.any():
            raise UsageError(f"Training lacks a class of every clip of {split}: there is nothing to report.")
        names = np.asarray(self.cluster_names(first))[first.arrays["video"]]
        label = first.arrays[f"label_{task}"].astype(np.int64)
        return clips_of(label[kept], names[kept].tolist(), by_class=by_class)

    def cluster_names(self, predictions: Predictions) -> list[str]:
        """The participant, take or video of each of `video_ids`."""
        if self.level == "participant":
            return participants(predictions)
        return [group_of(name) if self.level == "take" else name for name in predictions.whole_videos]

    def counts(self, split: str) -> dict[str, int]:
        """Clips that count, their videos and their clusters."""
        first = self.study.predictions(split)
        videos = np.unique(first.arrays["video"][known_clips(first)])
        names = self.cluster_names(first)
        clusters = {names[number] for number in videos}
        return {"clips": int(known_clips(first).sum()), "videos": len(videos), "clusters": len(clusters)}

    def hits(
        self, models: Sequence[ModelOfRun], split: str, task: str, *, k: int | None = None,
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> dict[tuple[int, int], Floats]:  # fmt: skip
        """Whether the true class is among the k best, 0 or 1 [N], for each model of one arm."""
        best = self.k if k is None else k
        tables = {model.identity: model.splits[split] for model in models}
        return {name: hits_of(table, task, best)[_kept(table, keep)] for name, table in tables.items()}

    def contrast(self, first: str, second: str, split: str, task: str) -> Contrast:
        """Recall@k of the arm `first` minus that of `second`; no p-value where only initialisations vary."""
        mine, theirs = (self.hits(self.study.of(arm, split), split, task) for arm in (first, second))
        one, other, varies = replicates_of(mine, theirs)
        parts = contrast_parts(one, other, self.clips(split, task))
        paired = parts.trainings[0].tolist() if parts.mode == "paired" else []
        found = estimate(parts)
        if varies == "initialisation":
            found = without_p(found)
        return Contrast(estimate=found, parts=parts, varies=varies, difference_by_training=paired)

    def recall(
        self, models: Sequence[ModelOfRun], split: str, task: str, *, k: int | None = None, by_class: bool = True
    ) -> CrossedEstimate:
        """Class-mean recall@k of one arm's models in percent; without `by_class` the share of clips that were hit."""
        replicates, _, _ = replicates_of(self.hits(models, split, task, k=k))
        return level(replicates, self.clips(split, task, by_class=by_class))

    def recall_by_training(self, arm: str, split: str, task: str) -> list[float]:
        """Recall@k of each replicate of an arm, in percent."""
        replicates, _, _ = replicates_of(self.hits(self.study.of(arm, split), split, task))
        found: list[float] = (100 * replicates.hits @ self.clips(split, task).weight).tolist()
        return found

    def group_recall(
        self, models: Sequence[ModelOfRun], split: str, task: str, keep: npt.NDArray[np.bool_]
    ) -> float | None:
        """Recall@k over the clips in `keep`, the mean over models; None without any."""
        if not (known_clips(self.study.predictions(split)) & keep).any():
            return None
        hits = np.mean(list(self.hits(models, split, task, keep=keep).values()), axis=0)
        return float(100 * hits @ self.clips(split, task, keep=keep).weight)


def hits_of(predictions: Predictions, task: str, k: int) -> Floats:
    """Whether each clip's class is among the k best, 0 or 1 [N].

    The worst rank, the number of classes, is that of clips without a valid answer (scores that are not numbers, a class
    that training lacks): it is no hit however large k is.
    """
    classes = len(predictions.arrays[f"classes_{task}"])
    hits: Floats = (predictions.arrays[f"rank_{task}"] < min(k, classes)).astype(np.float64)
    return hits


def without_p(found: CrossedEstimate) -> CrossedEstimate:
    """The estimate without p-values: one data order cannot tell of another."""
    return CrossedEstimate(**{**found.__dict__, "p": None, "p_strict": None})


def known_clips(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Whether training has every class of a clip, bool [N]."""
    arrays = predictions.arrays
    return np.all([arrays[f"label_{task}"] < len(arrays[f"classes_{task}"]) for task in predictions.tasks], axis=0)


def _kept(predictions: Predictions, keep: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    return known_clips(predictions) if keep is None else known_clips(predictions) & keep


def participants(predictions: Predictions, *, training: bool = False) -> list[str]:
    """Who is recorded in each of `video_ids` (or, for `training`, of `train_video_ids`).

    It is what the annotations say, else PXX of EPIC's PXX_YY, else the take or video with ":" in front.
    """
    names, said = predictions.whole_videos, predictions.participant_ids
    if training:
        names, said = predictions.train_whole_videos, predictions.train_participant_ids
    known = said or [""] * len(names)
    return [who or participant_of(name) or f":{group_of(name)}" for who, name in zip(known, names, strict=True)]
