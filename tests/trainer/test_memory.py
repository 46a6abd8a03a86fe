"""Memory of many models by arithmetic: the guide's study fits eight GPUs of 80 GB, and docs/training.md says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.schemas.errors import UsageError
from gazetools.trainer import train
from gazetools.trainer.learn.trunk import Trunk, build_trunks
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.checks import check_memory
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.describe import describe_model
from gazetools.trainer.plan.memory import plan_memory
from gazetools.trainer.processes.world import World
from tests.trainer.conftest import Study

ROOT = Path(__file__).parents[2]
CLASSES = {"verb": 97, "noun": 300, "action": 3806}
"""EPIC-KITCHENS-100."""
GPU_BYTES = 80e9
"""What "80 GB" promises at the least; an H100 of that name shows 85.5e9."""
ACTIVATIONS = {"ViT-L": 2.9e9, "ViT-g": 3.9e9}
"""One model's for two clips, by benchmarks/step_activations.py; ViT-g with use_activation_checkpointing."""
RELEASED = {"ViT-L": "vitl", "ViT-g": "vitg-384"}


def guides_study(name: str, train_part: str, *, seeds: int = 1) -> dict[str, Any]:
    """20 probes x 4 arms of a released config, as one training of a study holds them; `seeds` of arms multiply."""
    config = load_config(ROOT / f"configs/eval/{RELEASED[name]}/ek100-heatmap.yaml")
    values = config.model_dump(mode="json", exclude_none=True)
    values["model_kwargs"]["checkpoint"] = "random"
    values["model_kwargs"]["pretrain_kwargs"]["encoder"]["dtype"] = "bfloat16"
    arms = ["none", "estimated", "shuffled", "zeros"]
    values["arms"] = [{"name": arm, **({"seeds": list(range(seeds))} if seeds > 1 else {})} for arm in arms]
    optimization = values["experiment"]["optimization"]
    optimization |= {"multihead_kwargs": [{"lr": 1e-4 * (n + 1)} for n in range(20)], "train": train_part}
    if train_part == "probe":
        optimization.pop("heatmap_lr", None)
    values.pop("seeds", None), values.pop("primary", None)
    return describe_model(load_config(values), CLASSES)


@pytest.mark.parametrize(("name", "part"), [(name, part) for name in RELEASED for part in ("heatmap", "probe")])
def test_the_guides_study_fits_eight_gpus_of_80_gb_and_the_table_says_these_numbers(name: str, part: str) -> None:
    model = guides_study(name, part)
    assert len(model["learners"]) == 80
    plans = [plan_memory(model, processes=n, shard="auto") for n in (1, 8, 64)]
    assert plans[1].sharded and plans[1].total + ACTIVATIONS[name] < 0.98 * GPU_BYTES
    trained = model["bytes"]["gradients"] // 4
    assert plans[1].optimizer == trained, "two moments of 4 bytes, in eight parts"
    assert plans[0].total == model["weight_and_optimizer_bytes"]
    row = next(line for line in _table() if line[:2] == [name, part])
    expected = [f"{model['bytes']['weights'] / 1e9:.1f}", f"{4 * trained / 1e9:.1f}", f"{8 * trained / 1e9:.1f}"]
    assert row[2:] == expected + [f"{plan.total / 1e9:.1f}" for plan in plans]


