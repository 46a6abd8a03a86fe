"""transformers is an extra: what needs it says so, everything else runs without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BLOCKER = "import sys\nfor name in ('transformers', 'huggingface_hub', 'tokenizers'):\n    sys.modules[name] = None\n"
"""As `sitecustomize` it makes every import of these fail, in child processes too."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def _run(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gazetools", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_blocker_blocks(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", "import transformers"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


def test_extract_runs(environment: dict[str, str], clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path) -> None:
    done = _run(
        environment, "extract", clip, "-o", tmp_path / "store", "--heads", f"file:{boxes}", "--model", tiny_model
    )
    assert done.returncode == 0, done.stderr
    sidecar = json.loads(next((tmp_path / "store").rglob("*.json")).read_text())
    assert "transformers" not in json.dumps(sidecar), "no number depends on its version"


@pytest.mark.slow
def test_training_runs_and_an_encoder_by_a_hub_name_says_what_to_install(
    environment: dict[str, str],
    tiny: dict[str, Any],
    tmp_path: Path,
) -> None:
    tiny["experiment"]["optimization"]["num_epochs"] = 1
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(tiny))
    done = _run(environment, "train", "--config", path)
    assert done.returncode == 0, done.stderr
    again = ("train", "--config", path, "--dry-run", f"folder={tmp_path / 'hub'}")
    done = _run(environment, *again, "model_kwargs.checkpoint=facebook/vjepa2-vitl-fpc64-256")
    assert done.returncode == 3
    assert "gazetools[transformers]" in done.stderr


def test_a_detector_says_what_to_install(environment: dict[str, str], clip: Path, tmp_path: Path) -> None:
    done = _run(environment, "heads", clip, "-o", tmp_path / "clip.csv", "--detector", str(tmp_path))
    assert done.returncode == 3
    assert "gazetools[detect]" in done.stderr
