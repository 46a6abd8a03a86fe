"""`gazetools train` as a user calls it: exit codes, dry run, and every kind of bad input before heavy work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gazetools.schemas.errors import EnvironmentLacksError
from gazetools.trainer import readiness_findings, train
from gazetools.trainer.config import load_config
from gazetools.trainer.models.build import build_model
from tests.helpers.command_line import run_cli
from tests.trainer.conftest import Study

STEPS_PER_EPOCH = 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_exit_3(tiny: dict[str, Any]) -> None:
    with pytest.raises(EnvironmentLacksError, match="device=cpu"):
        train(tiny, overrides=["device=cuda"])


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
    assert document["model"]["video_tokens"] == document["model"]["heatmap_tokens"] == 2 * 16
    built = build_model(load_config(config_file)).wrapper
    assert document["model"]["encoder"]["parameters"] == sum(p.numel() for p in built.encoder.parameters())
    assert document["config"]["experiment"]["data"]["resolution"] == 32
    assert not (tmp_path / "run").exists()
    text = run_cli("train", "--config", str(config_file), "--dry-run")
    assert text.exit_code == 0 and "steps_per_epoch: 3" in text.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["experiment.data.resolutoin=3"], 2, "did you mean 'resolution'"),
        (["--gpus", "four"], 2, "a number or `all`"),
        (["--gpus", "99"], 3, "CUDA device(s)"),
        (["--nodes", "2"], 2, "--rdzv-endpoint"),
        (["model_kwargs.checkpoint=/none.pt"], 3, "/none.pt does not exist"),
        (["experiment.wandb.enable=true"], 3, "gazetools[wandb]"),
        (["experiment.data.anticipation_time_sec=[9, 9]"], 2, "num_frames="),
        (["experiment.data.heatmap_base_path=/none"], 2, "heatmap_base_path"),
    ],
)
def test_exit_codes_and_messages(
    config_file: Path, arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gazetools.trainer.wandb_log.importlib.util.find_spec", lambda name: None)
    done = run_cli("train", "--config", str(config_file), *arguments)
    assert done.exit_code == code, done.stderr
    assert message in done.stderr


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
