"""Keys without effect are told at the start of a run with their reason, and only these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.trainer import train
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.ignored import ignored_keys, notes_of
from tests.helpers.runs import Listener
from tests.trainer.conftest import Study
from tests.trainer.test_config import ROOT, vjepa2_config

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DATA, OPTIMIZATION, PRETRAIN = "experiment.data", "experiment.optimization", "model_kwargs.pretrain_kwargs"


def told(config: dict[str, Any], *overrides: str, device: torch.device = CPU) -> set[str]:
    found = ignored_keys(load_config(config, overrides), device)
    assert all(found), "every key has a reason"
    return {key for keys in found.values() for key in keys}


def test_v_jepa_2s_own_config_says_which_of_its_keys_mean_nothing_here() -> None:
    everywhere = {
        "eval_name", "nodes", "tasks_per_node", "cpus_per_task", f"{DATA}.dataset",
        f"{PRETRAIN}.encoder.uniform_power", f"{PRETRAIN}.predictor.uniform_power",
        f"{PRETRAIN}.predictor.wide_silu",
    }  # fmt: skip
    assert told(vjepa2_config(), device=CUDA) == everywhere
    assert told(vjepa2_config()) == everywhere | {f"{DATA}.pin_memory", f"{OPTIMIZATION}.use_bfloat16"}
    note = notes_of(load_config(vjepa2_config()), CPU)[-1]
    assert "nodes, tasks_per_node, cpus_per_task (for a cluster's scheduler;" in note


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.name)
def test_this_projects_own_configs_set_nothing_in_vain(path: Path, tmp_path: Path) -> None:
    sources = load_config(path).experiment.data.heatmap_sources
    places = [f"{DATA}.heatmap_sources.{name}.path={tmp_path}" for name in sources]
    config = load_config(path, places or [f"{DATA}.heatmap_base_path={tmp_path}"])
    assert ignored_keys(config, CUDA) == {}


CASES: list[tuple[list[str], str | None, list[str]]] = [
    # (what is set, the key that this makes useless, what makes it useful again)
    (["mem_per_gpu=80G"], "mem_per_gpu", []),
    ([f"{PRETRAIN}.encoder.wide_silu=false"], f"{PRETRAIN}.encoder.wide_silu", []),
    ([f"{PRETRAIN}.encoder.use_activation_checkpointing=true"], f"{PRETRAIN}.encoder.use_activation_checkpointing",
     [f"{PRETRAIN}.encoder.use_activation_checkpointing=false"]),
    ([f"{PRETRAIN}.encoder.checkpoint_key=target_encoder"], f"{PRETRAIN}.encoder.checkpoint_key",
     ["model_kwargs.checkpoint=/vitl.pt"]),
    ([f"{PRETRAIN}.predictor.zero_init_mask_tokens=false", "model_kwargs.checkpoint=/vitl.pt"],
     f"{PRETRAIN}.predictor.zero_init_mask_tokens", ["model_kwargs.checkpoint=random"]),
    ([f"{DATA}.heatmap_frame_tolerance=3", f"{DATA}.use_heatmap=false", f"{OPTIMIZATION}.train=predictor"],
     f"{DATA}.heatmap_frame_tolerance", [f"{DATA}.use_heatmap=true"]),
    ([f"{PRETRAIN}.predictor.heatmap_dropout=0.5", f"{DATA}.use_heatmap=false", f"{OPTIMIZATION}.train=predictor"],
     f"{PRETRAIN}.predictor.heatmap_dropout", [f"{DATA}.use_heatmap=true"]),
    ([f"{PRETRAIN}.predictor.heatmap_patch_size=8", f"{PRETRAIN}.predictor.multiscale=[8, 16]"],
     f"{PRETRAIN}.predictor.heatmap_patch_size", [f"{PRETRAIN}.predictor.multiscale=null"]),
    ([f"{DATA}.heatmap_random_resize_scale=[0.5, 1]"], f"{DATA}.heatmap_random_resize_scale",
     [f"{DATA}.heatmap_view=cam01"]),
    ([f"{DATA}.random_horizontal_flip=false", f"{DATA}.train_transform=evaluation"],
     f"{DATA}.random_horizontal_flip", [f"{DATA}.train_transform=random"]),
    ([f"{OPTIMIZATION}.heatmap_lr=1e-3", f"{OPTIMIZATION}.train=probe"], f"{OPTIMIZATION}.heatmap_lr",
     [f"{OPTIMIZATION}.train=heatmap"]),
    ([f"{OPTIMIZATION}.predictor_lr=1e-3", f"{OPTIMIZATION}.train=heatmap"], f"{OPTIMIZATION}.predictor_lr",
     [f"{OPTIMIZATION}.train=predictor"]),
    ([f"{OPTIMIZATION}.use_focal_loss=false", f"{OPTIMIZATION}.loss=focal"], f"{OPTIMIZATION}.use_focal_loss",
     [f"{OPTIMIZATION}.loss=null"]),
    (["arms=[{name: blind, fusion: none, heatmap_lr: 1e-3}, estimated]"], "arms.blind.heatmap_lr",
     ["arms=[{name: seeing, heatmap_lr: 1e-3}]"]),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "key", "useful"), CASES, ids=[str(case[1]) for case in CASES])
def test_a_key_is_told_where_it_means_nothing_and_not_where_it_does(
    study: Study, tmp_path: Path, overrides: list[str], key: str, useful: list[str]
) -> None:
    config = study.config(tmp_path)
    assert told(config) == set(), "what the study sets takes effect"
    assert key in told(config, *overrides)
    if useful:
        assert key not in told(config, *overrides, *useful)


def test_keys_of_one_kind_of_source_are_told_for_the_others(study: Study, tmp_path: Path) -> None:
    (tmp_path / "gaze.csv").write_text("video_id,frame,x,y\nP01_01,0,0.5,0.5\n")
    points = {"sigma_pixels": 9, "horizontal_fov_degrees": 60}
    maps: dict[str, Any] = {"path": str(study.heatmaps), "people": "mean", "normalize": "max", "points": points}
    sources = {"maps": maps, "gaze": {**maps, "path": str(tmp_path / "gaze.csv")}}
    keys = ("maps.people", "maps.normalize", "maps.points", "gaze.people", "gaze.normalize")
    expected = {f"{DATA}.heatmap_sources.{key}" for key in (*keys, "gaze.points.horizontal_fov_degrees")}
    assert told(study.config(tmp_path, heatmap_sources=sources)) == expected
    only_gaze = study.config(tmp_path, heatmap_base_path=str(tmp_path / "gaze.csv"), heatmap_frame_tolerance=2)
    assert told(only_gaze) == {f"{DATA}.heatmap_frame_tolerance"}


def test_a_run_says_them_at_its_start(tiny: dict[str, Any], tmp_path: Path) -> None:
    listener = Listener()
    result = train(tiny, overrides=["nodes=8", "cpus_per_task=4"], dry_run=True, progress=listener)
    (note,) = [text for text in result.notes if text.startswith("WITHOUT EFFECT in this run: ")]
    assert "nodes, cpus_per_task (for a cluster's scheduler" in note and note in listener.said
    assert not any("WITHOUT EFFECT" in text for text in train(tiny, dry_run=True).notes)


@pytest.mark.parametrize(("lacking", "count"), [("member", 1), ("nan", 1), ("nothing", 0)])
def test_gating_says_which_videos_have_no_inout(study: Study, tmp_path: Path, lacking: str, count: int) -> None:
    for video_id in ("P01_01", "P01_02"):
        members = dict(np.load(study.heatmaps / f"{video_id}.npz"))
        if video_id == "P01_02" and lacking == "member":
            del members["inout"]
        elif video_id == "P01_02" and lacking == "nan":
            members["inout"] = np.full_like(members["inout"], np.nan)
        np.savez(tmp_path / f"{video_id}.npz", **members)
    config = study.config(tmp_path / "run", heatmap_base_path=str(tmp_path))
    assert not any("heatmap_inout" in note for note in train(config, dry_run=True).notes), "`keep` asks for nothing"
    notes = train(config, overrides=[f"{DATA}.heatmap_inout=gate"], dry_run=True).notes
    told_of = [note for note in notes if "heatmap_inout: gate changes nothing for 1 of the 2 videos" in note]
    assert len(told_of) == count and all("'P01_02'" in note for note in told_of)
