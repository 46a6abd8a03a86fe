"""The scores: oracles get what they should; the shipped gazelle_tiny is above its bounds on frames it never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.gazemodels import GazeOutput, load_gaze_model
from gazetools.metrics.gaze import target_heatmap
from gazetools.scenes.settings import TEST_SEED
from gazetools.trainer.finetune.tiny import scoring


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


def test_a_model_that_needs_heads_is_scored_without_the_prior_of_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """People without a pixel are counted and not passed; the model never receives a person without a box."""
    monkeypatch.setattr(scoring, "_PRIOR_SCENES", 5)
    frames = list(scoring.held_out_frames(2, first_seed=TEST_SEED + 900))
    first = frames[0].people[0]
    frames[0].people[0] = replace(first, box_xyxy=(0.5, 0.5, 0.5, 0.6))
    monkeypatch.setattr(scoring, "held_out_frames", lambda count, first_seed, world="kitchens": iter(frames))
    oracle = _Oracle(2, TEST_SEED + 900)
    passed = [box for frame in frames for box in (person.box_xyxy for person in frame.people)][1:]

    def model(images: Any, boxes: Sequence[Sequence[Any]]) -> GazeOutput:
        assert [box for some in boxes for box in some] == passed
        return oracle(images, boxes)

    monkeypatch.setattr(scoring, "needs_boxes", lambda of: True)
    scores = scoring.score(model, frames=2, first_seed=0)  # type: ignore[arg-type]
    assert (scores.people, scores.people_not_evaluated) == (len(passed), 1)
    assert scores.l2 < 0.02
    assert scores.l2_whole_frame is None
    others = [scores.l2_centre, scores.l2_mean_target, scores.l2_head_direction, scores.l2_head_box]
    assert scores.best_prior == min(others)


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--model", "page_vits"], 3, "page_vits"),
        (["--model", "no-such-model"], 2, "no-such-model"),
        (["--model", "page_vits", "--checkpoint", "missing.safetensors"], 2, "missing.safetensors"),
    ],
    ids=["no weights", "no such model", "no such file"],
)
def test_scoring_ends_with_the_code_of_the_error(
    flags: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scoring", *flags])
    with pytest.raises(SystemExit) as ended:
        scoring.main()
    assert ended.value.code == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("frames", [24, pytest.param(400, marks=pytest.mark.slow)])
def test_the_shipped_model_keeps_its_bounds(frames: int) -> None:
    """`make gazelle-tiny-eval`, which takes 400 frames."""
    scores = scoring.score(load_gaze_model("gazelle_tiny", device="cpu"), frames=frames)
    assert all(scores.verdicts.values()), json.dumps(scores.document(), indent=1)
