"""Random weights: the released shapes, and outputs that are good for something in tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gazetools.gazemodels.gazelle.backbone import hub_shapes
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS
from gazetools.gazemodels.gazelle.decoder import decoder_shapes
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.matching import BACKBONE_PREFIX
from tests.helpers import random_checkpoints
from tests.helpers.random_checkpoints import random_model_tensors, tiny_config, write_tiny_gazelle


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_released_names_and_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without drawing 300 MB of numbers."""
    monkeypatch.setattr(
        random_checkpoints, "_random", lambda _key, shape, _generator: torch.empty(shape, device="meta")
    )
    config = RELEASED_MODELS[name]
    made = {key: tuple(value.shape) for key, value in random_model_tensors(config, 0).items()}
    hub = {BACKBONE_PREFIX + key: shape for key, shape in hub_shapes(config.backbone).items()}
    assert made == {**decoder_shapes(config), **hub}


@pytest.mark.parametrize("seed", range(4))
def test_outputs_spread_and_feel_image_and_prompt(tmp_path: Path, seed: int) -> None:
    model = load_model(write_tiny_gazelle(tmp_path / "t.safetensors", seed=seed))
    rows, columns = np.mgrid[:70, :100]
    frames = np.stack([127 + 120 * np.sin(columns / p)[..., None] * np.cos(rows / [9, 11, 13][i])[..., None]
                       for i, p in enumerate((5, 9))]).repeat(3, axis=3).astype(np.uint8)  # fmt: skip
    boxes = [(0.1, 0.1, 0.4, 0.5), None, (0.6, 0.5, 0.95, 0.95)]
    heatmap = model(frames, [boxes, boxes]).heatmap
    assert float(heatmap.std()) > 0.05
    saturated = (heatmap < 0.001) | (heatmap > 0.999)
    assert float(saturated.float().mean()) < 0.1
    for other in (1, 2, 3):
        assert float((heatmap[0] - heatmap[other]).abs().mean()) > 0.005


def test_seeds() -> None:
    one, two, other = (random_model_tensors(tiny_config(), seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["linear.weight"], other["linear.weight"])


@pytest.mark.slow
def test_the_helper_as_a_command(tmp_path: Path) -> None:
    helper = Path(__file__).parents[1] / "helpers" / "random_checkpoints.py"
    out = tmp_path / "t.safetensors"
    command = [sys.executable, str(helper), "--model", "tiny", "--seed", "3", "-o", str(out)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    expected = random_model_tensors(tiny_config(), 3)
    assert all(torch.equal(value, expected[key]) for key, value in load_file(out).items())
