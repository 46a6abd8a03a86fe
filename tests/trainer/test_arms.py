"""Arms, seeds and probes side by side: equal to running alone, one decoding and encoding per clip, faults contained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.schemas.errors import FaultError
from gazetools.trainer import train
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.models.encoder import VideoEncoder
from tests.helpers.runs import assert_same, learner_state
from tests.trainer.conftest import ARMS


def test_every_arm_seed_and_probe_equals_its_run_alone_to_the_bit(many: dict[str, Any], tmp_path: Path) -> None:
    together = train(many)
    assert len(together.best_by_learner) == (len(ARMS) + 1) * 2
    for arm, seed, head in [(0, 0, 1), (2, 0, 0), (3, 3, 1), (4, 0, 1)]:
        alone = copy.deepcopy(many)
        entry = {"name": ARMS[arm], "fusion": "none"} if ARMS[arm] == "none" else ARMS[arm]
        entry = entry if isinstance(entry, dict) else {"name": entry}
        if entry["name"] == "shuffled":
            entry = {"name": "shuffled", "control": "shuffled"}
        alone["arms"] = [{**entry, "seeds": [seed]}]
        alone["folder"] = str(tmp_path / f"alone{arm}")
        result = train(alone, overrides=[f"experiment.optimization.head={head}"])
        name = f"{entry['name']}.s{seed}.h{head}"
        for mine, other in zip(
            learner_state(tmp_path / "run", name), learner_state(Path(alone["folder"]), entry["name"]), strict=True
        ):
            assert_same(mine, other, name)
        for split, values in result.final[entry["name"]].items():  # `none` alone loads no maps and counts none
            mine = together.final[name][split]
            assert {k: v for k, v in mine.items() if "heatmap" not in k} == {
                k: v for k, v in values.items() if "heatmap" not in k
            }


def test_clips_are_decoded_and_encoded_once_however_many_arms(
    many: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"decoded": 0, "encoded": 0}
    load, encode = ClipDataset._load, VideoEncoder.forward

    def counted_load(self: ClipDataset, *arguments: Any) -> Any:
        counts["decoded"] += 1
        return load(self, *arguments)

    def counted_encode(self: VideoEncoder, video: torch.Tensor) -> torch.Tensor:
        counts["encoded"] += len(video)
        return encode(self, video)

    monkeypatch.setattr(ClipDataset, "_load", counted_load)
    monkeypatch.setattr(VideoEncoder, "forward", counted_encode)
    seen = []
    for number, arms in enumerate(([], ARMS)):
        counts.update(decoded=0, encoded=0)
        head = ["experiment.optimization.head=0"] if not arms else []
        train({**copy.deepcopy(many), "arms": arms, "folder": str(tmp_path / str(number))}, overrides=head)
        seen.append(dict(counts))
    train_and_held_out, validation = 5, 5
    clips = 2 * (train_and_held_out + validation) + (validation + 1 + 1)
    assert seen[0] == seen[1]
    assert seen[0]["decoded"] == seen[0]["encoded"] <= clips


def test_a_bad_probe_is_dropped_by_name_and_spoils_no_other(
    many: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many["arms"] = ["none", "estimated"]
    train(many)
    true_judge, calls = Learner.judge, []

    def judge(self: Learner, context: torch.Tensor, labels: Any, **settings: Any) -> Any:
        logits, loss = true_judge(self, context, labels, **settings)
        if self.name == "none.h1" and torch.is_grad_enabled():
            calls.append(1)
            return logits, loss * (float("inf") if len(calls) == 2 else 1.0)
        return logits, loss

    monkeypatch.setattr(Learner, "judge", judge)
    result = train({**many, "folder": str(tmp_path / "bad")})
    assert result.status == "done"
    assert set(result.failed) == {"none.h1"} and "step 2" in result.failed["none.h1"]
    assert "none.h1" not in result.final and "none.h1/train_loss" not in result.metrics
    for name in ("none.h0", "estimated.h0", "estimated.h1"):
        for mine, other in zip(
            learner_state(tmp_path / "run", name), learner_state(tmp_path / "bad", name), strict=True
        ):
            assert_same(mine, other, name)


def test_the_last_learner_that_fails_stops_the_run(many: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    true_judge = Learner.judge

    def judge(self: Learner, context: torch.Tensor, labels: Any, **settings: Any) -> Any:
        logits, loss = true_judge(self, context, labels, **settings)
        return logits, loss * float("nan")

    monkeypatch.setattr(Learner, "judge", judge)
    many["arms"] = ["none", "estimated"]
    with pytest.raises(FaultError, match=r"estimated\.h1: .* step 1"):
        train(many)
