"""Backbones as transformers saves them: its folders and names, those of other models, gaps, misfits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gazetools.gazemodels.gazelle.checkpoints import read_transformers_folder
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.schemas.errors import CheckpointError, DataFileError
from tests.helpers.random_checkpoints import random_model_tensors
from tests.helpers.weight_files import (
    TINY,
    Tensors,
    decoder_of,
    heatmaps,
    transformers_of,
    write_folder,
    write_pt,
    write_st,
)

pytestmark = pytest.mark.usefixtures("a_released_tiny_model")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 64}, "hidden_size is 64, not 48"),
        ({"model_type": "vit"}, "model_type is 'vit', not 'dinov2'"),
        ({"num_hidden_layers": 3, "num_attention_heads": 8}, "num_hidden_layers is 3, not 2; num_attention_heads is 8"),
        ({"use_swiglu_ffn": True}, "use_swiglu_ffn is True"),
    ],
)
def test_transformers_folders_of_other_models(
    tmp_path: Path, whole: Tensors, config: dict[str, object], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_transformers_folder(write_folder(tmp_path / "hf", whole, **config), TINY.backbone)


def test_transformers_folders_with_gaps(tmp_path: Path, whole: Tensors) -> None:
    folder = write_folder(tmp_path / "hf", whole)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has neither"):
        read_transformers_folder(folder, TINY.backbone)
    (folder / "config.json").unlink()
    with pytest.raises(DataFileError, match=r"config\.json"):
        read_transformers_folder(folder, TINY.backbone)


def test_transformers_misfits_have_the_files_own_names(tmp_path: Path, whole: Tensors) -> None:
    tensors = transformers_of(whole, nested=True)
    tensors.pop("encoder.layer.1.attention.attention.key.bias")
    tensors["encoder.layer.0.attention.attention.query.weight"] = torch.zeros(3, 3)
    files = {
        "checkpoint": write_pt(tmp_path / "d.pt", decoder_of(whole)),
        "backbone": write_st(tmp_path / "m.safetensors", tensors),
    }
    with pytest.raises(CheckpointError) as caught:
        heatmaps(**files)
    assert "1 missing: encoder.layer.1.attention.attention.key.bias" in str(caught.value)
    assert "encoder.layer.0.attention.attention.query.weight is [3, 3], not [48, 48]" in str(caught.value)


def test_transformers_own_saved_folder(tmp_path: Path) -> None:
    """A folder as the installed transformers writes it, so that names and config are really theirs."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    theirs = Dinov2Model(
        Dinov2Config(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=98, patch_size=14, mlp_ratio=4
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "hf")
    decoder = write_st(tmp_path / "d.safetensors", decoder_of(random_model_tensors(TINY, seed=0)))
    model = load_model("gazelle_test", checkpoint=decoder, backbone=tmp_path / "hf", in_size=(98, 98))
    images = torch.randn(2, 3, 98, 98)
    with torch.inference_mode():
        expected = theirs(images).last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, (7, 7))
    torch.testing.assert_close(model.encode(images), expected, atol=1e-5, rtol=0)
