"""W&B and TensorBoard through fakes of their packages: what is sent, and that their faults stop nothing."""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gazetools.schemas.errors import EnvironmentLacksError
from gazetools.trainer import train
from gazetools.trainer.folder.paths import RunFolder
from gazetools.trainer.logs.guarded import GuardedLog
from gazetools.trainer.logs.wandb import open_wandb
from gazetools.trainer.plan.config import load_config
from tests.helpers.runs import Listener

SECRET = "0123456789abcdef-secret"


class FakeWandb(types.ModuleType):
    """Records what a run of W&B is told; `fails` names the call that raises."""

    def __init__(self, *, key: str | None = None, fails: str | None = None) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.key, self.fails = key, fails
        self.started: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.summary: dict[str, Any] = {}
        self.files: list[str] = []
        self.exit_codes: list[int] = []
        self.starting_step = 0  # as a server says it of a run that goes on

    def setup(self) -> Any:
        self._maybe_fail("setup")
        return types.SimpleNamespace(settings=types.SimpleNamespace(mode=os.environ.get("WANDB_MODE", "online")))

    def login(self, *, prompt: bool, verify: bool) -> bool:
        assert not prompt and not verify, "nobody is asked, and no server"
        return self.key is not None

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def init(self, **settings: Any) -> FakeWandb:
        self._maybe_fail("init")
        self.started, self.id, self.offline = settings, settings["id"], settings["mode"] == "offline"
        return self

    def Artifact(self, name: str, type: str) -> Any:
        self._maybe_fail("artifact")
        assert (name, type) == (f"report-{self.id}", "report")
        return types.SimpleNamespace(add_file=lambda path, name, policy: self.files.append(name))

    def log_artifact(self, artifact: Any) -> None:
        assert artifact is not None

    def log(self, values: dict[str, Any], step: int) -> None:
        self._maybe_fail("log")
        self.logged.append((step, dict(values)))

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)
        self._maybe_fail("finish")

    def _maybe_fail(self, call: str) -> None:
        if self.fails == call:
            raise RuntimeError(f"no network; key {SECRET}")


