"""The 95 % interval of a recall holds the truth also with few videos, in simulated studies whose truth is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from gazetools.metrics.crossed import ArmHits, clips_of, level

CLASSES, CLIPS, STUDIES = 10, 30, 300
SPREAD = 0.8  # sd of a video's own shift, in logits


def _chance(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("videos", [5, 30])
def test_the_interval_of_a_recall_holds_the_truth(videos: int) -> None:
    """A percentile bootstrap over 5 videos holds it in 78 to 83 % of such studies; here in 92 or more."""
    random = np.random.default_rng(1)
    easy = random.normal(-0.5, 1, CLASSES)
    truth = 100 * float(np.mean([_chance(one + random.normal(0, SPREAD, 20_000)).mean() for one in easy]))
    held = 0
    for _ in range(STUDIES):
        label = random.integers(CLASSES, size=videos * CLIPS)
        video = np.repeat(np.arange(videos), CLIPS)
        hit = random.random(len(label)) < _chance(easy[label] + random.normal(0, SPREAD, videos)[video])
        found = level(ArmHits(seeds=[0], hits=hit.astype(np.float64)[None]), clips_of(label, video.tolist()))
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert 0.92 <= held / STUDIES <= 0.99
