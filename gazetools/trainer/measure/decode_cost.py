"""What decoding costs: a few clips measured before a run begins, and hours per epoch for several numbers of workers."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

from gazetools.schemas.errors import GazetoolsError
from gazetools.trainer.data.batch import Sample
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.index_cache import open_indexed
from gazetools.trainer.plan.settle import RunPlan

_MEASURED_VIDEOS = 3
_WORKERS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class DecodeCost:
    """Costs of loading training clips, with heatmaps and augmentation, by one worker on one core."""

    clips: int  # measured
    seconds_per_clip: float  # with the video open and its frame index known
    index_seconds_per_video_hour: float  # once for all runs that share frame indexes
    video_hours: float  # of all training videos, from the length of those that were measured
    clips_per_epoch: int
    every_epoch: bool  # False: the feature cache keeps what the first epoch decodes
    hours_per_epoch: dict[int, float]  # number of workers, over all processes -> hours
    index_hours: dict[int, float]  # the same, for all frame indexes
    workers_that_keep_up: int | None  # in each process, so that steps do not wait; None: steps were not measured

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure_decoding(
    plan: RunPlan, *, clips_per_step: int | None = None, step_seconds: float | None = None
) -> DecodeCost | None:
    """Load a few training clips in this process; nothing is written. None where none can be read, or needs it.

    `clips_per_step` of a process and the seconds that its step takes tell how many workers keep up with it.
    """
    if plan.data.gone_videos:  # all features are kept
        return None
    dataset = plan.dataset(plan.data.train, training=True)
    if dataset.reader is None:
        dataset.reader = partial(open_indexed, cache=dataset.index_cache, threads=1, save=False)
    clips = plan.data.train.clips
    by_video = {clip.video_path: place for place, clip in enumerate(clips)}
    places = sorted(by_video.values())
    chosen = places[:: max(1, len(places) // _MEASURED_VIDEOS)][:_MEASURED_VIDEOS]
    opening, loading, hours = [], [], []
    for place in chosen:
        first, again = _seconds(dataset, place), _seconds(dataset, place)
        if first is None or again is None:
            continue
        length = dataset.seconds_of(place) / 3600
        hours.append(length)
        loading.append(again)
        opening.append(max(first - again, 0.0) / max(length, 1e-9))
    if not loading:
        return None
    clip, index = median(loading), median(opening)
    total = len(by_video) * sum(hours) / len(hours)
    keep_up = None
    if clips_per_step is not None and step_seconds:
        keep_up = max(1, -int(-clips_per_step * clip // step_seconds))
    return DecodeCost(
        clips=len(loading),
        seconds_per_clip=clip,
        index_seconds_per_video_hour=index,
        video_hours=total,
        clips_per_epoch=len(clips),
        every_epoch=plan.config.experiment.data.feature_cache is None or not dataset.observer.repeats,
        hours_per_epoch={workers: len(clips) * clip / workers / 3600 for workers in _WORKERS},
        index_hours={workers: total * index / workers / 3600 for workers in _WORKERS},
        workers_that_keep_up=keep_up,
    )


def _seconds(dataset: ClipDataset, place: int) -> float | None:
    """Seconds until the clip is there; None where it cannot be read."""
    began = time.perf_counter()
    try:
        read = isinstance(dataset[place], Sample)
    except GazetoolsError:
        return None
    return time.perf_counter() - began if read else None
