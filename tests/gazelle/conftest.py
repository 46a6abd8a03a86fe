"""A tiny model under a released name, and its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazetools.gazemodels.gazelle import loading
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS
from tests.helpers.random_checkpoints import random_model_tensors
from tests.helpers.weight_files import TINY, Tensors


@pytest.fixture
def a_released_tiny_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`gazelle_test` stands for a released name, so that the released formats can be tested with small files."""
    monkeypatch.setitem(RELEASED_MODELS, "gazelle_test", TINY)
    monkeypatch.setitem(loading.DECODER_URLS, "gazelle_test", "http://127.0.0.1:9/gazelle_test.pt")
    monkeypatch.setitem(loading.BACKBONE_URLS, TINY.backbone.name, "http://127.0.0.1:9/backbone.pth")
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def whole() -> Tensors:
    """Decoder and backbone of `gazelle_test`."""
    return random_model_tensors(TINY, seed=3)
