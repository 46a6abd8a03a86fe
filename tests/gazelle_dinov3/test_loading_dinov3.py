"""gazelle-dinov3 by name and file: what is refused with which words, and what the loaded model does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from gazetools.gazemodels import load_gaze_model, model_names, registry
from gazetools.gazemodels.families import family_of
from gazetools.gazemodels.gazelle.checkpoints import WeightFile
from gazetools.gazemodels.gazelle_dinov3.hgnet import ConvUnit, Hgnet
from gazetools.gazemodels.gazelle_dinov3.reading_dinov3 import build_dinov3
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import DINOV3_METADATA_KEY, DINOV3_MODELS, Dinov3GazeConfig
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from tests.helpers.random_checkpoints import random_model_tensors, tiny_config
from tests.helpers.random_dinov3 import (
    TINY_CNN,
    TINY_VIT,
    Tensors,
    random_dinov3_tensors,
    write_training_checkpoint,
)

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
BOXES = [[(0.1, 0.1, 0.4, 0.4), None], [(0.5, 0.2, 0.9, 0.8)]]


@pytest.fixture(params=[TINY_VIT, TINY_CNN], ids=["vit", "cnn"])
def config(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Dinov3GazeConfig:
    """A tiny model that is a released one in the test, with its twin without in/out."""
    config: Dinov3GazeConfig = request.param
    monkeypatch.setitem(DINOV3_MODELS, "gazelle_dinov3_test_inout", config)
    monkeypatch.setitem(DINOV3_MODELS, "gazelle_dinov3_test", config.model_copy(update={"inout": False}))
    for name in ("gazelle_dinov3_test_inout", "gazelle_dinov3_test"):
        facts = GAZE_MODELS["gazelle_dinov3_vits16"].model_copy(update={"name": name})
        monkeypatch.setitem(GAZE_MODELS, name, facts)
    return config


@pytest.fixture
def tensors(config: Dinov3GazeConfig) -> Tensors:
    return random_dinov3_tensors(config, 1)


def test_a_training_checkpoint_a_plain_file_and_a_self_describing_one_agree(
    config: Dinov3GazeConfig, tensors: Tensors, tmp_path: Path
) -> None:
    write_training_checkpoint(tmp_path / "run.pt", tensors)
    torch.save(tensors, tmp_path / "plain.pt")
    save_file(tensors, tmp_path / "own.safetensors", metadata=config.to_metadata())
    models = [
        load_gaze_model("gazelle_dinov3_test_inout", checkpoint=str(tmp_path / n)) for n in ("run.pt", "plain.pt")
    ]
    models.append(load_gaze_model(str(tmp_path / "own.safetensors")))
    outputs = [model(FRAMES, BOXES) for model in models]
    for out in outputs:
        assert out.heatmap.shape == (3, 7, 7) and out.inout is not None
        torch.testing.assert_close(out.heatmap, outputs[0].heatmap, atol=1e-6, rtol=0)
        torch.testing.assert_close(out.inout, outputs[0].inout, atol=1e-6, rtol=0)
    assert outputs[0].heatmap.std() > 0.01, "the numbers depend on something"
    assert (outputs[0].heatmap[0] - outputs[0].heatmap[1]).abs().max() > 1e-3, "the head prompt matters"
    assert models[0].weights_sha256.keys() == {"checkpoint"}
    assert registry.heatmap_shape_of(str(tmp_path / "own.safetensors")) == (7, 7)


def test_input_is_normalised_for_transformers_only(config: Dinov3GazeConfig, tensors: Tensors, tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "x.pt")
    model = load_gaze_model("gazelle_dinov3_test_inout", checkpoint=str(tmp_path / "x.pt"))
    black = model.preprocess(np.zeros((1, 20, 30, 3), np.uint8))
    expected = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225] if config.backbone.vit else [0.0, 0.0, 0.0]
    assert black.mean(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_dtypes(config: Dinov3GazeConfig, tensors: Tensors, tmp_path: Path, dtype: str) -> None:
    torch.save(tensors, tmp_path / "x.pt")
    name, path = "gazelle_dinov3_test_inout", str(tmp_path / "x.pt")
    exact = load_gaze_model(name, checkpoint=path)(FRAMES, BOXES)
    out = load_gaze_model(name, checkpoint=path, dtype=dtype)(FRAMES, BOXES)
    assert out.heatmap.dtype == torch.float32
    assert (out.heatmap - exact.heatmap).abs().max() < (0.1 if dtype == "bfloat16" else 1e-9)


def test_keys_bias_is_without_effect_even_where_it_is_nan(tmp_path: Path) -> None:
    tensors = random_dinov3_tensors(TINY_VIT, 1)
    spoiled = {key: value.clone() for key, value in tensors.items()}
    for key, value in spoiled.items():
        if key.endswith("attn.qkv.bias") and key.startswith("backbone"):
            value[len(value) // 3 : 2 * len(value) // 3] = float("nan")
    images = torch.rand(1, 3, 64, 64)
    first, second = (
        build_dinov3(TINY_VIT, WeightFile(tmp_path, each))[0].features(images) for each in (tensors, spoiled)
    )
    assert torch.equal(first, second)


def test_stored_periods_are_used(tmp_path: Path) -> None:
    tensors = random_dinov3_tensors(TINY_VIT, 1)
    other = tensors | {"backbone.dinov3.rope_embed.periods": tensors["backbone.dinov3.rope_embed.periods"] * 1.5}
    images = torch.rand(1, 3, 64, 64)
    first, second = (
        build_dinov3(TINY_VIT, WeightFile(tmp_path, each))[0].features(images) for each in (tensors, other)
    )
    assert (first - second).abs().max() > 1e-3


def test_hgnet_against_a_plain_computation(tmp_path: Path) -> None:
    """BatchNorm, activation and affine map written out here, nothing folded, on every kind of block."""
    tensors = random_dinov3_tensors(TINY_CNN, 2)
    sd = {key.removeprefix("backbone."): value.double() for key, value in tensors.items()}

    def unit(x: torch.Tensor, name: str, *, stride: int = 1, act: bool = True) -> torch.Tensor:
        weight = sd[f"{name}.conv.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2, groups=groups)
        mean, var = (sd[f"{name}.bn.running_{n}"].view(1, -1, 1, 1) for n in ("mean", "var"))
        x = (x - mean) / torch.sqrt(var + 1e-5)
        x = x * sd[f"{name}.bn.weight"].view(1, -1, 1, 1) + sd[f"{name}.bn.bias"].view(1, -1, 1, 1)
        return x.clamp_min(0) * sd[f"{name}.lab.scale"] + sd[f"{name}.lab.bias"] if act else x

    def edge(x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, 1, 0, 1))

    images = torch.rand(2, 3, 64, 96)
    x = edge(unit(images.double(), "stem.stem1", stride=2))
    path = unit(edge(unit(x, "stem.stem2a")), "stem.stem2b")
    x = unit(unit(torch.cat((F.max_pool2d(x, 2, 1), path), 1), "stem.stem3", stride=2), "stem.stem4")
    for stage, (blocks, light) in enumerate([(1, False), (1, False), (2, True)]):
        if stage:
            x = unit(x, f"stages.{stage}.downsample", stride=2, act=False)
        for block in range(blocks):
            name, joined = f"stages.{stage}.blocks.{block}", [x]
            for layer in range(3):
                each = f"{name}.layers.{layer}"
                last = joined[-1]
                last = unit(last, f"{each}.conv1", act=False) if light else last
                joined.append(unit(last, f"{each}.conv2" if light else each))
            mixed = unit(unit(torch.cat(joined, 1), f"{name}.aggregation.0"), f"{name}.aggregation.1")
            x = mixed + x if block else mixed
    net = build_dinov3(TINY_CNN, WeightFile(tmp_path, tensors))[0]
    assert isinstance(net, Hgnet) and len(net.stages) == 3, "the fourth stage is not kept"
    assert not any(isinstance(m.bn, torch.nn.BatchNorm2d) for m in net.modules() if isinstance(m, ConvUnit)), "folded"
    features = net.features(images)
    assert features.shape == (2, 16, 4, 6)
    torch.testing.assert_close(features.double(), x, atol=1e-4 * float(x.abs().max()), rtol=0)


def _without_backbone(tensors: Tensors) -> Tensors:
    return {key: value for key, value in tensors.items() if not key.startswith("backbone.")}


def test_files_that_do_not_fit(config: Dinov3GazeConfig, tensors: Tensors, tmp_path: Path) -> None:
    gazelle = random_model_tensors(tiny_config(), 0)
    key = next(key for key in tensors if key.startswith("backbone.") and key.endswith("weight"))
    cases = [
        ("Gaze-LLE whole", gazelle, r"holds weights of Gaze-LLE.*Name a model of Gaze-LLE: gazelle_dinov2_"),
        ("Gaze-LLE decoder", _without_backbone(gazelle), "holds weights of Gaze-LLE"),
        ("PaGE", {"scene_branch_backbone.model.norm.weight": torch.ones(4)}, "holds weights of PaGE"),
        ("no backbone", _without_backbone(tensors), "decoder without its backbone"),
        (
            "no inout",
            {k: v for k, v in tensors.items() if "inout" not in k},
            "shapes of gazelle_dinov3_test.*--model gazelle_dinov3_test",
        ),
        ("other size", random_dinov3_tensors(DINOV3_MODELS["gazelle_hgnetv2_atto"], 0), "--model gazelle_hgnetv2_atto"),
        ("missing", {k: v for k, v in tensors.items() if k != key}, f"1 missing: {key}"),
        ("unexpected", tensors | {"more": torch.ones(1)}, "1 unexpected: more"),
        ("mis-shaped", tensors | {key: torch.ones(3)}, "1 mis-shaped"),
        ("integers", tensors | {key: tensors[key].long()}, "not floating"),
        ("not finite", tensors | {key: tensors[key] * float("nan")}, "1 with NaN or infinity"),
        ("of no model", {"a": torch.ones(1)}, "shapes of no released model"),
    ]
    for reason, content, words in cases:
        torch.save({"model": content, "epoch": 1}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError) as caught:
            load_gaze_model("gazelle_dinov3_test_inout", checkpoint=str(tmp_path / "x.pt"))
        said = f"{caught.value} {caught.value.hint}"
        assert caught.value.exit_code == 2
        assert re.search(words, said, re.DOTALL), (reason, said)


def test_gaze_lle_refuses_this_family_before_any_download(
    config: Dinov3GazeConfig, tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    for content in (tensors, _without_backbone(tensors)):
        write_training_checkpoint(tmp_path / "x.pt", content)
        with pytest.raises(CheckpointError, match="holds weights of gazelle-dinov3") as caught:
            load_gaze_model("gazelle_dinov2_vitb14_inout", checkpoint=str(tmp_path / "x.pt"))
        assert "gazelle_hgnetv2_*" in str(caught.value.hint)


def test_families_are_told_apart_by_names_and_heads() -> None:
    one, two = torch.zeros(1, 256), torch.zeros(128, 256)
    rows = [
        ({"backbone.dinov3.cls_token": one}, "gazelle-dinov3"),
        ({"backbone.dinov3._model.cls_token": one}, "gazelle-dinov3"),
        ({"backbone.stem.stem1.conv.weight": one}, "gazelle-dinov3"),
        ({"backbone.model.cls_token": one, "inout_head.0.weight": one}, "Gaze-LLE"),
        ({"inout_head.0.weight": two, "inout_head.3.weight": one}, "Gaze-LLE"),
        ({"inout_head.0.weight": one}, "gazelle-dinov3"),
        ({"linear.weight": two}, None),
    ]
    for tensors, family in rows:
        assert family_of(tensors) == family, tensors.keys()


def test_without_weights_the_message_says_where_to_get_them() -> None:
    for name, file in [
        ("gazelle_dinov3_vits16_inout", "gazelle_dinov3_vits16_inout.pt"),
        ("gazelle_hgnetv2_n", "gazelle_hgnetv2_n_distill.pt"),
    ]:
        with pytest.raises(EnvironmentLacksError) as caught:
            load_gaze_model(name)
        assert caught.value.exit_code == 3
        assert f"releases/download/weights/{file}" in str(caught.value.hint)
        assert f"--checkpoint {file}" in str(caught.value.hint)
        assert "not fetched by gazetools" in str(caught.value)


def test_options_that_make_no_sense(config: Dinov3GazeConfig, tensors: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(tensors, path, metadata=config.to_metadata())
    with pytest.raises(UsageError, match="backbone in its own file"):
        load_gaze_model("gazelle_dinov3_test_inout", checkpoint=str(path), backbone="b.pth")
    with pytest.raises(UsageError, match="own weights"):
        load_gaze_model(str(path), checkpoint=str(path))
    with pytest.raises(UsageError, match="upstream runs Gaze-LLE only"):
        load_gaze_model("gazelle_dinov3_test_inout", checkpoint=str(path), backend="upstream")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"in_size": [60, 64]}, "multiples of 16"),
        ({"dims": 16}, "unknown key 'dims'; did you mean 'dim'"),
        ({"backbone": {"name": "none"}}, "exactly one of vit and hgnet"),
        ({"num_heads": 5}, "no multiple of num_heads"),
    ],
)
def test_descriptions_that_are_wrong(change: dict[str, object], words: str, tmp_path: Path) -> None:
    text = json.dumps(TINY_VIT.model_dump(mode="json") | change)
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors", metadata={DINOV3_METADATA_KEY: text})
    with pytest.raises(CheckpointError, match=words):
        load_gaze_model(str(tmp_path / "x.safetensors"))


def test_every_name_has_its_shape_without_loading() -> None:
    assert set(DINOV3_MODELS) <= set(model_names())
    assert registry.heatmap_shape_of("gazelle_hgnetv2_atto_inout") == (32, 32)
    assert registry.heatmap_shape_of("gazelle_hgnetv2_femto") == (48, 48)
    assert registry.heatmap_shape_of("gazelle_dinov3_vitb16") == (64, 64)
