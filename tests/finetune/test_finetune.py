"""`finetune`: what a training writes, learns and refuses, driven with a tiny model on a synthetic set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import gazetools
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.trainer.finetune.learner import GazeLearner
from gazetools.trainer.finetune.run import finetune
from tests.finetune.conftest import Configure
from tests.helpers.command_line import run_cli
from tests.helpers.gaze_sets import read_rows, write_gaze_set, write_rows

PLAIN = {"crop": 0, "flip": 0, "jitter": 0, "photometric": 0}


def log_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(config["folder"]) / "log.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_folder_has_what_the_page_says(configure: Configure) -> None:
    changes = {"learning": {"epochs": 12, "batch_size": 8, "optimizer": {"lr": 3e-3}}, "augment": PLAIN}
    config = configure("run", changes)
    result = finetune(config)
    losses = [line["train_loss"] for line in log_of(config) if "epoch" in line]
    assert losses[-1] < 0.5 * losses[0]
    folder = Path(config["folder"])
    names = {"best.safetensors", "last.safetensors", "state.safetensors", "log.jsonl", "report.html"}
    assert names < {path.name for path in folder.iterdir()}
    assert result.best is not None
    values = {line["epoch"]: line["val_l2"] for line in log_of(config) if "epoch" in line}
    assert result.best["value"] == min(values.values()) and values[result.best["epoch"]] == result.best["value"]
    page = (folder / "report.html").read_text()
    assert "Worst held-out heads" in page and "data:image/jpeg" in page and "look at the test set after" in page


def test_only_the_decoder_changes_and_extract_reads_the_weights(configure: Configure, tiny_model: Path) -> None:
    result = finetune(configure())
    before, after = load_file(tiny_model), load_file(str(result.weights))
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    # The tower's position embedding is written for the grid of the model's input, which the file's is resized to.
    assert "linear.weight" in changed and {key for key in changed if "backbone" in key} == {"backbone.model.pos_embed"}
    model = gazetools.load_model(str(result.weights), device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3), dtype=np.uint8)
    out = model(picture, [[(0.1, 0.1, 0.4, 0.4)]])
    assert out.heatmap.shape == (1, 64, 64) and out.inout is not None


def test_extract_runs_with_written_weights(configure: Configure, clip: Path, boxes: Path, tmp_path: Path) -> None:
    result = finetune(configure())
    heads = f"file:{boxes}"
    done = run_cli(
        "extract", str(clip), "-o", str(tmp_path / "store"), "--heads", heads, "--model", str(result.weights)
    )
    assert done.exit_code == 0, done.stderr


def test_a_training_that_goes_on_ends_with_the_same_bits(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torn after every third step, with a state every second: the log is ahead of the state, within epochs and not.

    Weights, moments, log and figures do not show it.
    """
    changes = {"augment": {"photometric": 0.5}, "learning": {"batch_size": 6}}
    whole, parts = configure("whole", changes), configure("parts", changes)
    finetune(whole)
    step = GazeLearner.step
    calls: list[int] = []

    def counted(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) % 4 == 0:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(GazeLearner, "step", counted)
    for _ in range(12):
        try:
            result = finetune(parts)
            break
        except KeyboardInterrupt:
            continue
    assert len(calls) > 11 and result.status == "done"
    for name in ("state", "best", "last"):
        one, other = (load_file(Path(config["folder"]) / f"{name}.safetensors") for config in (whole, parts))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name
    assert log_of(whole) == log_of(parts)
    taken = len(calls)
    again = finetune(parts)  # done already: nothing is trained, the result is the same
    assert (again.best, again.metrics) == (result.best, result.metrics) and len(calls) == taken


def test_workers_make_the_same_batches(configure: Configure) -> None:
    alone, helped = configure("alone"), configure("helped", {"data": {"workers": 1}})
    finetune(alone)
    finetune(helped)
    assert log_of(alone) == log_of(helped)


def test_kept_features_train_as_computed_ones(configure: Configure) -> None:
    """Crops are computed, whole and mirrored pictures are kept: equal losses but for the order of sums."""
    computed, kept = configure("computed"), configure("kept", {"data": {"keep_features": True}})
    finetune(computed)
    finetune(kept)
    for one, other in zip(log_of(computed), log_of(kept), strict=True):
        assert one.keys() == other.keys()
        assert all(one[name] == pytest.approx(other[name], rel=2e-3, abs=1e-5) for name in one), (one, other)
    (shelf, held_out) = sorted((Path(kept["folder"]) / "features").iterdir())
    shapes = {load_file(next(folder.iterdir()))["features"].shape[0] for folder in (shelf, held_out)}
    assert shapes == {24, 6}, "12 pictures and their mirror images, 6 held-out pictures"


