"""Which trained models are replicates of each other: those whose runs differ in their seed, else in initial weights."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

import numpy as np

from gazetools.metrics.crossed import ArmHits, Floats
from gazetools.metrics.verdicts import Varies

Models = Mapping[tuple[int, int], Floats]
"""(run's seed, seed of the new weights) -> hits [N] of that model."""


def replicates_of(first: Models, second: Models | None = None) -> tuple[ArmHits, ArmHits, Varies]:
    """The replicates of two arms and what differs between them; without `second` those of `first` twice.

    A run's seed decides data order, augmentation, held-out videos and initial weights. Where each arm has two runs or
    more, a replicate is a run: the mean over the arm's initialisations in it. Otherwise the initialisations stand in,
    those of the common run if there is one. They share a data order, so they tell less.
    """
    other = first if second is None else second
    runs, other_runs = ({run for run, _ in models} for models in (first, other))
    if min(len(runs), len(other_runs)) >= 2:
        return _by_run(first), _by_run(other), "training"
    common = runs & other_runs
    return _by_initialisation(first, common), _by_initialisation(other, common), "initialisation"


def _by_run(models: Models) -> ArmHits:
    members: dict[Hashable, list[Floats]] = {}
    for (run, _), hits in models.items():
        members.setdefault(run, []).append(hits)
    return ArmHits(seeds=list(members), hits=np.stack([np.mean(hits, axis=0) for hits in members.values()]))


def _by_initialisation(models: Models, common: Collection[int]) -> ArmHits:
    """The models of the `common` runs, named by their seed; all models, named by both, where no run is common."""
    chosen: dict[Hashable, Floats] = {seed: hits for (run, seed), hits in models.items() if run in common}
    chosen = chosen or dict(models.items())
    return ArmHits(seeds=list(chosen), hits=np.stack(list(chosen.values())))
