"""Many models on several processes: messages and waits of a step, sharded optimizers, numbers read later."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.utils._python_dispatch import TorchDispatchMode

from gazetools.schemas.errors import FaultError
from gazetools.schemas.training_optimization import OptimizationSettings
from gazetools.trainer import train
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.folder.records import read_steps
from gazetools.trainer.learn import window
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.learn.shards import OptimizerShard
from gazetools.trainer.processes.exchange import agree, buckets_of, send_tensors, sum_tensors
from gazetools.trainer.processes.owners import Owners
from gazetools.trainer.processes.world import World, joined_world
from tests.helpers.runs import assert_same, final_state
from tests.trainer.conftest import Study
from tests.trainer.test_distributed import run_together, work

MESSAGES = ("all_gather", "all_gather_object", "all_reduce", "broadcast", "reduce", "gather", "barrier")
SHARDED = "experiment.optimization.shard_optimizer=on"
MANY: list[Any] = ["none", {"name": "estimated", "seeds": [0, 1, 2]}]


# Messages


def counted_work(
    rank: int, size: int, port: int, config: dict[str, Any], overrides: list[str], stop_after: int | None
) -> None:
    """One process of a run that notes the messages of every training step."""
    sent: list[list[str]] = []
    main = threading.current_thread()
    originals = {name: getattr(distributed, name) for name in MESSAGES}
    for message in MESSAGES:

        def noted(*arguments: Any, name: str = message, **settings: Any) -> Any:
            if sent and threading.current_thread() is main:
                sent[-1].append(name)
            return originals[name](*arguments, **settings)

        setattr(distributed, message, noted)
    step = Loop._train_step

    def counted(self: Loop, batches: Any) -> None:
        sent.append([])
        step(self, batches)
        held = sum(v.numel() for x in self.learners for p in x.optimizer.state.values() for v in p.values())
        path = Path(config["folder"]).with_name(f"{Path(config['folder']).name}.{rank}.json")
        path.write_text(json.dumps({"sent": sent, "held": held}))
        sent.append([])  # what follows belongs to no step

    Loop._train_step = counted  # type: ignore[method-assign]
    work(rank, size, port, config, overrides, stop_after)


def messages(folder: Path, rank: int = 0) -> tuple[list[list[str]], int]:
    """Messages of each step, and numbers in the optimizers' states."""
    found = json.loads(folder.with_name(f"{folder.name}.{rank}.json").read_text())
    return found["sent"][::2], found["held"]


@pytest.mark.slow
def test_a_step_sends_one_message_of_numbers_and_one_of_gradients(study: Study, tmp_path: Path) -> None:
    """And the optimizers' states may be sharded: the same bits, half as much in each process."""
    once = ["experiment.optimization.num_epochs=1", "experiment.optimization.batch_size=1"]
    for name, extra in (("whole", []), ("sharded", [SHARDED])):
        config = {**study.config(tmp_path / name), "arms": MANY}
        assert run_together(config, [*once, *extra], target=counted_work) == [0, 0]
    steps, whole = messages(tmp_path / "whole")
    assert steps == [["all_gather", "all_reduce"]] * 3
    steps, first = messages(tmp_path / "sharded")
    assert steps == [["all_gather", "all_reduce", "broadcast", "broadcast"]] * 3, "one per owner of weights"
    _, second = messages(tmp_path / "sharded", rank=1)
    assert 0.98 < 2 * first / whole < 1.02 and 0.98 < 2 * second / whole < 1.02
    states = [final_state(tmp_path / name) for name in ("whole", "sharded")]
    for part in ("predictors", "learners", "position", "processes"):
        assert_same(states[0][part], states[1][part], part)


def test_buckets_keep_the_order_and_never_mix_types() -> None:
    tensors = [torch.zeros(n) for n in (3, 3, 9, 1)] + [torch.zeros(2, dtype=torch.float64)]
    cut = [[tensor.numel() for tensor in bucket] for bucket in buckets_of(tensors, bucket_bytes=24)]
    assert cut == [[3, 3], [9], [1], [2]], "six floats fit; a larger tensor is alone; float64 travels apart"


