"""Which frames a clip has, all before its observation ends, and in which order clips come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import DataFileError
from gazetools.trainer.data.order import batches, clip_random, epoch_order
from gazetools.trainer.data.sampling import anchor_seconds, clip_frames


def frames_of(pts: Any, end: float, count: int = 4, rate: float = 8.0) -> list[int]:
    chosen = clip_frames(
        np.asarray(pts, float), observation_end_seconds=end, frames_per_clip=count, frames_per_second=rate
    )
    return chosen.frame_indices.tolist()


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        # wanted 1.5, 1.625, 1.75, 1.875 s; a stride of int(rate / 8) would drift
        (8, [12, 13, 14, 15]),
        (30, [45, 49, 52, 56]),
        (24, [36, 39, 42, 45]),
        (60000 / 1001, [90, 97, 105, 112]),
    ],
)
def test_frames_are_those_nearest_to_the_wanted_times(rate: float, expected: list[int]) -> None:
    assert frames_of(np.arange(600) / rate, 2.0) == expected


def test_frames_of_a_variable_rate_are_chosen_by_their_times() -> None:
    assert frames_of([0.0, 0.1, 0.6, 0.61, 0.9, 1.4], 1.0, count=4, rate=4) == [0, 1, 2, 3]


def test_times_count_from_the_first_frame() -> None:
    assert frames_of(np.arange(100) / 8 + 5.0, 2.0) == frames_of(np.arange(100) / 8, 2.0)


@pytest.mark.parametrize("end", [0.9999, 1.0, 1.0001])
def test_no_frame_at_or_after_the_end_of_the_observation(end: float) -> None:
    pts = np.arange(11) / 10
    # A low rate makes the frame at 1.0 s the nearest one to a wanted time just before the end.
    chosen = frames_of(pts, end, count=50, rate=1000.0)
    assert pts[max(chosen)] < end
    assert max(chosen) == (10 if end > 1.0 else 9)


def test_a_clip_that_begins_before_the_video_repeats_its_first_frame() -> None:
    chosen = clip_frames(np.arange(100) / 8, observation_end_seconds=0.25, frames_per_clip=4, frames_per_second=8)
    assert chosen.frame_indices.tolist() == [0, 0, 0, 1]
    assert chosen.frames_before_video == 2


@pytest.mark.parametrize(
    ("end", "message"), [(0.0, "no frame yet"), (-1.0, "no frame yet"), (13.7, "last frame is at")]
)
def test_observations_outside_the_video_are_errors(end: float, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        frames_of(np.arange(100) / 8, end)


@pytest.mark.parametrize(("point", "seconds"), [(1.0, 2.0), (0.0, 6.0), (0.25, 5.0)])
def test_anchor_points(point: float, seconds: float) -> None:
    assert anchor_seconds(2.0, 6.0, point) == seconds


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert epoch_order(50, seed=1, epoch=2).tolist() == epoch_order(50, seed=1, epoch=2).tolist()
    different = {tuple(epoch_order(50, seed=s, epoch=e)) for s in (1, 2) for e in (0, 1)}
    assert len(different) == 4
    assert sorted(epoch_order(50, seed=1, epoch=0)) == list(range(50))
    assert clip_random(seed=1, epoch=0, clip=3).random() == clip_random(seed=1, epoch=0, clip=3).random()


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (1, 4)])
def test_batches_hold_every_clip_once_and_resume_where_they_stopped(count: int, size: int) -> None:
    order = epoch_order(count, seed=0, epoch=0)
    whole = batches(order, size)
    assert [clip for batch in whole for clip in batch] == order.tolist()
    for done in range(len(whole) + 1):
        assert batches(order, size, skip_batches=done) == whole[done:]
