"""Stopped runs: signals, resuming to the bit, NaN, measuring alone, and checkpoints that do not fit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gazetools.packing import pack
from gazetools.schemas.errors import CheckpointError, FaultError, UsageError
from gazetools.schemas.training_data import HeatmapSourceSettings
from gazetools.trainer import train
from gazetools.trainer.data.maps.dataset import DatasetMaps
from gazetools.trainer.data.maps.store import StoreMaps
from gazetools.trainer.folder.checkpoints import list_checkpoints, save_checkpoint
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.processes.interruption import Interruption
from gazetools.trainer.report.run import report
from tests.helpers.command_line import run_cli
from tests.helpers.runs import Listener, assert_same, final_state
from tests.helpers.stores import make_store
from tests.trainer.conftest import Study

STEPS_PER_EPOCH = 3


@pytest.mark.parametrize(
    ("stop_after", "number"),
    [
        (1, signal.SIGINT),  # at a terminal
        (STEPS_PER_EPOCH, signal.SIGTERM),  # preempted; between training and validation
        (STEPS_PER_EPOCH + 2, signal.SIGUSR1),  # Slurm's warning before the time limit
    ],
)
def test_stopped_by_a_signal_and_resumed_gives_identical_weights(
    study: Study, tiny: dict[str, Any], tmp_path: Path, stop_after: int, number: int
) -> None:
    train(tiny)
    whole = final_state(tmp_path / "run")
    config = study.config(tmp_path / "stopped")
    stopped = train(config, progress=Listener(signal_after_steps=stop_after, number=number))
    assert (stopped.status, int(stopped.exit_code), stopped.steps_done) == ("interrupted", 130, stop_after)
    torch.manual_seed(12345)  # whatever the new process has
    resumed = train(config)
    assert resumed.status == "done"
    other = final_state(tmp_path / "stopped")
    for part in ("predictors", "learners", "position", "counts", "processes", "labels"):
        assert_same(whole[part], other[part], part)
    for name in ("metrics.jsonl", "steps/epoch_0000.jsonl", "steps/epoch_0001.jsonl"):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "stopped" / name).read_text(), name


def test_what_each_signal_does_to_a_run() -> None:
    """Unarmed there is nothing to save; a second warning is harmless, a second SIGTERM acts as before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        with pytest.raises(KeyboardInterrupt), Interruption():
            os.kill(os.getpid(), number)
    with Interruption() as interruption:
        interruption.arm()
        assert not interruption.requested()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert interruption.requested()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before[:2]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_nan_stops_before_the_step_and_keeps_the_state(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gazetools.trainer.learn.learner as module

    true_loss, calls = module.task_loss, []

    def poisoned(*arguments: Any, **settings: Any) -> torch.Tensor:
        calls.append(1)
        loss = true_loss(*arguments, **settings)
        return loss * float("nan") if len(calls) == 3 else loss

    monkeypatch.setattr(module, "task_loss", poisoned)
    with pytest.raises(FaultError, match="step 3") as caught:
        train(tiny)
    assert int(caught.value.exit_code) == 4 and caught.value.details["clips"]
    state = final_state(tmp_path / "run")
    assert state["position"]["global_step"] == 2
    weights = (*state["learners"]["main"]["probe"].values(), *state["predictors"]["main"].values())
    assert all(torch.isfinite(value).all() for value in weights)


def test_validation_alone_repeats_the_numbers_of_training(tiny: dict[str, Any], tmp_path: Path) -> None:
    trained = train(tiny)
    alone = train(
        tiny,
        overrides=["val_only=true", f"classifier_checkpoint={trained.checkpoint}", f"folder={tmp_path / 'val'}"],
        resume=False,
    )
    wanted = {name: value for name, value in trained.metrics.items() if name.startswith("val_")}
    assert {name: alone.metrics[name] for name in wanted} == wanted
    assert not (tmp_path / "val" / "checkpoints").exists()


def test_evaluate_only_measures_the_best_weights_of_the_run_beside_it(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="holds no checkpoint to measure"):
        train(tiny, overrides=["val_only=true"])
    trained = train(tiny)
    before = (tmp_path / "run" / "result.json").read_bytes()
    config_file = tmp_path / "config.yaml"
    config_file.write_text(yaml.safe_dump(tiny))
    monkeypatch.setattr(Loop, "train_epoch", lambda self: 1 / 0)
    done = run_cli("train", "--config", str(config_file), "--evaluate-only", "--json")
    assert done.exit_code == 0, done.stderr
    alone = json.loads(done.stdout)
    assert alone["folder"] == str(tmp_path / "run" / "evaluation") and alone["final"] == trained.final
    assert (tmp_path / "run" / "result.json").read_bytes() == before
    assert report([alone["folder"]], output=tmp_path / "report")["arms"], "it can be reported"
    again = run_cli("train", "--config", str(config_file), "--resume", "auto", "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["steps_done"] == trained.steps_done


def test_the_same_command_after_the_end_changes_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    first = train(tiny)
    paths = list_checkpoints(tmp_path / "run" / "checkpoints")
    again = train(tiny)
    assert again.status == "done" and again.metrics == first.metrics
    assert list_checkpoints(tmp_path / "run" / "checkpoints") == paths
    with pytest.raises(UsageError, match="already holds a run"):
        train(tiny, resume=False)


def test_a_resumed_run_sees_the_heatmaps_that_it_began_with(tiny: dict[str, Any], tmp_path: Path) -> None:
    """They may lie elsewhere; other points, maps packed anew or another store's file are refused before any work."""
    points = tmp_path / "gaze.csv"
    points.write_text("video_id,frame,x,y\nP01_01,3,0.5,0.5\nP01_02,3,0.5,0.5\n")
    where = "experiment.data.heatmap_base_path"
    assert train(tiny, overrides=[f"{where}={points}"], progress=Listener(signal_after_steps=2)).status == "interrupted"
    other = tmp_path / "other.csv"
    other.write_text(points.read_text().replace("P01_02,3,0.5", "P01_02,3,0.6"))
    with pytest.raises(CheckpointError, match=r"other heatmaps than there are now \(source heatmap\)"):
        train(tiny, overrides=[f"{where}={other}"])
    moved = points.rename(tmp_path / "moved.csv")
    assert train(tiny, overrides=[f"{where}={moved}"]).status == "done"


def test_a_checkpoint_that_knows_no_heatmaps_is_refused_in_words(tiny: dict[str, Any], tmp_path: Path) -> None:
    """As the versions before wrote them: no KeyError, but what to do."""
    train(tiny, progress=Listener(signal_after_steps=2))
    folder = tmp_path / "run" / "checkpoints"
    state = {key: value for key, value in final_state(tmp_path / "run").items() if key != "heatmaps"}
    save_checkpoint(folder, state, step=99)
    with pytest.raises(CheckpointError, match="does not say which heatmaps") as caught:
        train(tiny)
    assert "classifier_checkpoint" in str(caught.value)


def test_what_heatmaps_are_made_of_is_told_by_manifest_and_sidecar(study: Study, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", "v")
    sidecar = json.loads(path.with_suffix(".json").read_text())
    settings = HeatmapSourceSettings(path=str(tmp_path / "store"))
    store = StoreMaps(tmp_path / "store", settings, missing="zero", inout="keep").survey(["v", "w"])
    assert store.contents == {"v": sidecar["payload_sha256"]}
    pack(tmp_path / "store", tmp_path / "packed", layout="npz")
    manifest = json.loads((tmp_path / "packed" / "manifest.json").read_text())
    packed = DatasetMaps(tmp_path / "packed").survey(["v", "w"])
    assert packed.contents == {"v": manifest["videos"]["v"]["sha256"]}
    assert DatasetMaps(study.heatmaps).survey(["P01_01"]).contents == {}, "of other tools' files nothing is known"