def _table() -> list[list[str]]:
    """Rows of docs/training.md under `| encoder | train |`."""
    text = (ROOT / "docs/training.md").read_text()
    part = text.split("| encoder | `train` |", 1)[1].split("\n\n", 1)[0]
    rows = [[re.sub("[`*]", "", cell).strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]
    assert len(rows) >= 3
    return rows


def test_all_initialisations_at_once_do_not_fit_and_the_run_would_say_so() -> None:
    """400 models: their weights alone are more than a GPU has, which sharded states do not change."""
    model = guides_study("ViT-g", "probe", seeds=5)
    plan = plan_memory(model, processes=8, shard="auto")
    assert len(model["learners"]) == 400 and plan.weights > GPU_BYTES
    with pytest.raises(UsageError, match=r"400 model\(s\) need .* in each of 8 process.*has"):
        check_memory(torch.device("cpu"), model, plan)


@pytest.mark.parametrize(
    ("processes", "shard", "optimizer_bytes", "sharded"),
    [
        (1, "on", 2**40, False),  # one process has no one to share with
        (8, "off", 2**40, False),
        (8, "auto", 2**30 - 1, False),  # so little that sending weights costs more
        (8, "auto", 2**30, True),
        (8, "on", 8, True),
    ],
)
def test_when_states_are_sharded(processes: int, shard: Any, optimizer_bytes: int, sharded: bool) -> None:
    model = {"bytes": {"weights": 1, "gradients": 4, "optimizer": optimizer_bytes}}
    plan = plan_memory(model, processes=processes, shard=shard)
    assert plan.sharded is sharded
    assert plan.optimizer == (-(-optimizer_bytes // processes) if sharded else optimizer_bytes)


@pytest.mark.parametrize(("written", "value"), [("off", "off"), ("false", "off"), ("on", "on"), ("auto", "auto")])
def test_a_bare_off_of_yaml_is_understood(study: Study, tmp_path: Path, written: str, value: str) -> None:
    config = load_config(study.config(tmp_path), [f"experiment.optimization.shard_optimizer={written}"])
    assert config.experiment.optimization.shard_optimizer == value
    with pytest.raises(UsageError, match="shard_optimizer"):
        load_config(study.config(tmp_path), ["experiment.optimization.shard_optimizer=2"])


def test_the_arithmetic_is_what_the_models_have_and_the_dry_run_shows_it(many: dict[str, Any]) -> None:
    result = train(many, dry_run=True, processes=4)
    shown = result.model["memory_per_process"]
    assert shown["processes"] == 4 and not shown["sharded"], "1 GiB is far away"
    config = load_config(many)
    counts = result.data["classes"]
    trunks = build_trunks(plan_learners(config), load_pretrained(config), counts, 5, world=World())
    trained = sum(p.numel() for t in trunks for x in t.learners for p in x.parameters)
    assert (shown["gradients"], shown["optimizer"]) == (4 * trained, 8 * trained)
    assert shown["weights"] == held_bytes(trunks)


def held_bytes(trunks: Sequence[Trunk]) -> int:
    """Bytes of all weights and buffers, each piece of memory once, wherever modules hold it."""
    modules = [t.wrapper for t in trunks] + [x.probe for t in trunks for x in t.learners]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


ARM_CASES = {
    # four arms whose heatmap part trains: every head has a trunk
    "heatmap": ["none", "estimated", "shuffled", "zeros"],
    # nothing of any predictor trains, the heatmap part of three is drawn alike
    "probe": ["none", "estimated", "shuffled", {"name": "other", "source": "more"}],
    # interface layers are all that does not train
    "predictor": ["none", {"name": "estimated", "seeds": [0, 1]}],
    "all_but_encoder": ["none", "estimated"],
    # arms of several fusions: the heatmap part of one trains
    "mixed": [
        {"name": "added", "fusion": "add", "train": "heatmap"},
        {"name": "frozen", "fusion": "add", "train": "probe"},
        {"name": "crossed", "fusion": "cross_attention", "train": "probe"},
        {"name": "whole", "train": "all_but_encoder"},
    ],
}


@pytest.mark.parametrize("case", ARM_CASES)
def test_weights_are_counted_as_they_are_held(study: Study, tmp_path: Path, case: str) -> None:
    values = study.config(tmp_path, heatmap_sources={"more": {"path": str(study.heatmaps)}})
    values["arms"] = ARM_CASES[case]
    optimization = values["experiment"]["optimization"]
    optimization |= {"multihead_kwargs": [{"lr": 1e-3}, {"lr": 3e-3}], "train": "probe" if case == "mixed" else case}
    config = load_config(values)
    model = describe_model(config, CLASSES)
    trunks = build_trunks(plan_learners(config), load_pretrained(config), CLASSES, 5, world=World())
    held, counted = held_bytes(trunks), model["bytes"]["weights"]
    if case == "mixed":  # biases that begin at zero in both arms are shared as well
        assert 0 <= counted - held < 1e-4 * counted
    else:
        assert held == counted
