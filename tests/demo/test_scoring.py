"""The scores: oracles get what they should; the shipped gazelle_tiny is above its bounds on frames it never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.finetune import scoring
from gazetools.gazemodels import GazeOutput, load_gaze_model
from gazetools.metrics.gaze import target_heatmap
from gazetools.scenes.settings import TEST_SEED


class _Oracle:
    """Knows where everybody looks: the box is looked up in the truth."""

    def __init__(self, frames: int, first_seed: int) -> None:
        self.truth = {
            person.box_xyxy: person
            for frame in scoring.held_out_frames(frames, first_seed=first_seed)
            for person in frame.people
        }

    def __call__(self, images: Any, boxes: Sequence[Sequence[Any]]) -> GazeOutput:
        people = [(i, self.truth.get(box)) for i, some in enumerate(boxes) for box in some]
        maps = [target_heatmap(*p.gaze_xy) if p is not None else np.ones((64, 64), np.float32) for _, p in people]
        return GazeOutput(
            torch.from_numpy(np.stack(maps)),
            torch.tensor([float(p is not None and p.inside) for _, p in people]),
            torch.tensor([i for i, _ in people]),
        )


@pytest.mark.slow
def test_an_oracle_is_right_and_a_blind_one_is_not() -> None:
    oracle = _Oracle(6, TEST_SEED + 900)
    scores = scoring.score(oracle, frames=6, first_seed=TEST_SEED + 900)  # type: ignore[arg-type]
    assert scores.l2 < 0.02, "a cell's corner is at most 1.4 / 64 beside the target"
    assert scores.object_hits > 0.9
    assert scores.swap_follows == 1
    assert all(scores.verdicts.values())
    blind = SimpleNamespace(truth={})
    scores = scoring.score(
        lambda images, boxes: _Oracle.__call__(blind, images, boxes),  # type: ignore[arg-type]
        frames=6,
        first_seed=TEST_SEED + 900,
    )
    assert not any(scores.verdicts.values())


@pytest.mark.parametrize("frames", [24, pytest.param(400, marks=pytest.mark.slow)])
def test_the_shipped_model_keeps_its_bounds(frames: int) -> None:
    """`make gazelle-tiny-eval`, which takes 400 frames."""
    scores = scoring.score(load_gaze_model("gazelle_tiny", device="cpu"), frames=frames)
    assert all(scores.verdicts.values()), json.dumps(scores.document(), indent=1)
