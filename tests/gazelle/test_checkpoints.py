"""Weight files: every public format loads to the same model, and every misfit is listed in one error."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gazetools.gazelle import loading
from gazetools.gazelle.backbone import transformers_key_table
from gazetools.gazelle.checkpoints import WeightFile, load_tensors, read_metadata, read_transformers_folder
from gazetools.gazelle.config import (
    CONFIG_METADATA_KEY,
    RELEASED_MODELS,
    TINY_MODEL,
    BackboneConfig,
    GazelleConfig,
    config_from_metadata,
)
from gazetools.gazelle.decoder import decoder_shapes
from gazetools.gazelle.loading import load_model
from gazetools.gazelle.matching import BACKBONE_PREFIX, decoder_and_backbone, describe_tensors
from gazetools.gazelle.random_init import random_model_tensors, tiny_config, write_tiny_model
from gazetools.schemas.errors import CheckpointError, DataFileError, EnvironmentLacksError, UsageError

Tensors = dict[str, torch.Tensor]

TINY = tiny_config().model_copy(update={"name": "gazelle_test"})
BOXES = [[(0.1, 0.1, 0.5, 0.5), None]]


@pytest.fixture(autouse=True)
def a_released_tiny_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`gazelle_test` stands for a released name, so that the released formats can be tested with small files."""
    monkeypatch.setitem(RELEASED_MODELS, "gazelle_test", TINY)
    monkeypatch.setitem(loading.DECODER_URLS, "gazelle_test", "http://127.0.0.1:9/gazelle_test.pt")
    monkeypatch.setitem(loading.BACKBONE_URLS, TINY.backbone.name, "http://127.0.0.1:9/backbone.pth")
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def whole() -> Tensors:
    return random_model_tensors(TINY, seed=3)


def decoder_of(whole: Tensors) -> Tensors:
    return {key: value for key, value in whole.items() if not key.startswith("backbone.")}


def hub_of(whole: Tensors) -> Tensors:
    return {k.removeprefix(BACKBONE_PREFIX): v for k, v in whole.items() if k.startswith(BACKBONE_PREFIX)}


def transformers_of(whole: Tensors, *, nested: bool) -> Tensors:
    hub, table = hub_of(whole), transformers_key_table(TINY.backbone, nested_attention=nested)
    return {
        key: (hub[source] if third is None else hub[source].chunk(3)[third]).clone()
        for key, (source, third) in table.items()
    }


def write_pt(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def write_st(path: Path, tensors: Tensors) -> Path:
    save_file(tensors, path)
    return path


def write_folder(folder: Path, whole: Tensors, *, shards: int = 1, nested: bool = True, **config: object) -> Path:
    folder.mkdir()
    settings = {"model_type": "dinov2", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({**settings, "patch_size": 14, **config}))
    tensors = transformers_of(whole, nested=nested)
    if shards == 1:
        write_st(folder / "model.safetensors", tensors)
        return folder
    where = {key: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, key in enumerate(tensors)}
    for name in set(where.values()):
        write_st(folder / name, {k: v for k, v in tensors.items() if where[k] == name})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def heatmaps(**files: Path) -> torch.Tensor:
    images = np.random.default_rng(1).integers(0, 256, (1, 60, 80, 3), dtype=np.uint8)
    return load_model("gazelle_test", offline=True, **files)(images, BOXES).heatmap


FORMATS: dict[str, Callable[[Path, Tensors], dict[str, Path]]] = {
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


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_model(tmp_path: Path, whole: Tensors, name: str) -> None:
    reference = heatmaps(checkpoint=write_st(tmp_path / "reference.safetensors", whole))
    files = FORMATS[name](tmp_path, whole)
    torch.testing.assert_close(heatmaps(**files), reference, atol=0, rtol=0)
    sums = load_model("gazelle_test", offline=True, **files).weights_sha256
    assert set(sums) == set(files) and all(len(value) == 64 for value in sums.values())


def test_half_precision_files_are_taken(tmp_path: Path, whole: Tensors) -> None:
    half = write_st(tmp_path / "half.safetensors", {k: v.to(torch.float16) for k, v in whole.items()})
    full = write_st(tmp_path / "full.safetensors", whole)
    torch.testing.assert_close(heatmaps(checkpoint=half), heatmaps(checkpoint=full), atol=0.02, rtol=0)


def edit(tensors: Tensors, **changes: torch.Tensor | None) -> Tensors:
    """`tensors` with keys (their dots written __) replaced, or removed where None."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    edited = {key: value for key, value in tensors.items() if key not in named}
    return edited | {key: value for key, value in named.items() if value is not None}


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


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.pt", b"", "The file is empty"),
        ("empty.safetensors", b"", "The file is empty"),
        ("page.pt", b"<!DOCTYPE html><html>Not found</html>", "looks like an HTML"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        ("text.pth", b"hello, this is no checkpoint", "cannot be read as .pth"),
        ("weights.ckpt", b"", r"end in \.safetensors, \.pt or \.pth, not in '\.ckpt'"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_tensors(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files(tmp_path: Path, whole: Tensors, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    (write_pt if suffix == ".pt" else write_st)(path, whole)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(path)


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "code_ran"
    if zipped:
        write_pt(tmp_path / "evil.pt", {"linear.weight": _Attack(target)})
    else:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Attack(target), protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(tmp_path / "evil.pt")
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": {"a": torch.zeros(1)}, "epoch": 3}, r"entries model, epoch are no tensors.*content\['model'\]"),
        ([torch.zeros(1)], "it holds list"),
        ({}, "it holds nothing"),
    ],
)
def test_pickles_that_are_no_state_dict(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        load_tensors(write_pt(tmp_path / "x.pt", content))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model("gazelle_test", checkpoint=tmp_path / "no.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_model("gazelle_test", checkpoint=tmp_path)


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


def test_a_file_that_describes_itself(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.safetensors", seed=1)
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


@pytest.mark.skipif(not loading.TINY_WEIGHTS.exists(), reason="gazelle_tiny's weights are not trained yet")
def test_the_shipped_gazelle_tiny_is_small_and_describes_itself() -> None:
    assert loading.TINY_WEIGHTS.stat().st_size < 6_000_000
    assert config_from_metadata(read_metadata(loading.TINY_WEIGHTS), path="") == TINY_MODEL
    assert load_model("gazelle_tiny", offline=True).has_inout


def test_loading_does_not_change_the_file(tmp_path: Path, whole: Tensors) -> None:
    path = write_st(tmp_path / "w.safetensors", whole)
    before = path.read_bytes()
    heatmaps(checkpoint=path)
    assert path.read_bytes() == before
    assert all(torch.equal(value, whole[key]) for key, value in load_file(path).items())
