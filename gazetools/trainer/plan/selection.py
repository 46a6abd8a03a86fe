"""Splits in addition to those of the annotations: a held-out part of train that selects, and other horizons."""

from __future__ import annotations

import dataclasses
import hashlib

from gazetools.schemas.errors import UsageError
from gazetools.trainer.data.sampling import anchor_seconds
from gazetools.trainer.data.survey import SplitPlan

HELD_OUT = "held_out"


def hold_out(train: SplitPlan, share: float, *, seed: int) -> tuple[SplitPlan, SplitPlan | None]:
    """Split train into (what trains, what selects): the latter has about `share` of the videos, but at least one.

    Videos are chosen whole, by seed and id, takes with all their cameras, so that neighbouring actions of one recording
    are never on both sides. Raises UsageError where train has a single video or take.
    """
    if share == 0:
        return train, None
    ids = sorted({clip.segment.group for clip in train.clips})
    if len(ids) < 2:
        raise UsageError(
            f"The training clips come from {len(ids)} video(s) or take(s): none can be held out to choose the epoch.",
            hint="Set experiment.evaluation.held_out=0 to choose on validation, or train on more videos.",
        )
    ids.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen = set(ids[: min(max(round(share * len(ids)), 1), len(ids) - 1)])
    parts = [[clip for clip in train.clips if (clip.segment.group in chosen) == selects] for selects in (False, True)]
    trains = dataclasses.replace(train, clips=parts[0], counts={**train.counts, HELD_OUT: len(parts[1])})
    return trains, dataclasses.replace(train, name=HELD_OUT, clips=parts[1], counts={"rows": len(parts[1])})


def at_horizons(validation: SplitPlan, horizons: list[float]) -> dict[float, SplitPlan]:
    """Horizon in seconds -> the validation clips observed at all horizons. Raises UsageError where none is left."""
    if not horizons:
        return {}
    point, longest = max(validation.anchor.point), max(horizons)
    clips = [
        clip
        for clip in validation.clips
        if anchor_seconds(clip.segment.start_seconds, clip.segment.stop_seconds, point) > longest
    ]
    if not clips:
        raise UsageError(
            f"No validation clip begins more than {longest:g} s into its video.",
            hint="Shorten experiment.evaluation.horizons.",
        )
    counts = {"rows": len(validation.clips), "no_observation": len(validation.clips) - len(clips)}
    split = dataclasses.replace(validation, name="horizon", clips=clips, counts=counts)
    return {horizon: dataclasses.replace(split, anticipation_seconds=(horizon, horizon)) for horizon in horizons}
