"""Weight files: every public format loads to the same model, and every misfit is listed in one error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gazetools.gazemodels.gazelle.checkpoints import WeightFile
from gazetools.gazemodels.gazelle.config import RELEASED_MODELS
from gazetools.gazemodels.gazelle.decoder import decoder_shapes
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.matching import decoder_and_backbone, describe_tensors
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError
from tests.helpers.random_checkpoints import random_model_tensors, tiny_config
from tests.helpers.weight_files import (
    TINY,
    Tensors,
    decoder_of,
    edit,
    heatmaps,
    hub_of,
    transformers_of,
    write_folder,
    write_pt,
    write_st,
)

pytestmark = pytest.mark.usefixtures("a_released_tiny_model")


FORMS: dict[str, Callable[[Path, Tensors], dict[str, Path]]] = {
    "whole .safetensors": lambda d, w: {"checkpoint": write_st(d / "w.safetensors", w)},
    "whole .pt": lambda d, w: {"checkpoint": write_pt(d / "w.pt", w)},
    "decoder .pt + hub .pth": lambda d, w: {
        "checkpoint": write_pt(d / "d.pt", decoder_of(w)),
        "backbone": write_pt(d / "h.pth", hub_of(w)),
    },
    "decoder .safetensors + hub .safetensors without mask token": lambda d, w: {
        "checkpoint": write_st(d / "d.safetensors", decoder_of(w)),
        "backbone": write_st(d / "h.safetensors", {k: v for k, v in hub_of(w).items() if k != "mask_token"}),
    },
    "decoder .pt + folder of transformers": lambda d, w: {
        "checkpoint": write_pt(d / "d.pt", decoder_of(w)),
        "backbone": write_folder(d / "hf", w),
    },
    "decoder .pt + folder with today's names in shards": lambda d, w: {
        "checkpoint": write_pt(d / "d.pt", decoder_of(w)),
        "backbone": write_folder(d / "hf", w, shards=3, nested=False),
    },
    "decoder .pt + transformers .safetensors": lambda d, w: {
        "checkpoint": write_pt(d / "d.pt", decoder_of(w)),
        "backbone": write_st(d / "m.safetensors", transformers_of(w, nested=True)),
    },
    "whole .pt + the same backbone": lambda d, w: {
        "checkpoint": write_pt(d / "w.pt", w),
        "backbone": write_pt(d / "h.pth", hub_of(w)),
    },
    "pre-zip .pt": lambda d, w: {"checkpoint": _legacy(d / "w.pt", w)},
}


def _legacy(path: Path, tensors: Tensors) -> Path:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("name", FORMS)
def test_every_format_gives_the_same_model(tmp_path: Path, whole: Tensors, name: str) -> None:
    reference = heatmaps(checkpoint=write_st(tmp_path / "reference.safetensors", whole))
    files = FORMS[name](tmp_path, whole)
    torch.testing.assert_close(heatmaps(**files), reference, atol=0, rtol=0)
    sums = load_model("gazelle_test", offline=True, **files).weights_sha256
    assert set(sums) == set(files) and all(len(value) == 64 for value in sums.values())


def test_half_precision_files_are_taken(tmp_path: Path, whole: Tensors) -> None:
    half = write_st(tmp_path / "half.safetensors", {k: v.to(torch.float16) for k, v in whole.items()})
    full = write_st(tmp_path / "full.safetensors", whole)
    torch.testing.assert_close(heatmaps(checkpoint=half), heatmaps(checkpoint=full), atol=0.02, rtol=0)


def test_all_misfits_are_in_one_error(tmp_path: Path, whole: Tensors) -> None:
    bad_decoder = edit(
        decoder_of(whole),
        linear__bias=None,
        pos_embed=None,
        surplus=torch.zeros(2),
        head_token__weight=torch.zeros(1, 7),
        inout_token__weight=torch.full((1, 32), torch.nan),
        transformer__0__norm1__bias=torch.zeros(32, dtype=torch.int64),
    )
    bad_hub = edit(hub_of(whole), norm__bias=None, register_tokens=torch.zeros(1, 4, 48), cls_token=torch.zeros(1, 48))
    with pytest.raises(CheckpointError) as caught:
        heatmaps(checkpoint=write_pt(tmp_path / "d.pt", bad_decoder), backbone=write_pt(tmp_path / "h.pth", bad_hub))
    text = str(caught.value)
    for words in (
        "3 missing: pos_embed, linear.bias, norm.bias",
        "2 unexpected: surplus, register_tokens",
        "head_token.weight is [1, 7], not [1, 32]",
        "cls_token is [1, 48], not [1, 1, 48]",
        "transformer.0.norm1.bias is int64",
        "1 with NaN or infinity: inout_token.weight",
        "d.pt",
        "h.pth",
    ):
        assert words in text
    assert caught.value.exit_code == 2
    assert caught.value.details["missing"] == ["pos_embed", "linear.bias", "norm.bias"]


def test_long_lists_are_cut_with_their_count(tmp_path: Path, whole: Tensors) -> None:
    surplus = {f"extra.{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(CheckpointError, match=r"50 unexpected: extra\.0, .*extra\.26 and 30 more"):
        heatmaps(checkpoint=write_st(tmp_path / "w.safetensors", whole | surplus))


def test_a_released_file_of_another_model_is_recognised(tmp_path: Path, whole: Tensors) -> None:
    other = {
        key: torch.zeros(shape) for key, shape in decoder_shapes(RELEASED_MODELS["gazelle_dinov2_vitl14_inout"]).items()
    }
    assert describe_tensors(other) == "decoder of gazelle_dinov2_vitl14_inout"
    files = {"checkpoint": write_pt(tmp_path / "l.pt", other), "backbone": write_pt(tmp_path / "h.pth", hub_of(whole))}
    with pytest.raises(CheckpointError, match=r"decoder of gazelle_dinov2_vitl14_inout.*48 channels, 2 layers"):
        heatmaps(**files)


def test_swapped_files_are_recognised(tmp_path: Path, whole: Tensors) -> None:
    decoder, hub = write_pt(tmp_path / "d.pt", decoder_of(whole)), write_pt(tmp_path / "h.pth", hub_of(whole))
    with pytest.raises(CheckpointError, match=r"h\.pth \(a ViT in hub layout.*d\.pt \(decoder of gazelle_test"):
        heatmaps(checkpoint=hub, backbone=decoder)


def test_two_different_backbones_are_refused(tmp_path: Path, whole: Tensors) -> None:
    other = edit(hub_of(whole), norm__bias=torch.ones(48))
    with pytest.raises(CheckpointError, match=r"differs from .*h\.pth in 1 tensors: norm\.bias.*Leave out --backbone"):
        heatmaps(checkpoint=write_st(tmp_path / "w.safetensors", whole), backbone=write_pt(tmp_path / "h.pth", other))


def test_a_decoder_without_any_backbone_asks_for_one(tmp_path: Path, whole: Tensors) -> None:
    checkpoint = write_pt(tmp_path / "d.pt", decoder_of(whole))
    with pytest.raises(EnvironmentLacksError, match=r"(?s)backbone\.pth.*--backbone FILE"):
        load_model("gazelle_test", checkpoint=checkpoint, offline=True)
    alone = WeightFile(checkpoint, decoder_of(whole))
    with pytest.raises(CheckpointError, match="Add the weights of dinov2_random_tiny with --backbone"):
        decoder_and_backbone(TINY, alone, None)


def test_in_out_head_must_match_the_name(tmp_path: Path) -> None:
    without = random_model_tensors(tiny_config(inout=False), seed=0)
    with pytest.raises(CheckpointError, match=r"5 missing: inout_token\.weight, inout_head\.0\.weight"):
        heatmaps(checkpoint=write_st(tmp_path / "w.safetensors", without))


def test_another_in_size_needs_to_be_asked_for(tmp_path: Path) -> None:
    larger = write_st(tmp_path / "l.safetensors", random_model_tensors(tiny_config(in_size=(112, 84)), seed=0))
    with pytest.raises(CheckpointError, match=r"pos_embed is \[32, 8, 6\], not \[32, 4, 4\]"):
        heatmaps(checkpoint=larger)
    assert load_model("gazelle_test", checkpoint=larger, in_size=(56, 56), offline=True).grid == (4, 4)


def test_a_changed_position_embedding_cannot_be_recomputed(tmp_path: Path, whole: Tensors) -> None:
    changed = edit(whole, pos_embed=whole["pos_embed"] + 0.01)
    path = write_st(tmp_path / "w.safetensors", changed)
    assert heatmaps(checkpoint=path).shape == (2, 64, 64)  # at its own size it is used as it is, as upstream does
    with pytest.raises(CheckpointError, match=r"0\.01 away from the sine-cosine formula.*Leave in_size out"):
        load_model("gazelle_test", checkpoint=path, in_size=(112, 112), offline=True)


def test_loading_does_not_change_the_file(tmp_path: Path, whole: Tensors) -> None:
    path = write_st(tmp_path / "w.safetensors", whole)
    before = path.read_bytes()
    heatmaps(checkpoint=path)
    assert path.read_bytes() == before
    assert all(torch.equal(value, whole[key]) for key, value in load_file(path).items())
