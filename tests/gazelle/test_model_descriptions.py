"""Weight files that describe themselves, descriptions that are wrong, and names: released, misspelt, packaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors.torch import save_file

from gazetools.gazemodels.gazelle import loading
from gazetools.gazemodels.gazelle.checkpoints import read_metadata
from gazetools.gazemodels.gazelle.config import (
    CONFIG_METADATA_KEY,
    RELEASED_MODELS,
    TINY_MODEL,
    BackboneConfig,
    GazelleConfig,
    config_from_metadata,
)
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from tests.helpers.random_checkpoints import random_model_tensors, tiny_config, write_tiny_gazelle
from tests.helpers.weight_files import TINY, Tensors, write_pt, write_st

pytestmark = pytest.mark.usefixtures("a_released_tiny_model")


def test_a_file_that_describes_itself(tmp_path: Path) -> None:
    path = write_tiny_gazelle(tmp_path / "tiny.safetensors", seed=1)
    assert load_model(path).name == "gazelle_random_tiny_inout"
    assert load_model(str(path)).config == tiny_config()
    with pytest.raises(UsageError, match="either --model PATH, or --model NAME with --checkpoint"):
        load_model(path, checkpoint=path)


def test_a_file_without_a_description(tmp_path: Path, whole: Tensors) -> None:
    for path in (write_st(tmp_path / "w.safetensors", whole), write_pt(tmp_path / "w.pt", whole)):
        with pytest.raises(CheckpointError, match="--model NAME --checkpoint"):
            load_model(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "is not a model description"),
        ('{"name": "x"}', "missing key 'backbone'"),
        (TINY.model_dump_json().replace('"dim":32', '"dimm":32'), "unknown key 'dimm'; did you mean 'dim'"),
        (TINY.model_dump_json().replace('"embed_dim":48', '"embed_dim":999999'), "'backbone.embed_dim' = 999999"),
        (TINY.model_dump_json().replace('"in_size":[56,56]', '"in_size":[56,57]'), "multiples of the patch size 14"),
        (TINY.model_dump_json().replace('"schema_version":1', '"schema_version":2'), "schema_version"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, whole: Tensors, text: str, words: str) -> None:
    save_file(whole, tmp_path / "x.safetensors", metadata={CONFIG_METADATA_KEY: text})
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path / "x.safetensors")


def test_configs_survive_their_json() -> None:
    for config in RELEASED_MODELS.values():
        assert GazelleConfig.model_validate_json(config.model_dump_json()) == config
    assert BackboneConfig.model_validate(TINY.backbone.model_dump()) == TINY.backbone


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean gazelle_dinov2_vitb14"):
        load_model("gazelle_dinov2_vitb41")


def test_gazelle_tiny_is_loaded_from_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    path = tmp_path / "packaged.safetensors"
    monkeypatch.setattr(loading, "TINY_WEIGHTS", path)
    with pytest.raises(EnvironmentLacksError, match=r"packaged\.safetensors") as caught:
        load_model("gazelle_tiny")
    assert caught.value.exit_code == 3
    save_file({k: v.half() for k, v in random_model_tensors(TINY_MODEL, seed=1).items()}, path)
    model = load_model("gazelle_tiny")
    assert model.config == TINY_MODEL
    assert model.weights_sha256 == {"checkpoint": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_the_shipped_gazelle_tiny_is_small_and_describes_itself() -> None:
    assert loading.TINY_WEIGHTS.stat().st_size < 6_000_000
    assert config_from_metadata(read_metadata(loading.TINY_WEIGHTS), path="") == TINY_MODEL
    assert load_model("gazelle_tiny", offline=True).has_inout
