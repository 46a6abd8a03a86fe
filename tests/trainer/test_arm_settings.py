"""Which arms there can be and what each one sees: sources, controls, names, what the dry run shows and refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.schemas.errors import UsageError
from gazetools.trainer import train
from gazetools.trainer.learn.controls import centre_prior, maps_for
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from tests.helpers.runs import assert_same, learner_state
from tests.trainer.conftest import Study


def test_what_an_arm_cannot_be_is_said_for_all_arms_at_once(many: dict[str, Any]) -> None:
    many["arms"] = [
        {"name": "a", "fusion": "add", "temporal": "frame"},
        {"name": "b", "heatmap_patch_size": 5},
        {"name": "c", "fusion": "none", "control": "zeros"},
    ]
    with pytest.raises(UsageError) as caught:
        train(many)
    for part in ("arm a: fusion: add", "arm b: The heatmap's 32", "arm c: control: zeros needs"):
        assert part in str(caught.value), part
    for wrong, message in ((["nothing"], "no known arm"), (["none", "none"], "more than once")):
        with pytest.raises(UsageError, match=message):
            load_config({**many, "arms": wrong})


def test_what_all_arms_share_is_said_once(many: dict[str, Any]) -> None:
    many["model_kwargs"]["pretrain_kwargs"]["predictor"]["num_heads"] = 5
    with pytest.raises(UsageError) as caught:
        plan_learners(load_config(many))
    assert str(caught.value).count("does not split into 5 heads") == 1 and "arm " not in str(caught.value)


def test_an_arms_unknown_source_is_named(many: dict[str, Any]) -> None:
    many["arms"] = ["ground_truth"]
    with pytest.raises(UsageError, match="'ground_truth' is none of the data's: heatmap"):
        train(many)


@pytest.fixture
def true_gaze(study: Study, tmp_path: Path) -> Path:
    """Other maps than the study's own, of P01_01 only."""
    folder = tmp_path / "true"
    folder.mkdir()
    with np.load(study.heatmaps / "P01_01.npz") as own:
        np.savez(folder / "P01_01.npz", **{**own, "heatmap": own["heatmap"][:, ::-1]})
    return folder


def test_an_arm_of_another_source_equals_a_run_on_that_source(
    many: dict[str, Any], true_gaze: Path, tmp_path: Path
) -> None:
    many["experiment"]["optimization"]["head"] = 0
    own = many["experiment"]["data"]["heatmap_base_path"]
    many["arms"] = ["estimated", "ground_truth"]
    many["experiment"]["data"]["heatmap_sources"] = {"ground_truth": {"path": str(true_gaze)}}
    together = train(many)
    del many["experiment"]["data"]["heatmap_sources"]
    for name, path in (("estimated", own), ("ground_truth", str(true_gaze))):
        alone = {**copy.deepcopy(many), "folder": str(tmp_path / name), "arms": [{"name": name}]}
        alone["experiment"]["data"]["heatmap_base_path"] = path
        result = train(alone)
        states = [learner_state(folder, name) for folder in (tmp_path / "run", tmp_path / name)]
        for mine, other in zip(*states, strict=True):
            assert_same(mine, other, name)
        assert together.final[name]["val_start"]["action_top1"] == result.final[name]["val_start"]["action_top1"]
    values = together.final["estimated"]["val_start"]
    assert values["heatmap_missing_ground_truth"] > values["heatmap_missing"] > 0, "counted source by source"


def test_the_only_source_is_seen_by_arms_that_name_none(many: dict[str, Any], true_gaze: Path, tmp_path: Path) -> None:
    many["experiment"]["optimization"]["head"] = 0
    many["arms"] = ["estimated"]
    many["experiment"]["data"]["heatmap_base_path"] = str(true_gaze)
    train(many)
    del many["experiment"]["data"]["heatmap_base_path"]
    many["experiment"]["data"]["heatmap_sources"] = {"true": {"path": str(true_gaze)}}
    train({**many, "folder": str(tmp_path / "named")})
    states = [learner_state(folder, "estimated") for folder in (tmp_path / "run", tmp_path / "named")]
    for mine, other in zip(*states, strict=True):
        assert_same(mine, other)


def test_names_of_learners(many: dict[str, Any]) -> None:
    names = [spec.name for spec in plan_learners(load_config(many))]
    assert names[:2] == ["none.s0.h0", "none.s0.h1"] and "added.s3.h1" in names
    trunks = {spec.trunk for spec in plan_learners(load_config(many)) if spec.arm == "frozen"}
    assert trunks == {"frozen.s0"}, "a predictor that does not train is shared by its probes"


def test_controls_do_what_they_say() -> None:
    maps = torch.rand(3, 4, 6, 6)
    others = torch.rand(3, 4, 6, 6)

    def control(name: Any) -> torch.Tensor:
        found = maps_for({"heatmap": maps, "shuffled:heatmap": others}, source="heatmap", control=name)
        assert found is not None and found.shape == maps.shape
        return found

    assert torch.equal(control(None), maps)
    assert not control("zeros").any()
    assert torch.equal(control("time_shifted"), maps[:, [2, 3, 0, 1]])
    assert torch.equal(control("shuffled"), others)
    centre = control("centre")
    assert torch.equal(centre[0, 0], centre[2, 3]) and float(centre.max()) == 1.0
    assert centre_prior((5, 5)).argmax() == 12
    assert maps_for({}, source=None, control=None) is None


def test_dry_run_shows_every_arm_and_refuses_what_does_not_fit(
    many: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(many, dry_run=True)
    assert len(result.model["learners"]) == 12
    assert result.model["arms"]["none"]["heatmap_tokens"] == 0
    assert result.model["arms"]["added"]["tokens_per_step"] == {"video": 16, "heatmap": 16, "interleaved": False}
    assert result.model["arms"]["estimated"]["forward_gflops_per_clip"]["predictor"] > 0
    json.dumps(result.as_dict(), allow_nan=False)
    import gazetools.trainer.plan.checks as module

    monkeypatch.setattr(module.os, "sysconf", lambda name: 1000)
    with pytest.raises(UsageError, match="Use fewer arms"):
        train(many, dry_run=True)
