"""Frozen predictor weights are held once for all trunks of a run; no trunk ever changes another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.trainer import train
from gazetools.trainer.folder.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from gazetools.trainer.folder.shard_files import tensors_of, with_tensors, without_tensors
from gazetools.trainer.learn.frozen import FrozenWeights
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.trunk import Trunk, build_trunks
from gazetools.trainer.models.build import HEATMAP_PREFIXES, load_pretrained
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.processes.world import World
from tests.helpers.runs import Listener, assert_same, final_state
from tests.trainer.conftest import Study
from tests.trainer.test_distributed import run_together

CLASSES = {"verb": 2, "noun": 2, "action": 3}
ARMS: list[Any] = ["none", "estimated", {"name": "added", "fusion": "add"}]
FROZEN_ALWAYS = "predictor_embed.weight"
"""Trains with `all_but_encoder` alone."""


def make_trunks(study: Study, tmp_path: Path, part: str, arms: Sequence[Any] = ARMS) -> list[Trunk]:
    values = {**study.config(tmp_path), "arms": list(arms)}
    values["experiment"]["optimization"]["train"] = part
    config = load_config(values)
    return build_trunks(plan_learners(config), load_pretrained(config), CLASSES, 5, world=World())


def parameters_of(trunk: Trunk) -> dict[str, nn.Parameter]:
    assert trunk.wrapper.predictor is not None
    return dict(trunk.wrapper.predictor.named_parameters())


@pytest.mark.parametrize("part", ["probe", "heatmap", "predictor", "all_but_encoder"])
def test_what_does_not_train_is_one_object_and_what_trains_is_not(study: Study, tmp_path: Path, part: str) -> None:
    """An arm without heatmaps trains its probe where the others train their heatmap part."""
    trunks = make_trunks(study, tmp_path, part)
    found = [parameters_of(trunk) for trunk in trunks]
    for own, trunk in zip(found, trunks, strict=True):
        for name, parameter in own.items():
            same = [other for other in found if other.get(name) is parameter]
            if parameter.requires_grad:
                assert len(same) == 1, name
            elif not name.startswith(HEATMAP_PREFIXES):
                assert len(same) == sum(not other[name].requires_grad for other in found), name
        assert {id(p) for p in trunk.learners[0].parameters} >= {id(p) for p in own.values() if p.requires_grad}
    assert (found[0][FROZEN_ALWAYS] is found[1][FROZEN_ALWAYS]) is (part != "all_but_encoder")
    assert not list(trunks[1].wrapper.buffers()), "buffers would have to be shared, too"


def test_arms_of_another_fusion_share_the_rest(study: Study, tmp_path: Path) -> None:
    found = [parameters_of(trunk) for trunk in make_trunks(study, tmp_path, "heatmap")]
    assert found[1].keys() != found[2].keys()
    common = [name for name in found[1].keys() & found[2].keys() if not name.startswith(HEATMAP_PREFIXES)]
    assert common and all(found[1][name] is found[2][name] for name in common)


def test_moved_trunks_still_share(study: Study, tmp_path: Path) -> None:
    """`Module.to` gives parameters new data in place, whichever module moves first, and leaves what is there."""
    trunks = make_trunks(study, tmp_path, "heatmap")
    before = [parameters_of(trunk) for trunk in trunks]
    for trunk in trunks:
        trunk.wrapper.to(torch.float64)
        after = parameters_of(trunk)
        assert all(after[name] is parameter for name, parameter in before[trunks.index(trunk)].items())
    assert {p.dtype for own in before for p in own.values()} == {torch.float64}
    pieces = {own[FROZEN_ALWAYS].data_ptr() for own in before}
    assert len(pieces) == 1
    # sharing goes on there: a checkpoint of the same weights is loaded into the same memory
    trunks[1].load_predictor(trunks[0].predictor_weights() | trunks[1].predictor_weights())
    assert {parameters_of(trunk)[FROZEN_ALWAYS].data_ptr() for trunk in trunks} == pieces


def test_loading_one_trunk_changes_no_other(study: Study, tmp_path: Path) -> None:
    """A checkpoint of a run that trained what this one does not has other weights in every trunk."""
    trunks = make_trunks(study, tmp_path, "heatmap")
    kept = {name: value.clone() for name, value in trunks[0].predictor_weights().items()}
    other = {name: value.clone() for name, value in trunks[1].predictor_weights().items()}
    other[FROZEN_ALWAYS] += 1
    trunks[1].load_predictor(other)
    assert_same(trunks[1].predictor_weights(), other)
    assert_same(trunks[0].predictor_weights(), kept)
    own, first = parameters_of(trunks[1]), parameters_of(trunks[0])
    assert own[FROZEN_ALWAYS] is not first[FROZEN_ALWAYS] and not own[FROZEN_ALWAYS].requires_grad
    assert own["predictor_embed.bias"] is first["predictor_embed.bias"], "equal ones stay together"
    # all trunks have loaded it: one piece of memory again
    for trunk in (trunks[0], trunks[2]):
        trunk.load_predictor({**trunk.predictor_weights(), FROZEN_ALWAYS: other[FROZEN_ALWAYS]})
    assert len({id(parameters_of(trunk)[FROZEN_ALWAYS]) for trunk in trunks}) == 1


def test_only_equal_bits_are_shared_and_gone_modules_are_forgotten() -> None:
    frozen = FrozenWeights()

    def module(*values: float, dtype: torch.dtype = torch.float32) -> nn.Module:
        one = nn.Module()
        one.weight = nn.Parameter(torch.tensor(values, dtype=dtype), requires_grad=False)
        frozen.share(one)
        return one

    first = module(0.0, float("nan"))
    assert module(0.0, float("nan")).weight is first.weight
    for other in (module(-0.0, float("nan")), module(0.0), module(0.0, float("nan"), dtype=torch.float64)):
        assert other.weight is not first.weight
    del first, other
    assert module(1.0).weight is not None
    assert [ref() is None for ref in frozen._held["weight"]] == [True], "nothing holds what no module has"


def test_weights_of_a_run_that_trained_them_all_start_another_that_trains_none(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """The predictors of the arms then differ though they do not train; a resumed run has them too, bit for bit."""
    tiny["arms"] = ["none", "estimated"]
    train(tiny, overrides=["experiment.optimization.num_epochs=1"])
    trained = final_state(tmp_path / "run")["predictors"]
    assert not torch.equal(trained["none"][FROZEN_ALWAYS], trained["estimated"][FROZEN_ALWAYS])
    start = [
        "experiment.optimization.train=probe",
        f"folder={tmp_path / 'second'}",
        f"classifier_checkpoint={tmp_path / 'run'}",
    ]
    train(tiny, overrides=start)
    assert_same(final_state(tmp_path / "second")["predictors"], trained)
    alone = ["arms=[estimated]", f"folder={tmp_path / 'alone'}"]
    train(tiny, overrides=[*start, *alone])
    for part in ("predictors", "learners"):
        found = [final_state(tmp_path / name)[part]["estimated"] for name in ("second", "alone")]
        assert_same(*found, part)


def test_probes_that_share_a_predictor_do_not_start_from_heads_with_one_each(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Where heads trained a predictor each, the weights of one of them are named; nothing is overwritten silently."""
    optimization = tiny["experiment"]["optimization"]
    optimization |= {"num_epochs": 1, "train": "heatmap", "multihead_kwargs": [{"lr": 1e-2}, {"lr": 3e-2}]}
    train(tiny)
    checkpoints = tmp_path / "run" / "checkpoints"
    best = {name: load_checkpoint(checkpoints / "best" / name) for name in ("main.h0", "main.h1")}
    differing = [
        name
        for name, value in best["main.h0"]["predictor"].items()
        if not torch.equal(value, best["main.h1"]["predictor"][name])
    ]
    assert differing
    start = ["experiment.optimization.train=probe", f"folder={tmp_path / 'second'}"]
    for given in (tmp_path / "run", list_checkpoints(checkpoints)[0]):
        with pytest.raises(UsageError) as refused:
            train(tiny, overrides=[*start, f"classifier_checkpoint={given}"])
        assert "main.h0 and main.h1 have predictors of their own" in str(refused.value)
        assert f"classifier_checkpoint={checkpoints / 'best' / 'main.h1'}" in str(refused.value)
        assert refused.value.exit_code == 2
    own = [f"classifier_checkpoint={checkpoints / 'best' / 'main.h1'}", f"folder={tmp_path / 'one'}"]
    train(tiny, overrides=[*start, "experiment.optimization.head=1", *own])
    assert_same(final_state(tmp_path / "one")["predictors"]["main"], best["main.h1"]["predictor"])


