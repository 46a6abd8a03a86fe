"""`gazetools train` as a user calls it: exit codes, dry run, and every kind of bad input before heavy work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazetools.trainer import readiness_findings
from gazetools.trainer.plan.config import load_config
from tests.helpers.command_line import run_cli
from tests.helpers.models import build_model
from tests.trainer.conftest import Study

STEPS_PER_EPOCH = 3


@pytest.fixture
def config_file(tiny: dict[str, Any], tmp_path: Path) -> Path:
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    return path


def test_train_from_the_command_line(config_file: Path) -> None:
    done = run_cli("train", "--config", str(config_file), "experiment.optimization.num_epochs=1", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "done" and document["metrics"]["train_clips"] == 5
    assert "RANDOM WEIGHTS" in done.stderr


def test_dry_run_describes_and_writes_nothing(config_file: Path, tmp_path: Path) -> None:
    done = run_cli("train", "--config", str(config_file), "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "dry_run"
    assert document["data"]["steps_per_epoch"] == STEPS_PER_EPOCH
    assert document["data"]["train"]["heatmap_coverage"] == pytest.approx(0.8)
    assert any("3 video(s) are in training and in validation" in note for note in document["notes"])
    assert document["model"]["video_tokens"] == document["model"]["heatmap_tokens"] == 2 * 16
    built = build_model(load_config(config_file)).wrapper
    assert document["model"]["encoder"]["parameters"] == sum(p.numel() for p in built.encoder.parameters())
    assert document["config"]["experiment"]["data"]["resolution"] == 32
    assert not (tmp_path / "run").exists()
    text = run_cli("train", "--config", str(config_file), "--dry-run")
    assert text.exit_code == 0 and "steps_per_epoch: 3" in text.stdout
    many = ["--processes", "2", "--nodes", "2", "--rdzv-endpoint", "here:1", "--dry-run"]
    text = run_cli("train", "--config", str(config_file), *many)
    assert text.exit_code == 0 and "steps_per_epoch: 1" in text.stdout and "processes: 4" in text.stdout


# What the issue calls bad input, one by one from the shell. `{}` is the test's folder.
BAD_INPUT = [
    # config
    (["experiment.data.resolutoin=3"], 2, "did you mean 'resolution'"),
    (["experiment.optimization.batch_size=0"], 2, "batch_size"),
    (["experiment.data.anticipation_time_sec=[9, 9]"], 2, "num_frames="),
    (["experiment.data.resolution=36"], 2, "resolution 36 is not a multiple of patch_size 8"),
    (["experiment.data.frames_per_clip=5"], 2, "frames_per_clip 5 is not a multiple of tubelet_size 2"),
    (["experiment.data.heatmap_resolution=36"], 2, "36 pixels are not a multiple of heatmap_patch_size 8"),
    (["experiment.classifier.num_heads=5"], 2, "num_heads 5 does not divide"),
    (["arms=[estimatde]"], 2, "no known arm"),
    (["arms=[{name: a, source: gaze2}]"], 2, "its source 'gaze2' is none of the data's"),
    # annotations
    (["experiment.data.dataset_train={}/no_noun.csv"], 2, "lacks the column(s) noun_class (nearest: nuon_class)"),
    (["experiment.data.dataset_val={}/absent.csv"], 2, "Cannot read the annotations"),
    (["experiment.data.dataset_train={}/other_videos.csv"], 2, "2 of 5 annotated videos are not below"),
    (["experiment.data.dataset_train={}/early.csv"], 2, "No train clips are left"),
    (["experiment.data.base_path={}/none"], 2, "none"),
    # heatmaps
    (["experiment.data.heatmap_base_path={}/none"], 2, "none does not exist"),
    (["experiment.data.heatmap_base_path={}/others"], 2, "would train on zeros"),
    (["experiment.data.heatmap_base_path={}/flat"], 2, "P01_01"),
    (["experiment.data.missing=error"], 2, "P02_01"),
    # checkpoints
    (["model_kwargs.checkpoint={}/vitl.pt"], 3, "vitl.pt does not exist"),
    (["classifier_checkpoint={}/none"], 2, "classifier_checkpoint"),
    (["val_only=true"], 2, "holds no checkpoint to measure"),
    # the machine
    (["--gpus", "four"], 2, "a number or `all`"),
    (["--gpus", "99"], 3, "CUDA device(s)"),
    (["device=cuda"], 3, "device=cpu"),
    (["--nodes", "2"], 2, "--rdzv-endpoint"),
    (["experiment.wandb.enable=true"], 3, "gazetools[wandb]"),
    (["experiment.tensorboard=true"], 3, "gazetools[tensorboard]"),
    (["folder=/proc/run"], 2, "/proc/run"),
]


@pytest.fixture
def bad_files(study: Study, tmp_path: Path) -> Path:
    """Annotations and heatmaps that do not fit the study's config."""
    rows = (study.root / "actions.csv").read_text().splitlines()
    (tmp_path / "no_noun.csv").write_text("\n".join([rows[0].replace("noun_class", "nuon_class"), *rows[1:]]))
    (tmp_path / "other_videos.csv").write_text("\n".join(row.replace("P01_0", "P09_0") for row in rows))
    (tmp_path / "early.csv").write_text(rows[0] + "\na0,P01_01,00:00:00.00,00:00:00.50,0,3,open door\n")
    for name, array in (("others/P07_01", np.ones((9, 4, 4))), ("flat/P01_01", np.ones(9))):
        (tmp_path / name).parent.mkdir()
        np.savez(tmp_path / f"{name}.npz", heatmap=array.astype(np.float32))
    return tmp_path


