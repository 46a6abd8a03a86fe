"""Checkpoints that all processes write in the background: whole or not there, readable by any number of processes."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter, load

from gazetools.schemas.errors import FaultError, UsageError
from gazetools.trainer import train
from gazetools.trainer.folder import checkpoints, shard_files
from gazetools.trainer.folder.checkpoints import list_checkpoints, load_checkpoint, load_latest, save_checkpoint
from gazetools.trainer.folder.shard_files import own_copies, tensors_of, with_tensors, without_tensors
from gazetools.trainer.folder.writing import CheckpointWriter
from gazetools.trainer.processes.world import World
from tests.helpers.runs import Listener, assert_same, final_state, lines
from tests.trainer.conftest import Study
from tests.trainer.test_distributed import RELATIVE, run_together, work

ONE_CLIP = ["experiment.optimization.batch_size=1"]
OFTEN = [*ONE_CLIP, "experiment.optimization.num_epochs=1", "checkpoint_every=1"]
TREE = {"format": "gazetools.training", "a": {0: torch.arange(6.0), "b": [{"c": torch.ones(2)}, 7]}, "d": None}


# Trees and shares


def test_a_tree_is_itself_again_after_its_tensors_were_taken_out_and_put_back(tmp_path: Path) -> None:
    again = with_tensors(without_tensors(TREE), dict(tensors_of(TREE)))
    assert_same(again, TREE)
    assert_same(load_checkpoint(save_checkpoint(tmp_path, TREE, step=1)), TREE)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_every_shared_tensor_is_written_by_one_process_and_the_others_by_whoever_has_them(size: int) -> None:
    tree = {"everywhere": {str(n): torch.full((n + 1,), float(n)) for n in range(20)}, "own": torch.zeros(3)}
    parts = [
        own_copies(tree, world=World(rank=r, size=size), shared=lambda path: path[0] != "own") for r in range(size)
    ]
    written = [path for part in parts for path in part if path != ("own",)]
    assert sorted(written) == sorted(("everywhere", str(n)) for n in range(20)), "each once"
    assert all(("own",) in part for part in parts)
    most = max(sum(t.numel() for path, t in part.items() if path != ("own",)) for part in parts)
    assert most <= 210 / size + 20, "shares differ by a tensor"
    mine = parts[0][("everywhere", "0")]
    tree["everywhere"]["0"].add_(1)
    assert float(mine[0]) == 0.0, "a copy: training changes the weights while it is written"


def test_files_are_safetensors_of_torchs_distributed_checkpoint(tmp_path: Path) -> None:
    """Which hold no code, and which other programs read."""
    path = save_checkpoint(tmp_path, TREE, step=3)
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json", "shard-00001-model-00001-of-00001.safetensors", "state.pt",
    ]  # fmt: skip
    found = {"a/#0": torch.empty(6), "a/b/#0/c": torch.empty(2)}
    load(found, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=True)
    assert torch.equal(found["a/#0"], torch.arange(6.0)) and torch.equal(found["a/b/#0/c"], torch.ones(2))
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["schema_version"] == 3 and set(manifest["files"]) == {p.name for p in path.iterdir()} - {
        "manifest.json"
    }


def test_a_damaged_shard_is_noticed_and_the_checkpoint_before_is_taken(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TREE, step=1)
    last = save_checkpoint(tmp_path, TREE, step=2)
    shard = next(last.glob("shard-*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    found = load_latest(tmp_path)
    assert found is not None and found.path.name.startswith("step-000000001")
    assert shard.name in found.rejected[0] and "damaged" in found.rejected[0]


# In the background


def test_training_goes_on_while_a_checkpoint_is_written(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first checkpoint is held back until two more steps were taken; its state is that of its own step."""
    steps_later, true = threading.Event(), shard_files.write_shard
    waited: list[bool] = []

    def slow(*arguments: Any) -> None:
        if not waited:
            waited.append(steps_later.wait(60))
        true(*arguments)

    class Steps(Listener):
        def advance(self, task: str, steps: int = 1) -> None:
            super().advance(task, steps)
            if self.steps == 4:
                steps_later.set()

    monkeypatch.setattr(checkpoints, "write_shard", slow)
    kept: list[dict[str, Any]] = []
    commit = checkpoints._commit

    def keep(place: Any, *arguments: Any) -> Any:
        result = commit(place, *arguments)
        kept.append(load_checkpoint(place.path))
        return result

    monkeypatch.setattr(checkpoints, "_commit", keep)
    train(tiny, overrides=[*ONE_CLIP, "experiment.optimization.num_epochs=1", "checkpoint_every=2"], progress=Steps())
    assert waited == [True]
    first = kept[0]
    assert first["position"]["global_step"] == 2
    probe = first["learners"]["main"]["optimizer"]["state"]
    assert {float(values["step"]) for values in probe.values()} == {2.0}
    alone = {**tiny, "folder": str(tmp_path / "alone")}
    train(alone, overrides=[*ONE_CLIP, "experiment.optimization.num_epochs=1"], progress=Listener(signal_after_steps=2))
    assert_same(first["learners"]["main"]["probe"], final_state(tmp_path / "alone")["learners"]["main"]["probe"])