def test_kept_features_are_read_in_place_of_the_tower(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from gazetools.trainer.finetune.prompted_network import PromptedNetwork

    shown: list[int] = []
    features = PromptedNetwork.features

    def counted(self: PromptedNetwork, inputs: Any) -> Any:
        shown.append(len(inputs.pictures))
        return features(self, inputs)

    monkeypatch.setattr(PromptedNetwork, "features", counted)
    augment = {"crop": 0, "flip": 0, "jitter": 0.5}
    config = configure("run", {"data": {"keep_features": True}, "augment": augment})
    finetune({**config, "learning": {**config["learning"], "epochs": 5}})
    drawn = 12  # pictures of the page, one by one
    assert sum(shown) <= 18 + drawn, "each picture once"


def test_labels_that_cannot_be_used_are_counted_and_named(configure: Configure, tmp_path: Path) -> None:
    labels = write_gaze_set(tmp_path / "set", videos=4)
    rows = read_rows(labels)
    rows[0]["gaze_x"] = "nan"
    rows[1] |= {"gaze_x": "1.7", "inside": "1"}
    rows[2] |= {"xmin": "1.2", "xmax": "1.4"}
    rows[3] |= {"xmax": str(float(rows[3]["xmin"]) + 0.001)}
    write_rows(labels, rows)
    (tmp_path / "set" / rows[6]["picture"]).unlink()
    config = configure("run", {"data": {"train": [{"kind": "labels", "path": str(labels)}]}})
    result = finetune(config, dry_run=True)
    left_out, where = result.data["train"]["left_out"], result.data["train"]["left_out_examples"]
    assert left_out == {
        "point_missing": 1, "point_outside": 1, "head_outside_picture": 1, "head_too_small": 1, "picture_missing": 2,
    }  # fmt: skip
    assert all(f"{labels}, line" in text for text in where.values())
    total = result.data["train"]["heads"] + result.data["held_out"]["heads"]
    assert total == len(rows) - sum(left_out.values())
    assert not Path(config["folder"]).exists(), "a dry run writes nothing"


@pytest.mark.parametrize("outside", [True, False])
def test_a_batch_without_an_in_frame_head_has_a_loss(configure: Configure, tmp_path: Path, outside: bool) -> None:
    """Gaze-LLE's and PaGE's own training ends with NaN there; the last batch of a small set is often such a one."""
    labels = write_gaze_set(tmp_path / "set", outside_every=2)
    changes = {"learning": {"epochs": 1, "batch_size": 1 if outside else 8}, "data": {"train": [
        {"kind": "labels", "path": str(labels)}]}}  # fmt: skip
    config = configure("run", changes)
    finetune(config)
    steps = [line for line in log_of(config) if "epoch" not in line]
    assert all(np.isfinite(line["train_loss"]) for line in steps)
    assert (min(line["train_heatmap"] for line in steps) == 0) == outside


def test_without_an_inout_head_those_that_look_outside_are_left_out(configure: Configure) -> None:
    result = finetune(configure("run", {"model": {"inout_head": "none"}}), dry_run=True)
    train = result.data["train"]
    assert train["left_out"] == {"outside_and_no_inout_head": 4} and train["heads"] == train["inside"] == 20


def test_a_loss_that_is_no_number_ends_the_training_and_writes_nothing(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = configure("run", {"learning": {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 1.0}}})
    step = GazeLearner.step

    def broken(self: GazeLearner, batches: Any, place: Any) -> dict[str, float]:
        if place.step == 3:
            with torch.no_grad():
                next(iter(self.network.learning().values())).fill_(float("nan"))
        return step(self, batches, place)

    monkeypatch.setattr(GazeLearner, "step", broken)
    with pytest.raises(FaultError, match=r"The loss is nan at step 4") as error:
        finetune(config)
    assert int(error.value.exit_code) == 4
    folder = Path(config["folder"])
    assert all(torch.isfinite(value).all() for value in load_file(folder / "state.safetensors").values())
    assert not (folder / "result.json").exists() and not list(folder.glob("*.tmp*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"learning": {"epochz": 3}}, r"epochz.*[Dd]id you mean 'learning\.epochs'|epochs", id="typo"),
        pytest.param(
            {"data": {"held_out": 0}, "selection": {"patience": 2}}, "patience watches held-out", id="patience"
        ),
        pytest.param({"data": {"keep_features": True}, "augment": {"photometric": 0.5}}, "photometric", id="colours"),
        pytest.param(
            {"selection": {"metric": "inout_ap"}, "model": {"inout_head": "none"}}, "inout_ap", id="no in/out"
        ),
        pytest.param({"model": {"name": "control_centre"}}, "control", id="control"),
    ],
)
def test_settings_that_do_not_fit(configure: Configure, changes: dict[str, Any], message: str) -> None:
    config = configure("run", changes)
    with pytest.raises(UsageError, match=message):
        finetune(config)
    assert not Path(config["folder"]).exists()


def test_leaks_between_splits_are_refused(configure: Configure, gaze_labels: Path, tmp_path: Path) -> None:
    """The same set as validation; and labels under another name of the video, but of the same pictures."""
    rows = read_rows(gaze_labels)
    for row in rows:
        row["video"] = "renamed"
    same_pictures = write_rows(gaze_labels.with_name("renamed.csv"), rows[:4])
    for path, what in ((gaze_labels, r"6 videos are in .*: v0"), (same_pictures, r"2 pictures are in .*0\.jpg")):
        changes = {"data": {"validation": [{"kind": "labels", "path": str(path)}]}}
        with pytest.raises(UsageError, match=what):
            finetune(configure("run", changes), dry_run=True)


def test_changed_labels_do_not_continue_a_training(configure: Configure, tmp_path: Path) -> None:
    labels = write_gaze_set(tmp_path / "set")
    config = configure("run", {"data": {"train": [{"kind": "labels", "path": str(labels)}]}})
    finetune(config)
    write_rows(labels, read_rows(labels)[:-1])
    with pytest.raises(UsageError, match="other labels"):
        finetune(config)
    with pytest.raises(UsageError, match=r"learning\.epochs is 3, was 2"):
        finetune({**config, "learning": {**config["learning"], "epochs": 3}})


def test_early_stopping_watches_held_out_heads(configure: Configure) -> None:
    changes = {"learning": {"epochs": 30, "batch_size": 8, "optimizer": {"lr": 1e-9}, "schedule": {"kind": "constant"}}}
    result = finetune(configure("run", {**changes, "selection": {"metric": "l2", "patience": 2}}))
    assert result.best is not None and result.epochs_done == result.best["epoch"] + 2 < 30


def test_a_learning_curve_trains_on_shares_of_the_videos(configure: Configure) -> None:
    config = configure("run", {"learning_curve": [0.5, 1]})
    result = finetune(config)
    assert [(point["share"], point["heads"]) for point in result.curve] == [(0.5, 12), (1.0, 24)]
    assert "How many labels are needed" in (Path(config["folder"]) / "report.html").read_text()


def test_a_damaged_picture_is_named(configure: Configure, tmp_path: Path) -> None:
    labels = write_gaze_set(tmp_path / "set")
    (tmp_path / "set/v0/0.jpg").write_bytes((tmp_path / "set/v0/0.jpg").read_bytes()[:300])
    config = configure("run", {"data": {"train": [{"kind": "labels", "path": str(labels)}], "workers": 1}})
    with pytest.raises(UsageError, match=r"v0/0\.jpg is missing or can't be read\.") as error:
        finetune(config)
    assert "Traceback" not in str(error.value)


def test_the_command_line(configure: Configure, tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(configure()))
    dry = run_cli("finetune", "--config", str(path), "--dry-run", "--json", "learning.epochs=3")
    document = json.loads(dry.stdout)
    assert dry.exit_code == 0 and (document["status"], document["steps"]) == ("dry_run", 9)
    assert not (tmp_path / "run").exists()
    done = run_cli("finetune", "--config", str(path), "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["status"] == "done", done.stderr
    assert run_cli("finetune", "--config", str(path), "--no-resume").exit_code == 2
    wrong = run_cli("finetune", "--config", str(path), "learning.optimiser.lr=1")
    assert wrong.exit_code == 2 and "optimizer" in wrong.stderr
