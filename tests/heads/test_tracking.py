"""Identities through crossings, gaps, weak findings and irregular times."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from gazetools.heads.tracking import Tracker


def _tracker(**changes: float) -> Tracker:
    return Tracker(**{"score": 0.5, "low_score": 0.1, "lost_seconds": 1.0, "frame_rate": 30.0, **changes})


def _box(x: float, y: float = 0, width: float = 40, height: float = 100) -> list[float]:
    return [x, y, x + width, y + height]


def _step(tracker: Tracker, boxes: list[list[float]], t: float, scores: list[float] | None = None) -> list[int]:
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return tracker.update(array, np.array(scores or [0.9] * len(boxes)), t).tolist()


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


@pytest.mark.parametrize(
    ("lost_seconds", "gap_seconds", "same"),
    [(1.0, 0.5, True), (1.0, 0.99, True), (1.0, 1.5, False), (0.35, 0.34, True), (0.35, 0.36, False)],
)
def test_a_person_not_seen_for_a_while(lost_seconds: float, gap_seconds: float, same: bool) -> None:
    tracker = _tracker(lost_seconds=lost_seconds)
    _step(tracker, [_box(50)], 0)
    _step(tracker, [_box(50)], 0.1)
    assert _step(tracker, [_box(52)], 0.1 + gap_seconds) == [1 if same else 2]


BUDGETS = [
    (0.05, 1, True, "one missing frame is 0.067 s: longer", False),
    (0.05, 0, True, "the next frame", True),
    (0.07, 1, True, "a budget between two frames", True),
    (0.35, 9, True, "0.33 s", True),
    (0.35, 10, True, "0.37 s", False),
    (1.0, 29, True, "exactly 1 s is not longer", True),
    (1.0, 29, False, "so after one finding only", True),
    (1.0, 30, True, "one more", False),
    (0.0, 0, True, "nothing is forgiven, but nothing was missed", True),
    (0.0, 1, True, "one missing frame", False),
]


@pytest.mark.parametrize(("lost_seconds", "missing", "seen_twice", "why", "same"), BUDGETS, ids=[b[3] for b in BUDGETS])
def test_lost_seconds_are_obeyed(lost_seconds: float, missing: int, seen_twice: bool, why: str, same: bool) -> None:
    tracker = _tracker(lost_seconds=lost_seconds)
    first = 2 if seen_twice else 1
    for frame in range(first + missing):
        _step(tracker, [_box(50)] if frame < first else [], frame / 30)
    assert _step(tracker, [_box(50)], (first + missing) / 30) == [1 if same else 2], why


def test_exactly_the_budget_is_kept_whatever_the_steps_add_up_to() -> None:
    """From 1.2 to 2.2 s in steps of 0.1 s: their sum in floating point is a little more than 1."""
    tracker = _tracker(frame_rate=10.0)
    for frame in range(12, 22):
        _step(tracker, [_box(50)] if frame == 12 else [], frame / 10)
    assert _step(tracker, [_box(50)], 2.2) == [1]


def test_looking_seldom_is_no_loss() -> None:
    """Every 60th frame of 30 fps: 2 s from one look to the next, longer than `lost_seconds`."""
    tracker = _tracker(frame_rate=0.5)
    assert [_step(tracker, [_box(3 * t)], t) for t in (0, 2, 4, 8)] == [[1], [1], [1], [2]]


def test_two_frames_of_one_time() -> None:
    tracker = _tracker()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [_step(tracker, [_box(2 * n), _box(300)], t) for n, t in enumerate((-1, -0.9, -0.9, -0.9, -0.8))] == [
            [1, 2]
        ] * 5
    with pytest.raises(AssertionError, match="comes after"):
        _step(tracker, [], -0.85)


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


def test_ids_count_in_the_order_of_findings_also_where_boxes_are_equal() -> None:
    tracker = _tracker()
    assert _step(tracker, [_box(900), _box(0), _box(500), _box(0)], 0, [0.9, 0.9, 0.3, 0.6]) == [1, 2, 0, 3]
    assert sorted(_step(tracker, [_box(0), _box(0), _box(900), _box(500)], 0.1)) == [1, 2, 3, 4]
    assert tracker.started == 4


def test_equal_findings_give_equal_ids_and_trackers_share_nothing() -> None:
    rng = np.random.default_rng(5)
    frames = [np.sort(rng.uniform(0, 200, (4, 2, 2)), axis=1).reshape(4, 4) for _ in range(40)]
    scores = rng.uniform(0.05, 1, (40, 4))
    alone = _tracker()
    expected = [alone.update(frames[n], scores[n], n / 30).tolist() for n in range(40)]
    first, second = _tracker(), _tracker(score=0.7)
    for n in range(40):
        assert first.update(frames[n], scores[n], n / 30).tolist() == expected[n]
        second.update(frames[-n], scores[-n], n / 30)


def test_nobody_for_a_while_is_no_fault() -> None:
    tracker = _tracker()
    assert _step(tracker, [], 0) == []
    assert _step(tracker, [_box(0)], 0.1) == [1]
    assert _step(tracker, [], 0.2) == []
    assert _step(tracker, [_box(0)], 0.3) == [1]


@pytest.mark.parametrize("seed", range(4))
def test_identities_hold_in_a_noisy_crowd(seed: int) -> None:
    """Six people on known paths, findings with 2 px of noise, a tenth of them missing."""
    rng = np.random.default_rng(seed)
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


def test_the_library_comes_quietly_and_without_pictures(tmp_path: Path) -> None:
    """`trackers` depends on supervision and so on matplotlib, which would write a font cache to the home folder."""
    code = (
        "import sys, numpy as np; from gazetools.heads.tracking import Tracker\n"
        "assert not {'trackers', 'supervision'} & set(sys.modules)\n"
        "tracker = Tracker(score=0.5, low_score=0.1, lost_seconds=1, frame_rate=30)\n"
        "tracker.update(np.array([[0, 0, 9, 9.0]]), np.array([0.9]), 0.0)\n"
        "assert not {'matplotlib', 'torch', 'torchvision'} & set(sys.modules)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
