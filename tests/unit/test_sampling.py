"""Frames are chosen by their true times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazetools.sampling import choose_frames, nearest_indices

PTS_30 = np.arange(30) / 30
PTS_NTSC = np.arange(60) * 1001 / 60000

CASES = [
    (PTS_30, {}, list(range(30)), "every frame"),
    (PTS_30, {"stride": 10}, [0, 10, 20], "every tenth"),
    (PTS_30, {"start": 0.5}, list(range(15, 30)), "from half a second, included"),
    (PTS_30, {"end": 0.1}, [0, 1, 2], "end is not included"),
    (PTS_30, {"start": 0.5, "stride": 5}, [15, 20, 25], "stride counts from the first chosen"),
    (PTS_30, {"fps": 10}, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27], "10 of 30 fps"),
    (PTS_30, {"fps": 8}, [0, 4, 7, 11, 15, 19, 22, 26], "8 of 30 fps: nearest, not every third"),
    (PTS_NTSC, {"fps": 8, "end": 0.5}, [0, 7, 15, 22], "8 of 59.94 fps: never 8.56"),
    (PTS_30 + 100.0, {"fps": 10}, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27], "a late start changes nothing"),
    (PTS_30, {"fps": 1000}, list(range(30)), "more than there is: each frame once"),
    (PTS_30, {"start": 5.0}, [], "beyond the end"),
    (np.array([0.0, 0.1, 0.5, 0.6]), {"fps": 5}, [0, 1, 2, 3], "variable rate: nearest, each once"),
]


@pytest.mark.parametrize(("pts", "options", "wanted", "why"), CASES, ids=[case[3] for case in CASES])
def test_choice(pts: np.ndarray, options: dict[str, float], wanted: list[int], why: str) -> None:
    assert choose_frames(pts, **options).tolist() == wanted  # type: ignore[arg-type]


@given(
    pts=st.lists(st.floats(0, 100), min_size=1, max_size=30, unique=True).map(sorted),
    wanted=st.lists(st.floats(-10, 110), max_size=20),
)
def test_nearest_agrees_with_brute_force(pts: list[float], wanted: list[float]) -> None:
    times, asked = np.array(pts), np.array(wanted)
    brute = np.abs(times[None] - asked[:, None])
    got = nearest_indices(times, asked)
    for k in range(len(asked)):
        assert brute[k, got[k]] == pytest.approx(brute[k].min(), abs=1e-12)