def exchanging(
    rank: int, size: int, port: int, config: dict[str, Any], overrides: list[str], stop_after: int | None
) -> None:
    """Two processes: sums, gradients that one of them lacks, weights of owners, and torch's own sharded optimizer."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with joined_world("cpu") as world:
        parameters = [torch.nn.Parameter(torch.ones(n)) for n in (5, 3, 2)]
        parameters[rank].grad = torch.full_like(parameters[rank], 1.0 + rank)
        agreed = agree(world, [10**12 + rank, rank], parameters)
        assert agreed.sums == [2 * 10**12 + 1, 1] and agreed.anywhere == [True, True, False]
        tensors = [torch.arange(4.0) + rank, torch.ones(2) * rank, torch.ones(1, dtype=torch.float64)]
        sum_tensors(world, tensors, bucket_bytes=20)
        assert [t.tolist() for t in tensors] == [[1.0, 3.0, 5.0, 7.0], [1.0, 1.0], [2.0]]
        _compare_with_torch(world)
    os._exit(0)


def _compare_with_torch(world: World) -> None:
    """OptimizerShard and send_tensors against torch.distributed.optim.ZeroRedundancyOptimizer: equal bits."""

    def weights() -> list[torch.nn.Parameter]:
        random = torch.Generator().manual_seed(3)
        return [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in ((7, 5), (5,), (3, 3), (1,))]

    mine, other = weights(), weights()
    settings = OptimizationSettings()
    shard = OptimizerShard({"probe": mine}, settings, owners=Owners(world.size), rank=world.rank)
    zero = ZeroRedundancyOptimizer(other, optimizer_class=torch.optim.AdamW, lr=1e-2, weight_decay=0.1, fused=True)
    for step in range(5):
        for number, pair in enumerate(zip(mine, other, strict=True)):
            gradient = torch.randn(pair[0].shape, generator=torch.Generator().manual_seed(10 * step + number))
            for parameter in pair:
                parameter.grad = gradient.clone()
        shard.optimizer.param_groups[0] |= {"lr": 1e-2, "weight_decay": 0.1}
        shard.optimizer.step()
        assert shard.ranks is not None
        send_tensors(
            world,
            [[p.data for p, r in zip(mine, shard.ranks, strict=True) if r == rank] for rank in range(world.size)],
        )
        zero.step()
        assert all(torch.equal(*pair) for pair in zip(mine, other, strict=True)), step


def test_sums_and_sharded_steps_are_those_of_torch() -> None:
    assert run_together({}, [], target=exchanging) == [0, 0]


def test_owners_hold_equal_shares_whatever_the_models() -> None:
    owners = Owners(8)
    sizes = [4 * 1408**2, 1408**2, 1408, 3806 * 1408]  # of a probe: a large layer, a square one, a norm, the classes
    for _ in range(20):
        ranks = owners.assign(sizes)
    assert len(ranks) == 4 and owners.largest_share < 1.15 * 20 * sum(sizes) / 8


# Numbers that are read later


class Reads(TorchDispatchMode):
    """Counts values that Python reads from tensors, each of which would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_learner_waits_for_the_device_and_numbers_are_read_once_per_log_every(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is the same, bit for bit, however often they are read."""
    tiny["arms"] = MANY
    tiny["experiment"]["optimization"] |= {"batch_size": 1, "clip_grad_norm": 1.0}
    train(tiny)
    reads, told = Reads(), []
    methods = {name: getattr(Learner, name) for name in ("start_step", "learn", "step_loss", "end_step")}
    for method in methods:

        def watched(self: Any, *arguments: Any, name: str = method, **settings: Any) -> Any:
            with reads:
                return methods[name](self, *arguments, **settings)

        monkeypatch.setattr(Learner, method, watched)
    read = window.read_together
    monkeypatch.setattr(window, "read_together", lambda steps: told.append(len(steps)) or read(steps))
    train(tiny, overrides=["log_every=3", f"folder={tmp_path / 'seldom'}"])
    assert reads.count == 0
    assert told[:2] == [3 * 4, 2 * 4], "five steps of four models: after the third, and at the end of the epoch"
    states = [final_state(tmp_path / name) for name in ("run", "seldom")]
    for part in ("predictors", "learners", "position", "counts", "processes"):
        assert_same(states[0][part], states[1][part], part)
    folders = (tmp_path / "run", tmp_path / "seldom")
    assert len({(folder / "metrics.jsonl").read_bytes() for folder in folders}) == 1
    for epoch in range(2):
        # rates and norms have a line of their own only every log_every steps
        often, seldom = ([line["loss"] for line in read_steps(RunFolder(folder), epoch)] for folder in folders)
        assert often == seldom and len(often) == 5


def test_a_reading_mode_that_sees_nothing_would_prove_nothing() -> None:
    reads = Reads()
    with reads:
        float(torch.ones(3).sum())
    assert reads.count == 1


@pytest.mark.parametrize("several", [False, True])
def test_a_step_that_is_not_finite_counts_from_where_it_happened_however_late_it_is_read(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    """The last model stops the run in the state before its step; one of several is dropped as if seen at once."""
    tiny["experiment"]["optimization"] |= {"batch_size": 1, "num_epochs": 1}
    tiny["model_kwargs"]["pretrain_kwargs"]["predictor"]["heatmap_dropout"] = 0.5
    tiny["arms"] = ["none", "estimated"] if several else ["estimated"]
    true = Learner.step_loss

    def poisoned(self: Learner, device: torch.device) -> torch.Tensor:
        step = int(next(iter(self.optimizer.state.values()))["step"]) if self.optimizer.state else 0
        return true(self, device) * (float("nan") if self.name == "estimated" and step == 2 else 1.0)

    monkeypatch.setattr(Learner, "step_loss", poisoned)
    states, messages = [], []
    for every in (1, 4):
        overrides = [f"log_every={every}", f"folder={tmp_path / str(every)}"]
        if several:
            result = train(tiny, overrides=overrides)
            messages.append(result.failed["estimated"])
        else:
            with pytest.raises(FaultError, match=r"estimated: loss nan .* at step 3 \(epoch 1") as caught:
                train(tiny, overrides=overrides)
            messages.append(str(caught.value))
        states.append(final_state(tmp_path / str(every)))
    assert messages[0] == messages[1] and "at step 3 (epoch 1" in messages[0]
    assert several or states[0]["position"]["global_step"] == 2
    if several:  # what was drawn for a model that had failed already trains nothing
        for state in states:
            state["processes"][0].pop("dropout")
            state["learners"]["estimated"].pop("optimizer")
    else:
        for state in states:
            for group in state["learners"]["estimated"]["optimizer"]["param_groups"]:
                group.pop("lr"), group.pop("weight_decay")  # set anew at every step
    for part in ("predictors", "learners", "position", "counts", "processes"):
        assert_same(states[0][part], states[1][part], part)


def test_a_step_without_clips_keeps_its_place_among_those_that_are_read_later(
    study: Study, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Its loss is null, wherever it lies in the window."""
    broken = tmp_path / "videos"
    broken.mkdir()
    for video in (study.root / "videos").iterdir():
        data = video.read_bytes()
        (broken / video.name).write_bytes(data[: len(data) // 3] if video.stem == "P02_01" else data)
    tiny["experiment"]["data"] |= {"base_path": str(broken), "max_unreadable_clips": 9, "past_end": "keep"}
    tiny["experiment"]["optimization"] |= {"batch_size": 1, "num_epochs": 1}
    losses = []
    for every in (1, 100):
        train(tiny, overrides=[f"log_every={every}", f"folder={tmp_path / str(every)}"])
        losses.append([line["loss"] for line in read_steps(RunFolder(tmp_path / str(every)), 0)])
    assert losses[0] == losses[1] and len(losses[0]) == 5 and losses[0].count(None) == 1