def test_a_disk_that_is_full_in_the_background_stops_the_run_at_its_next_step(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, calls = shard_files.write_shard, []

    def full(folder: Path, *arguments: Any) -> None:
        calls.append(folder)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        true(folder, *arguments)

    monkeypatch.setattr(checkpoints, "write_shard", full)
    with pytest.raises(FaultError, match=r"No space left while writing .*step-000000002") as caught:
        train(tiny, overrides=OFTEN)
    assert int(caught.value.exit_code) == 4 and "run the same command again" in str(caught.value)
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in list_checkpoints(folder)] == ["step-000000001-1"]
    assert [path.name for path in folder.iterdir()] == ["step-000000001-1"], "nothing half-written"
    monkeypatch.undo()
    assert train(tiny, overrides=OFTEN).status == "done"


def test_an_error_of_the_last_checkpoint_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path, World())
    writer.save(TREE, step=1, shared=lambda _: False)
    writer.wait()

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoints, "write_shard", broken)
    writer.save(TREE, step=2, shared=lambda _: False)
    writer.close()
    assert writer.failed()
    with pytest.raises(FaultError, match="Input/output error"):
        writer.wait()
    writer.wait()  # told once
    assert len(list_checkpoints(tmp_path)) == 1


def dying(
    rank: int, size: int, port: int, config: dict[str, Any], overrides: list[str], stop_after: int | None
) -> None:
    """A process that is killed while it writes the second checkpoint, after its files and before the commit."""
    true, calls = shard_files.write_shard, []

    def killed(*arguments: Any) -> None:
        true(*arguments)
        calls.append(1)
        if len(calls) == 2:
            os._exit(9)

    checkpoints.write_shard = killed  # type: ignore[attr-defined]
    work(rank, size, port, config, overrides, stop_after)


def test_a_kill_between_files_and_commit_leaves_the_checkpoint_before(study: Study, tmp_path: Path) -> None:
    config = study.config(tmp_path / "killed")
    assert 9 in run_together(config, OFTEN, size=1, target=dying)
    folder = tmp_path / "killed" / "checkpoints"
    assert [path.name for path in list_checkpoints(folder)] == ["step-000000001-1"]
    left = [path for path in folder.iterdir() if not path.name.startswith("step")]
    assert len(left) == 1 and list(left[0].glob("shard-*")), "the half-written one has no name of a checkpoint"
    assert left[0].name.startswith(".")
    train(config, overrides=OFTEN)
    whole = study.config(tmp_path / "whole")
    train(whole, overrides=OFTEN)
    for part in ("predictors", "learners", "position", "counts", "processes"):
        assert_same(*(final_state(tmp_path / name)[part] for name in ("killed", "whole")), part)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "swept"


