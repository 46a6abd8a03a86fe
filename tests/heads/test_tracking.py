"""Identities through crossings, gaps, weak findings and irregular times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gazetools.heads.tracking import Tracker, overlaps


def _tracker(**changes: float) -> Tracker:
    return Tracker(**{"score": 0.5, "low_score": 0.1, "lost_seconds": 1.0, **changes})


def _box(x: float, y: float = 0, width: float = 40, height: float = 100) -> list[float]:
    return [x, y, x + width, y + height]


def _step(tracker: Tracker, boxes: list[list[float]], t: float, scores: list[float] | None = None) -> list[int]:
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return tracker.update(array, np.array(scores or [0.9] * len(boxes)), t).tolist()


def test_overlap_is_intersection_over_union() -> None:
    left = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float64)
    right = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]], np.float64)
    np.testing.assert_allclose(overlaps(left, right), [[50 / 150, 0, 1], [0, 0, 0]])


def test_everybody_has_an_id_at_once_and_keeps_it_whatever_the_order_of_findings() -> None:
    tracker = _tracker()
    assert _step(tracker, [_box(0), _box(300)], 0) == [1, 2]
    for frame, swap in enumerate(itertools.cycle([True, False]), start=1):
        boxes = [_box(3 * frame), _box(300 - 2 * frame)]
        ids = _step(tracker, boxes[::-1] if swap else boxes, frame / 30)
        assert ids == ([2, 1] if swap else [1, 2])
        if frame == 30:
            break
    assert tracker.started == 2


def test_people_who_pass_each_other_do_not_swap() -> None:
    """Walking through each other at 10 px per frame: at the meeting only the direction tells who is who."""
    tracker = _tracker()
    for frame in range(41):
        assert _step(tracker, [_box(10 * frame), _box(400 - 10 * frame, y=8)], frame / 30) == [1, 2], frame


@pytest.mark.parametrize(("gap_seconds", "same"), [(0.5, True), (0.99, True), (1.5, False)])
def test_a_person_not_seen_for_a_while(gap_seconds: float, same: bool) -> None:
    tracker = _tracker()
    _step(tracker, [_box(50)], 0)
    _step(tracker, [_box(50)], 0.1)
    assert _step(tracker, [_box(52)], 0.1 + gap_seconds) == [1 if same else 2]


def test_a_moving_person_is_found_where_the_movement_leads() -> None:
    tracker = _tracker()
    for frame in range(10):
        _step(tracker, [_box(8 * frame)], frame / 30)
    assert _step(tracker, [_box(8 * 19)], 19 / 30) == [1]  # 80 px further: no overlap with the last box


def test_times_count_not_frames() -> None:
    """Variable rate: the same walk seen at uneven times."""
    tracker = _tracker()
    for t in (0, 0.02, 0.04, 0.06, 0.30, 0.31, 0.60):
        assert _step(tracker, [_box(200 * t)], t) == [1]


def test_a_weak_finding_prolongs_but_never_starts() -> None:
    tracker = _tracker()
    assert _step(tracker, [_box(0)], 0, [0.3]) == [0]
    assert _step(tracker, [_box(0)], 0.1, [0.9]) == [1]
    assert _step(tracker, [_box(2), _box(500)], 0.2, [0.3, 0.3]) == [1, 0]
    assert _step(tracker, [_box(4)], 0.3, [0.05]) == [0]


def test_a_sure_finding_goes_before_a_weak_one_nearby() -> None:
    tracker = _tracker()
    _step(tracker, [_box(0)], 0)
    assert _step(tracker, [_box(1), _box(6)], 0.1, [0.3, 0.9]) == [0, 1]


def test_nobody_for_a_while_is_no_fault() -> None:
    tracker = _tracker()
    assert _step(tracker, [], 0) == []
    assert _step(tracker, [_box(0)], 0.1) == [1]
    assert _step(tracker, [], 0.2) == []
    assert _step(tracker, [_box(0)], 0.3) == [1]


def test_identities_hold_in_a_noisy_crowd() -> None:
    """Six people on known paths, findings with 2 px of noise, a tenth of them missing."""
    rng = np.random.default_rng(0)
    tracker = _tracker()
    owner: dict[int, int] = {}
    for frame in range(120):
        t = frame / 30
        people = [p for p in range(6) if frame == 0 or rng.random() > 0.1]
        order = rng.permutation(people).tolist()
        boxes = [[v + n for v, n in zip(_box(120 * p + 30 * np.sin(t + p), y=20 * p), rng.normal(0, 2, 4), strict=True)]
                 for p in order]  # fmt: skip
        for person, track in zip(order, _step(tracker, boxes, t), strict=True):
            assert owner.setdefault(track, person) == person
    assert tracker.started == 6