def payload_of(checkpoint: Path) -> int:
    """Bytes of all tensors in the files of a checkpoint, without their headers."""
    files = [path.read_bytes() for path in checkpoint.glob("shard-*.safetensors")]
    return sum(len(content) - 8 - int.from_bytes(content[:8], "little") for content in files)


def test_shared_weights_are_written_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Three arms that train their heatmap part: the rest of the predictor is in the file once."""
    tiny["arms"] = ARMS
    tiny["experiment"]["optimization"] |= {"train": "heatmap", "num_epochs": 1}
    assert train(tiny, progress=Listener(signal_after_steps=1)).status == "interrupted"
    (found,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    state = load_checkpoint(found)
    everything = sum(tensor.nbytes for _, tensor in tensors_of(state))
    rest = {name: tensor.nbytes for name, tensor in state["predictors"]["none"].items()}
    assert not any(name.startswith(HEATMAP_PREFIXES) for name in rest)
    assert payload_of(found) == everything - (len(ARMS) - 1) * sum(rest.values())
    assert json.loads((found / "manifest.json").read_text())["schema_version"] == 4
    (file,) = found.glob("shard-*.safetensors")
    kept = load_file(file)
    kept.pop(f"predictors/none/{FROZEN_ALWAYS}")
    save_file(kept, file)
    with pytest.raises(CheckpointError, match=FROZEN_ALWAYS):
        load_checkpoint(found, compare=False)


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True], ids=["written once", "as versions before"])
def test_a_run_resumes_to_the_bit_however_shared_weights_were_written(
    tiny: dict[str, Any], tmp_path: Path, older: bool
) -> None:
    tiny["arms"] = ARMS
    tiny["experiment"]["optimization"] |= {"train": "heatmap", "num_epochs": 1}
    train({**tiny, "folder": str(tmp_path / "whole")})
    assert train(tiny, progress=Listener(signal_after_steps=2)).status == "interrupted"
    if older:
        (found,) = list_checkpoints(tmp_path / "run" / "checkpoints")
        before = load_checkpoint(found)
        before = with_tensors(without_tensors(before), {path: tensor.clone() for path, tensor in tensors_of(before)})
        written = save_checkpoint(found.parent, before, step=2)
        assert payload_of(written) == sum(tensor.nbytes for _, tensor in tensors_of(before))
        assert json.loads((written / "manifest.json").read_text())["schema_version"] == 3
    train(tiny)
    for part in ("predictors", "learners"):
        assert_same(final_state(tmp_path / "run")[part], final_state(tmp_path / "whole")[part], part)


@pytest.mark.slow
@pytest.mark.parametrize("newest", [True, False], ids=["a step folder", "the run folder"])
def test_heads_with_a_predictor_each_start_from_probes_that_shared_one(
    tiny: dict[str, Any], tmp_path: Path, newest: bool
) -> None:
    optimization = tiny["experiment"]["optimization"]
    optimization |= {"num_epochs": 1, "train": "probe", "multihead_kwargs": [{"lr": 1e-2}, {"lr": 3e-2}]}
    train(tiny)
    run = tmp_path / "run"
    shared = final_state(run)["predictors"]["main"]
    given = list_checkpoints(run / "checkpoints")[0] if newest else run
    start = ["experiment.optimization.train=heatmap", "experiment.optimization.multihead_kwargs=[{lr: 0}, {lr: 0}]"]
    train(tiny, overrides=[*start, f"classifier_checkpoint={given}", f"folder={tmp_path / 'second'}"])
    found = final_state(tmp_path / "second")["predictors"]
    assert found.keys() == {"main.h0", "main.h1"}
    for weights in found.values():
        assert_same(weights, shared)


@pytest.mark.slow
def test_an_arm_that_is_dropped_or_interrupted_leaves_the_shared_weights_to_the_others(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`added` shares with an arm that fails, and averages change places: resumed or alone it is the same to the bit."""
    tiny["arms"] = ["estimated", {"name": "added", "fusion": "add"}]
    tiny["experiment"]["optimization"] |= {"train": "heatmap", "ema": {"decay": 0.9}, "batch_size": 1}
    true = Learner.step_loss

    def poisoned(self: Learner, device: torch.device) -> torch.Tensor:
        step = int(next(iter(self.optimizer.state.values()))["step"]) if self.optimizer.state else 0
        return true(self, device) * (float("nan") if self.name == "estimated" and step == 2 else 1.0)

    monkeypatch.setattr(Learner, "step_loss", poisoned)
    assert "estimated" in train(tiny).failed
    stopped = {**tiny, "folder": str(tmp_path / "stopped")}
    assert train(stopped, progress=Listener(signal_after_steps=4)).status == "interrupted"
    train(stopped)
    train({**tiny, "arms": tiny["arms"][1:], "folder": str(tmp_path / "alone")})
    for part in ("predictors", "learners"):
        states = [final_state(tmp_path / name)[part]["added"] for name in ("run", "stopped", "alone")]
        assert_same(states[0], states[1], part)
        assert_same(states[0], states[2], part)


@pytest.mark.slow
def test_two_processes_with_sharded_states_share_too(study: Study, tmp_path: Path) -> None:
    """The arm of a run of three is that of a run alone; each process writes whole predictors for all of them."""
    config = study.config(tmp_path / "run")
    config["experiment"]["optimization"] |= {"train": "heatmap", "batch_size": 1, "num_epochs": 1}
    for folder, arms in (("run", ARMS), ("alone", ARMS[2:])):
        own = {**config, "arms": arms, "folder": str(tmp_path / folder)}
        assert run_together(own, ["experiment.optimization.shard_optimizer=on"]) == [0, 0]
    states = [final_state(tmp_path / name) for name in ("run", "alone")]
    for part in ("predictors", "learners"):
        assert_same(states[0][part]["added"], states[1][part]["added"], part)
    assert all(FROZEN_ALWAYS in weights for weights in states[0]["predictors"].values())