# Several processes


def without_room(
    rank: int, size: int, port: int, config: dict[str, Any], overrides: list[str], stop_after: int | None
) -> None:
    """One of two processes whose second has no room for its share of the second checkpoint."""
    true, calls = HuggingFaceStorageWriter.write_data, []

    def full(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if rank == 1 and len(calls) == 2:
            raise OSError(28, "No space left on device")
        return true(self, *arguments)

    HuggingFaceStorageWriter.write_data = full  # type: ignore[method-assign]
    try:
        work(rank, size, port, config, overrides, stop_after)
    except FaultError as error:
        Path(config["folder"]).with_name(f"said.{rank}").write_text(str(error))
        os._exit(int(error.exit_code))


def test_one_process_without_room_stops_all_with_its_reason(study: Study, tmp_path: Path) -> None:
    config = study.config(tmp_path / "run")
    assert run_together(config, OFTEN, target=without_room) == [4, 4]
    said = [(tmp_path / f"said.{rank}").read_text() for rank in range(2)]
    assert said[0] == said[1] and "No space left while writing" in said[0] and "step-000000002" in said[0]
    folder = tmp_path / "run" / "checkpoints"
    names = {path.name for path in folder.iterdir()}
    assert names - {"best"} == {"step-000000001-1"}, "nothing half-written"
    assert run_together(config, OFTEN) == [0, 0]


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_write_what_one_goes_on_from(study: Study, tmp_path: Path, sharded: bool) -> None:
    """Both write; a step keeps its clips on another number of processes, else it is refused with what to set."""
    extra = ["experiment.optimization.shard_optimizer=on"] if sharded else []
    config, whole = study.config(tmp_path / "stopped"), study.config(tmp_path / "whole")
    assert run_together(config, [*ONE_CLIP, *extra], stop_after=2) == [130, 130]
    last = list_checkpoints(tmp_path / "stopped" / "checkpoints")[0]
    sizes = [path.stat().st_size for path in sorted(last.glob("shard-*"))]
    assert len(sizes) == 2 and max(sizes) < 2 * min(sizes)
    names = [set(safetensors.torch.load_file(path)) for path in last.glob("shard-*")]
    assert not names[0] & names[1], "every tensor once"
    with pytest.raises(UsageError, match=r"by 2 process.*1 clips instead of 2.*their product is 2"):
        train(config, overrides=ONE_CLIP)
    listener = Listener()
    resumed = train(config, overrides=["experiment.optimization.batch_size=2"], progress=listener)
    assert resumed.status == "done" and resumed.processes == 1
    assert any("was written by 2 process(es), this run has 1" in line for line in resumed.notes)
    train(whole, overrides=["experiment.optimization.batch_size=2"])
    for epoch in range(2):
        name = f"steps/epoch_{epoch:04d}.jsonl"
        pairs = zip(lines(tmp_path / "whole" / name), lines(tmp_path / "stopped" / name), strict=True)
        for mine, other in pairs:
            assert other["loss"] == pytest.approx(mine["loss"], rel=10 * RELATIVE)


def test_one_process_writes_what_two_go_on_from(study: Study, tmp_path: Path) -> None:
    config, whole = study.config(tmp_path / "stopped"), study.config(tmp_path / "whole")
    both = ["experiment.optimization.batch_size=2"]
    assert train(config, overrides=both, progress=Listener(signal_after_steps=2)).status == "interrupted"
    extra = [*ONE_CLIP, "experiment.optimization.shard_optimizer=on"]
    assert run_together(config, extra) == [0, 0]
    train(whole, overrides=both)
    mine, other = (lines(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped"))
    for first, second in zip(mine, other, strict=True):
        assert second == pytest.approx(first, rel=1e-4)
