"""Exports: the EPIC-KITCHENS challenge's JSON against the run's own numbers, and weights that load back strictly."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.schemas.errors import CheckpointError, DataFileError, UsageError
from gazetools.trainer import train
from gazetools.trainer.export.epic import SupervisionLevels, check_epic, read_epic, write_epic
from gazetools.trainer.export.run import export
from gazetools.trainer.folder.checkpoints import load_checkpoint
from gazetools.trainer.folder.predictions import Predictions, read_predictions
from gazetools.trainer.folder.weights import export_weights, load_exported
from tests.helpers.command_line import run_cli
from tests.trainer.conftest import Study

LEVELS = SupervisionLevels(pretraining=2, training_labels=3, training_data=3)
TRUTH = {"a0": (0, 3), "a1": (4, 3), "a2": (0, 7), "a3": (4, 3), "a4": (0, 3)}  # tests/trainer/conftest.py


@pytest.fixture(scope="module")
def run(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    config = study.config(folder)
    config["arms"] = ["none", {"name": "estimated", "seeds": [0, 1]}]
    train(config, overrides=["experiment.optimization.num_epochs=1"])
    return folder


def test_a_submission_gives_the_numbers_of_the_run(run: Path, tmp_path: Path) -> None:
    """Top-1 of every task computed from the JSON alone is what the run measured."""
    path = tmp_path / "new" / "epic.json"
    written = export([run], seed=1, epic=path, levels=LEVELS)
    assert (written["model"], written["clips"], written["split"]) == ("estimated.s1", 5, "val_start")
    document = read_epic(path)
    assert {k: document[k] for k in ("version", "challenge", "sls_pt", "sls_tl", "sls_td")} == {
        "version": "0.2", "challenge": "action_anticipation", "sls_pt": 2, "sls_tl": 3, "sls_td": 3,
    }  # fmt: skip
    results = document["results"]
    assert set(results) == set(TRUTH)
    final = json.loads((run / "result.json").read_text())["final"]["estimated.s1"]["val_start"]
    for task, wanted in (
        ("verb", {clip: str(verb) for clip, (verb, _) in TRUTH.items()}),
        ("noun", {clip: str(noun) for clip, (_, noun) in TRUTH.items()}),
        ("action", {clip: f"{verb},{noun}" for clip, (verb, noun) in TRUTH.items()}),
    ):
        right = [max(scores[task], key=scores[task].get) == wanted[clip] for clip, scores in results.items()]
        assert 100 * np.mean(right) == pytest.approx(final[f"{task}_top1"]), task
    for scores in results.values():
        known = {"0", "4"}  # verbs of training; all others are below them
        assert min(scores["verb"][n] for n in known) > max(v for n, v in scores["verb"].items() if n not in known)
        ranked = sorted(scores["action"], key=lambda name, own=scores["action"]: -own[name])
        assert set(ranked[:3]) == {"0,3", "0,7", "4,3"} and len(ranked) == 100, "the challenge takes exactly 100"


def predictions_of(run: Path) -> Predictions:
    return read_predictions(run / "predictions" / "none.s0" / "val_start.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_names": []}, "5 of 5 clips have no narration_id"),  # a run of an earlier version
        ({"clip_names": ["a", "b", "", "c", "d"]}, "1 of 5 clips"),
        ({"clip_names": ["a", "b", "b", "c", "d"]}, "1 of 5 clips"),
        ({"classes_noun": np.array([3, 300])}, "noun class 300 is none of"),
        ({"top_noun": np.zeros((5, 1), int)}, "Only 1 of 2 noun scores"),
        ({"top_action": np.zeros((5, 2), int)}, "Only 2 action scores"),
        ({"rank_verb": None, "top_verb": None}, "wants verb, noun and action"),  # Ego-Exo4D keysteps
    ],
)
def test_what_cannot_be_handed_in(run: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    found = predictions_of(run)
    names = change.pop("clip_names", found.clip_names)
    arrays = {key: value for key, value in {**found.arrays, **change}.items() if value is not None}
    changed = Predictions(arrays=arrays, video_ids=found.video_ids, train_video_ids=[], clip_names=names)
    with pytest.raises(UsageError, match=message):
        write_epic(tmp_path / "epic.json", changed, LEVELS)
    assert not (tmp_path / "epic.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version="0.1"), "version and challenge"),
        (lambda d: d.update(sls_tl=6), "sls_tl is 6"),
        (lambda d: d.pop("sls_td"), "sls_td is None"),
        (lambda d: d["results"]["a0"]["verb"].pop("96"), "a0: not every verb from 0 to 96"),
        (lambda d: d["results"]["a0"].pop("noun"), "a0: it does not have exactly"),
        (lambda d: d["results"]["a1"]["action"].update({"0;3": 1.0}), "a1: an action is not named"),
        (lambda d: d["results"]["a1"]["action"].update({"97,3": 1.0}), "a1: an action is not named"),
        (lambda d: d["results"]["a2"]["action"].update({"1,1": 0.0}), "a2: 101 actions instead of 100"),
        (lambda d: d["results"]["a2"]["action"].pop("0,7"), "a2: 99 actions instead of 100"),
        (lambda d: d["results"]["a2"]["noun"].update({"0": "high"}), "a2: a score is not a finite number"),
        (lambda d: d.update(results={}), "no results"),
    ],
)
def test_the_reader_refuses_what_is_no_submission(run: Path, tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "epic.json"
    write_epic(path, predictions_of(run), LEVELS)
    document = copy.deepcopy(read_epic(path))
    change(document)
    with pytest.raises(DataFileError, match=message):
        check_epic(document, "epic.json")


def test_exported_weights_are_the_runs_and_load_strictly(run: Path, study: Study, tmp_path: Path) -> None:
    """Alone in a run of its own, the exported model repeats the figures of the run that trained it."""
    folder = tmp_path / "weights"
    written = export([run], arm="estimated", seed=1, weights=folder)
    assert Path(written["weights"]) == folder / "model.safetensors"
    exported = load_exported(folder)
    state = load_checkpoint(run / "checkpoints" / "best" / "estimated.s1")
    for part in ("predictor", "probe"):
        found = exported.as_state()[part]
        assert found.keys() == state[part].keys() and all((found[k] == v).all() for k, v in state[part].items())
    assert exported.labels["action"] == [[0, 3], [0, 7], [4, 3]] and exported.best == state["best"]
    config = study.config(tmp_path / "alone")
    overrides = ["val_only=true", f"classifier_checkpoint={folder}"]
    alone = train(config, overrides=overrides)
    final = json.loads((run / "result.json").read_text())["final"]["estimated.s1"]["val_start"]
    assert alone.final["main"]["val_start"] == final
    with pytest.raises(UsageError, match="holds one model, this run has 2"):
        train({**config, "arms": ["none", "estimated"]}, overrides=overrides)
    wider = "model_kwargs.pretrain_kwargs.predictor.predictor_embed_dim=48"
    with pytest.raises(UsageError, match=r"belongs to another config.*predictor_embed_dim"):
        train(config, overrides=[*overrides, wider])
    export_weights(run / "checkpoints" / "best" / "none.s0", folder)  # an export is replaced as a whole
    assert load_exported(folder).learner == "none.s0"


def test_damaged_exports_and_folders_of_others(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    export([run], arm="none", weights=folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_exported(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no export of weights"):
        load_exported(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else"):
        export([run], arm="none", weights=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_exports_from_the_command_line(run: Path, tmp_path: Path) -> None:
    common = ["report", str(run), "-o", str(tmp_path / "report")]
    options = ["--export-epic", str(tmp_path / "e.json"), "--export-weights", str(tmp_path / "w")]
    done = run_cli(*common, *options, "--epic-sls", "2,3,3", "--export-seed", "0", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["exported"]["model"] == "estimated.s0"
    assert len(read_epic(tmp_path / "e.json")["results"]) == 5
    assert load_exported(tmp_path / "w").learner == "estimated.s0"
    for arguments, message in (
        (options, "--export-epic needs --epic-sls"),
        ([*options, "--epic-sls", "2,3"], "three numbers"),
        ([*options, "--epic-sls", "2,3,9"], "training_data is 9"),
        ([*options, "--epic-sls", "2,3,3", "--export-arm", "gaze"], "No run has arm 'gaze'"),
        ([*options, "--epic-sls", "2,3,3", "--export-seed", "7"], "with seed 7"),
    ):
        failed = run_cli(*common, *arguments)
        assert failed.exit_code == 2 and message in " ".join(failed.stderr.split()), failed.stderr