@pytest.fixture
def no_heavy_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is built or loaded, and neither W&B nor TensorBoard is installed."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("gazetools.trainer.run.load_pretrained", lambda config: pytest.fail("heavy work has begun"))


@pytest.mark.parametrize(("arguments", "code", "message"), BAD_INPUT, ids=[" ".join(case[0]) for case in BAD_INPUT])
@pytest.mark.usefixtures("no_heavy_work")
def test_bad_input_ends_before_heavy_work(
    config_file: Path, bad_files: Path, arguments: list[str], code: int, message: str
) -> None:
    if any("cuda" in text or text == "99" for text in arguments) and torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA: `CUDA_VISIBLE_DEVICES=` hides it")
    done = run_cli("train", "--config", str(config_file), *(a.replace("{}", str(bad_files)) for a in arguments))
    assert done.exit_code == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("no_heavy_work")
def test_all_problems_of_a_run_are_told_at_once(config_file: Path, bad_files: Path) -> None:
    """Wrong usage (2) comes before what the machine lacks (3), and hides nothing of it."""
    values = [
        "experiment.data.resolution=36",
        f"experiment.data.dataset_train={bad_files / 'no_noun.csv'}",
        f"experiment.data.dataset_val={bad_files / 'absent.csv'}",
        "experiment.data.heatmap_base_path=/none",
        "experiment.data.base_path=/videos",
        f"model_kwargs.checkpoint={bad_files / 'vitl.pt'}",
        "experiment.wandb.enable=true",
    ]
    done = run_cli("train", "--config", str(config_file), *values, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    for text in ("patch_size 8", "noun_class", "absent.csv", "/none", "/videos", "vitl.pt", "gazetools[wandb]"):
        assert text in error["message"], text
    assert len(error["details"]["problems"]) == 7
    lacks = run_cli("train", "--config", str(config_file), *values[-2:])
    assert lacks.exit_code == 3 and "2 problems" in lacks.stderr


def test_a_checkpoint_of_another_config_or_other_classes_ends_before_heavy_work(
    study: Study, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (study.root / "actions.csv").read_text().splitlines()
    (tmp_path / "fewer_classes.csv").write_text("\n".join(rows[:3]) + "\n")
    (tmp_path / "fewer_rows.csv").write_text("\n".join(rows[:5]) + "\n")
    command = ["train", "--config", str(config_file), "experiment.optimization.num_epochs=1"]
    done = run_cli(*command)
    assert done.exit_code == 0, done.stderr
    monkeypatch.setattr("gazetools.trainer.run.load_pretrained", lambda config: pytest.fail("heavy work has begun"))
    for change, message in (
        ("experiment.optimization.batch_size=1", "these keys differ: experiment.optimization.batch_size"),
        (f"experiment.data.dataset_train={tmp_path / 'fewer_classes.csv'}", "The classes of the checkpoint"),
        (f"experiment.data.dataset_train={tmp_path / 'fewer_rows.csv'}", "trained on other clips"),
    ):
        done = run_cli(*command, change)
        assert done.exit_code == 2 and message in done.stderr, done.stderr


def test_readiness(study: Study, config_file: Path, tmp_path: Path) -> None:
    findings = readiness_findings(config_file, study.heatmaps)
    assert {(f.code, f.severity, f.video_id) for f in findings} == {
        ("training-coverage", "warning", "P02_01"),
        ("training-coverage", "note", None),
    }
    empty = tmp_path / "empty"
    empty.mkdir()
    (finding,) = readiness_findings(config_file, empty)
    assert (finding.code, finding.severity) == ("training-data", "error") and "zeros" in finding.message


def test_the_committed_tiny_config_trains_and_validates(study: Study, tmp_path: Path) -> None:
    data = {"base_path": study.root / "videos", "heatmap_base_path": study.heatmaps}
    data |= {"dataset_train": study.root / "actions.csv", "dataset_val": study.root / "actions.csv"}
    overrides = [f"experiment.data.{key}={value}" for key, value in data.items()]
    path = Path(__file__).parents[2] / "configs" / "tiny.yaml"
    done = run_cli("train", "--config", str(path), f"folder={tmp_path}", *overrides, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["epochs_done"] == 2 and Path(document["best"]["checkpoint"]).is_dir()
