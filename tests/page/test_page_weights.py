"""Files of PaGE: every published layout gives one model, everything else is refused with its own message."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gazetools.gazemodels import load_gaze_model
from gazetools.gazemodels.page.config import PAGE_MODELS, PageConfig
from gazetools.gazemodels.page.loading import load_page
from gazetools.gazemodels.page.model import PageModel
from gazetools.gazemodels.registry import heatmap_shape_of
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, GazetoolsError, UsageError
from tests.helpers.page_weights import TINY_PAGE, page_tensors, write_page_file, write_page_shards

GATED = TINY_PAGE.model_copy(
    update={"tower": TINY_PAGE.tower.model_copy(update={"use_gated_mlp": True, "hidden_act": "silu"})}
)
Tensors = dict[str, torch.Tensor]


def answer(model: PageModel) -> torch.Tensor:
    frame = torch.arange(64 * 64 * 3).reshape(1, 64, 64, 3).remainder(251).to(torch.uint8)
    return model(frame, [[(0.1, 0.1, 0.6, 0.5)]]).heatmap


def renamed(tensors: Tensors, layout: str) -> Tensors:
    replacement = {
        "hub": (".model.", ".model."),
        "repository": ("_branch_backbone.model.", "_branch_backbone.backbone.model."),
        "flat": ("_branch_backbone.model.model.layer.", "_branch_backbone.model.layer."),
    }[layout]
    return {key.replace(*replacement): value for key, value in tensors.items()}


@pytest.mark.parametrize("layout", ["hub", "repository", "flat"])
def test_three_layouts(page: PageModel, tmp_path: Path, layout: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(renamed(page_tensors(TINY_PAGE), layout), path, TINY_PAGE.to_metadata())
    assert torch.equal(answer(load_page(str(path))), answer(page))


def test_shards_and_whole_folders(page: PageModel, tmp_path: Path) -> None:
    shards = load_gaze_model(str(write_page_shards(tmp_path / "shards", TINY_PAGE)))
    assert isinstance(shards, PageModel)
    assert torch.equal(answer(shards), answer(page))
    (tmp_path / "whole").mkdir()
    write_page_file(tmp_path / "whole" / "model.safetensors", TINY_PAGE)
    whole = load_gaze_model(str(tmp_path / "whole"))
    assert torch.equal(answer(whole), answer(page))  # type: ignore[arg-type]
    assert shards.weights_sha256 != whole.weights_sha256


def test_a_path_is_recognised_by_its_keys(page_file: Path, tiny_model: Path) -> None:
    assert isinstance(load_gaze_model(str(page_file)), PageModel)
    assert load_gaze_model(str(tiny_model)).name == "gazelle_random_tiny_inout"
    assert heatmap_shape_of(str(page_file)) == (16, 16)


def _official(name: str) -> Tensors:
    """Stand-ins with the names of an official size: enough of a file to be told apart, not to be loaded."""
    width = PAGE_MODELS[name].tower.hidden_size
    gate = {"model.layer.0.mlp.gate_proj.weight": torch.zeros(1)} if PAGE_MODELS[name].tower.use_gated_mlp else {}
    tower = {"embeddings.cls_token": torch.zeros(1, 1, width), **gate}
    sides = [f"{side}_branch_backbone.model." for side in ("scene", "head")]
    return {side + key: value.clone() for side in sides for key, value in tower.items()}


@pytest.mark.parametrize("name", list(PAGE_MODELS))
def test_the_size_is_told_by_width_and_gate(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file(_official(name), path)
    with pytest.raises(CheckpointError, match=f"do not fit {name}"):
        load_page(str(path))


@pytest.mark.slow
def test_an_official_file_by_name_and_by_path(tmp_path: Path) -> None:
    path = write_page_file(tmp_path / "page.safetensors", PAGE_MODELS["page_vits"], describe=False)
    by_path, by_name = load_gaze_model(str(path)), load_gaze_model("page_vits", checkpoint=str(path))
    assert (by_path.name, by_name.name) == ("page_vits", "page_vits")
    frame, boxes = torch.zeros(1, 90, 160, 3, dtype=torch.uint8), [[(0.4, 0.2, 0.5, 0.4), (0.1, 0.2, 0.2, 0.4)]]
    out = by_name(frame, boxes)
    assert out.heatmap.shape == (2, 64, 64)
    assert torch.equal(by_path(frame, boxes).heatmap, out.heatmap)


@pytest.mark.parametrize(
    ("content", "same_as"),
    [
        ({}, "silu"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"backbone_config": {"hidden_act": "gelu"}}, "gelu"),
        ({"hidden_act": "silu", "head": {"hidden_act": "silu"}}, "silu"),
    ],
    ids=["does not say", "at the top", "in a part", "in both towers"],
)
def test_activation_comes_from_config_json(tmp_path: Path, content: dict, same_as: str) -> None:  # type: ignore[type-arg]
    path = write_page_file(tmp_path / "model.safetensors", GATED)
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert load_page(str(path)).config.tower.hidden_act == same_as
    assert load_page(str(tmp_path)).settings["tower"]["hidden_act"] == same_as
    plain = load_page(str(write_page_file(tmp_path / "other.safetensors", GATED, seed=0)))
    assert plain.config.tower.hidden_act == same_as, "the same config.json"


def test_a_gated_tower_computes_with_its_activation(tmp_path: Path) -> None:
    path = write_page_file(tmp_path / "model.safetensors", GATED)
    silu = answer(load_page(str(path)))
    (tmp_path / "config.json").write_text('{"hidden_act": "gelu"}')
    assert (answer(load_page(str(path))) - silu).abs().max() > 1e-4


def _without(part: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for key in [key for key in tensors if part in key]:
            del tensors[key]

    return change


def _with(key: str, tensor: torch.Tensor) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({key: tensor})


def _mixed(tensors: Tensors) -> None:
    tensors["head_branch_backbone.model.model.layer.0.mlp.gate_proj.weight"] = torch.zeros(64, 32)


BAD = [
    (
        _without("scene_branch_backbone.model.norm.weight"),
        "missing.*scene_branch_backbone.model.norm.weight",
        "no norm",
    ),
    (_without("model.layer.1."), "34 missing", "a layer fewer"),
    (_without("_branch_backbone."), "decoder alone", "frozen towers were not saved"),
    (_with("extra.weight", torch.zeros(1)), "1 unexpected: extra.weight", "a key too many"),
    (_with("head_proj.1.bias", torch.zeros(3)), r"head_proj.1.bias is \[3\], not \[32\]", "another shape"),
    (_with("head_proj.1.bias", torch.full((32,), torch.nan)), "NaN or infinity: head_proj.1.bias", "NaN"),
    (_with("scene_branch_backbone.backbone.model.norm.weight", torch.zeros(32)), "twice", "two layouts in one file"),
]


@pytest.mark.parametrize(("change", "words", "why"), BAD, ids=[why for *_, why in BAD])
def test_strict_keys(tmp_path: Path, change: Callable[[Tensors], None], words: str, why: str) -> None:
    tensors = page_tensors(TINY_PAGE)
    change(tensors)
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path, TINY_PAGE.to_metadata())
    with pytest.raises(CheckpointError, match=words):
        load_page(str(path))


class _Code:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, ("ran",)


def _cases(folder: Path, tiny_gazelle: Path) -> dict[str, tuple[str, dict[str, str], str]]:
    """Case -> (name or path, options, words of the message)."""
    page_s = folder / "s.safetensors"
    save_file({**_official("page_vits"), "heatmap_head.0.weight": torch.zeros(1)}, page_s)  # Gaze-LLE has it too
    mixed = _official("page_vits")
    _mixed(mixed)
    save_file(mixed, folder / "mixed.safetensors")
    save_file({k: v[..., :100].contiguous() for k, v in _official("page_vits").items()}, folder / "odd.safetensors")
    shards = write_page_shards(folder / "shards", TINY_PAGE)
    (shards / "model-00002-of-00003.safetensors").unlink()
    torch.save({**page_tensors(TINY_PAGE), "hook": _Code()}, folder / "code.pt")
    wide = TINY_PAGE.model_dump() | {"scene_in_size": (64, 96)}
    save_file(page_tensors(TINY_PAGE), folder / "wide.safetensors", {"gazetools.page": json.dumps(wide)})
    return {
        "a Gaze-LLE file as PaGE": (
            "page_vits", {"checkpoint": str(tiny_gazelle)}, "no weights of PaGE.*a Gaze-LLE decoder"),
        "PaGE as Gaze-LLE": (
            "gazelle_dinov2_vitb14_inout", {"checkpoint": str(page_s)}, "holds weights of PaGE"),
        "another size": ("page_vitb", {"checkpoint": str(page_s)}, "has the weights of page_vits, not of page_vitb"),
        "mixed towers": (str(folder / "mixed.safetensors"), {}, "mixes towers.*not gated.*gated"),
        "a width of no size": (str(folder / "odd.safetensors"), {}, "no PaGE size is known"),
        "missing shard": (str(shards), {}, "1 of 3 are not there: model-00002-of-00003"),
        "code in a .pt": ("page_vits", {"checkpoint": str(folder / "code.pt")}, "cannot be read as .pt.*mkdir"),
        "not square": (str(folder / "wide.safetensors"), {}, "scene_in_size.*64, 96.*not square"),
        "a backbone": (str(page_s), {"backbone": "x.pth"}, "both towers in its own file"),
        "path and checkpoint": (str(page_s), {"checkpoint": str(page_s)}, "its own weights"),
        "misspelt": ("page_vitss", {}, "did you mean page_vits"),
        "no such file": ("page_vits", {"checkpoint": str(folder / "no.safetensors")}, "does not exist"),
        "a folder without weights": ("page_vits", {"checkpoint": str(folder)}, "neither model.safetensors nor"),
    }  # fmt: skip


CASES = [
    "a Gaze-LLE file as PaGE", "PaGE as Gaze-LLE", "another size", "mixed towers", "a width of no size",
    "missing shard", "code in a .pt", "not square", "a backbone", "path and checkpoint", "misspelt", "no such file",
    "a folder without weights",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_weights_have_their_own_message(
    case: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, options, words = _cases(tmp_path, tiny_model)[case]
    with pytest.raises(GazetoolsError, match=words) as caught:
        load_gaze_model(name, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, UsageError)
    assert not (tmp_path / "ran").exists(), "nothing in a .pt is run"


def test_absent_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentLacksError, match="DINOv3 License") as caught:
        load_gaze_model("page_vits")
    assert "hf download Octopus1/page-vits --local-dir page-vits" in caught.value.hint
    assert "--checkpoint page-vits" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_description_must_fit(tmp_path: Path) -> None:
    """Fewer layers than described are missing tensors: depth never comes from what happens to be there."""
    path = write_page_file(tmp_path / "a.safetensors", TINY_PAGE)
    deeper = PageConfig.model_validate(
        {**TINY_PAGE.model_dump(), "tower": {**TINY_PAGE.tower.model_dump(), "num_hidden_layers": 3}}
    )
    save_file(load_file(path), path, deeper.to_metadata())
    with pytest.raises(CheckpointError, match=r"missing: .*layer\.2"):
        load_page(str(path))