def wandb_config(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["experiment"]["wandb"] = {
        "enable": True, "project": "gaze", "entity": "lab", "name": "first", "group": "arms", "tags": "tiny",
        "notes": "a note", "id": "abc", "resume": True,
    }  # fmt: skip
    return tiny


def test_what_weights_and_biases_is_told(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    listener = Listener()
    result = train(wandb_config(tiny), progress=listener)
    wanted = {"project": "gaze", "entity": "lab", "name": "first", "group": "arms", "tags": ["tiny"], "notes": "a note"}
    assert wanted.items() <= fake.started.items()
    assert (fake.started["id"], fake.started["resume"], fake.started["mode"]) == ("abc", "allow", "offline")
    epochs = [values for _, values in fake.logged if "epoch" in values]
    assert [step for step, _ in fake.logged] == [1, 2, 3, 4, 5, 6] and len(epochs) == 2
    assert fake.logged[0][1].keys() == {"step_loss", "grad_norm", "lr_probe", "lr_predictor", "lr_heatmap"}
    for name in ("lr_probe", "lr_heatmap", "lr_predictor", "train_action_top1", "train_action_recall3",
                 "val_start_action_top1", "val_start_action_recall3"):  # fmt: skip
        assert name in epochs[0], name
    assert "final_val_start_action_top1" in fake.summary and fake.exit_codes == [0]
    assert {"report.html", "report.json"} <= set(fake.files)
    texts = [
        json.dumps(fake.started, default=str),
        json.dumps(fake.logged),
        *listener.said,
        json.dumps(result.as_dict()),
    ]
    assert not any(SECRET in text for text in texts)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert files and not any(SECRET.encode() in path.read_bytes() for path in files)


def test_validation_alone_is_logged_and_finished(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = train(tiny).checkpoint
    fake = FakeWandb(key="known")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    override = ["val_only=true", f"classifier_checkpoint={checkpoint}", f"folder={tmp_path / 'val'}"]
    train(wandb_config(tiny), overrides=override)
    assert fake.exit_codes == [0] and "val_start_loss" in fake.logged[0][1] and fake.started["mode"] == "online"


@pytest.mark.parametrize("call", ["setup", "init", "log", "artifact", "finish"])
def test_a_failure_of_weights_and_biases_never_stops_training(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(fails=call))
    listener = Listener()
    assert (
        train(wandb_config(tiny), progress=listener, overrides=["experiment.optimization.num_epochs=1"]).status
        == "done"
    )
    told = [line for line in listener.said if "W&B logging stopped" in line]
    assert told == ["W&B logging stopped (RuntimeError); training goes on without it."], "named once, without its text"


def test_a_run_that_fails_finishes_weights_and_biases(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from gazetools.trainer.learn.loop import Loop

    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(Loop, "train_epoch", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(wandb_config(tiny))
    assert fake.exit_codes == [4]


def test_steps_that_the_server_has_are_not_sent_again(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on asks W&B for the last step, and sends what follows, also of epochs before its checkpoint."""
    train(tiny, overrides=["experiment.optimization.num_epochs=1"])
    fake = FakeWandb(key="known")
    fake.starting_step = 2
    monkeypatch.setitem(sys.modules, "wandb", fake)
    tiny["experiment"]["optimization"]["num_epochs"] = 1
    assert train(wandb_config(tiny)).status == "done"
    assert [step for step, _ in fake.logged] == [2, 3] and "epoch" in fake.logged[1][1]


def test_a_run_begun_anew_is_the_same_run_only_with_the_same_config(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its first checkpoint; with another rate its steps would continue another curve."""
    from gazetools.trainer.learn.loop import Loop

    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(Loop, "train_epoch", lambda self: 1 / 0)
    config, ids = wandb_config(tiny), []
    del config["experiment"]["wandb"]["id"]
    for rate in (1e-3, 1e-3, 1e-2):
        config["experiment"]["optimization"]["multihead_kwargs"] = [{"lr": rate}]
        with pytest.raises(ZeroDivisionError):
            train(config)
        ids.append(fake.started["id"])
    assert ids[0] == ids[1] != ids[2]


def test_the_trainings_of_a_study_have_ids_of_their_own(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the config names one, which would mix them."""
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb())
    config = {**wandb_config(tiny), "seeds": 2, "arms": ["none", "estimated"]}
    config["experiment"]["optimization"]["num_epochs"] = 1
    train(config)
    folders = ("seed_0", "seed_1", ".")
    kept = [json.loads((tmp_path / "run" / name / "wandb_run.json").read_text()) for name in folders]
    assert [one["id"] for one in kept] == ["abc-seed_0", "abc-seed_1", "abc-report"]
    assert all(one["finished"] for one in kept)


class FakeWriter:
    """torch.utils.tensorboard.SummaryWriter."""

    made: FakeWriter | None = None
    fails = False

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self.folder, self.scalars, self.closed, self.purge_step = folder, [], False, purge_step
        FakeWriter.made = self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        if self.fails:
            raise OSError("disk")
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("fails", [False, True])
def test_tensorboard(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = FakeWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(FakeWriter, "fails", fails)
    listener = Listener()
    assert train(tiny, progress=listener, overrides=["experiment.tensorboard=true"]).status == "done"
    writer = FakeWriter.made
    assert writer is not None and writer.folder == str(tmp_path / "run" / "tensorboard")
    if fails:
        assert sum("TensorBoard logging stopped" in line for line in listener.said) == 1
    else:
        assert writer.closed and {step for _, _, step in writer.scalars} == {1, 2, 3, 4, 5, 6}
        names = {name for name, _, _ in writer.scalars}
        assert {"train_loss", "val_start_loss", "lr_probe", "step_loss", "grad_norm", "final_val_start_loss"} <= names
        assert writer.purge_step is None


def test_tensorboard_without_its_package_is_exit_3(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentLacksError, match="tensorboard"):
        train(tiny, overrides=["experiment.tensorboard=true"])


class BrokenWandb(FakeWandb):
    """A W&B that raises already when it is asked for a key, as a damaged settings file makes it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "setup":
            raise OSError(f"settings are damaged; key {SECRET}")
        return super().__getattribute__(name)


@pytest.mark.parametrize("module", [None, BrokenWandb()], ids=["import fails", "settings are damaged"])
def test_a_broken_package_is_told_once_and_stops_nothing(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", module)
    said: list[str] = []
    config = load_config(wandb_config(tiny))
    log = GuardedLog(
        "W&B",
        lambda: open_wandb(config.experiment.wandb, config.model_dump(mode="json"), RunFolder(tmp_path)),
        said.append,
    )
    log.log({"epoch": 1}, 3)
    log.finish(0)
    assert len(said) == 1 and said[0].startswith("W&B logging stopped (") and SECRET not in said[0]
