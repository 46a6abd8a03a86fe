"""V-JEPA 2 from transformers' folders and hub names: same outputs, sizes from config.json, errors that tell the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import VJEPA2Config, VJEPA2Model

from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.trainer import train
from gazetools.trainer.folder.checkpoints import load_checkpoint
from gazetools.trainer.models.transformers_folder import with_checkpoint_sizes
from gazetools.trainer.plan.config import load_config
from tests.helpers.command_line import run_cli
from tests.helpers.models import build_model

SIDE, FRAMES, PATCH = 32, 4, 8


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VJEPA2Model]:
    """A tiny transformers model with random weights (mask tokens too, which start as zeros) and its folder."""
    torch.manual_seed(3)
    config = VJEPA2Config(
        patch_size=PATCH, crop_size=SIDE, frames_per_clip=FRAMES, hidden_size=48, num_hidden_layers=3,
        num_attention_heads=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=2,
        pred_num_mask_tokens=3, pred_zero_init_mask_tokens=False,
    )  # fmt: skip
    model = VJEPA2Model(config).eval()
    with torch.no_grad():
        model.predictor.embeddings.mask_tokens.normal_(std=0.5)
        for parameter in model.parameters():  # biases and norms away from their trivial start
            parameter.add_(0.02 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture
def wanted(tiny: dict[str, Any], upstream: tuple[Path, VJEPA2Model]) -> dict[str, Any]:
    """The tiny config without any size of encoder or predictor."""
    tiny["experiment"]["data"]["use_heatmap"] = False
    tiny["model_kwargs"] = {
        "checkpoint": str(upstream[0]),
        "pretrain_kwargs": {"predictor": {"num_frames": 16}},
    }
    tiny["experiment"]["optimization"]["train"] = "probe"
    return tiny


def test_outputs_equal_those_of_transformers(wanted: dict[str, Any], upstream: tuple[Path, VJEPA2Model]) -> None:
    built = build_model(with_checkpoint_sizes(load_config(wanted)))
    encoder, predictor = built.wrapper.encoder, built.wrapper.predictor
    assert predictor is not None and not built.random_weights
    video = torch.randn(2, FRAMES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    cells = (SIDE // PATCH) ** 2
    context, target = torch.arange(cells).expand(2, -1), torch.arange(cells, 2 * cells).expand(2, -1)
    with torch.no_grad():
        theirs = upstream[1](video, context_mask=[context], target_mask=[target])
        ours = encoder(video.transpose(1, 2))
        predicted = predictor.eval()(ours[:, :cells], context, target)
    assert torch.allclose(ours, theirs.last_hidden_state, atol=1e-5, rtol=0)
    # Encoder tokens have unit variance: the tolerance is not the size of what is compared.
    assert float(ours.std()) > 0.5 and float(predicted.std()) > 0.05
    expected = theirs.predictor_output.last_hidden_state
    assert torch.allclose(predicted, expected, atol=1e-5, rtol=0)


def test_sizes_come_from_the_folder_and_a_run_trains_with_them(wanted: dict[str, Any]) -> None:
    result = train(wanted, overrides=["experiment.optimization.num_epochs=1"])
    assert result.status == "done" and not result.random_weights
    sizes = {key: result.model["encoder"][key] for key in ("embed_dim", "depth", "num_heads")}
    assert sizes == {"embed_dim": 48, "depth": 3, "num_heads": 2}
    assert result.config["model_kwargs"]["pretrain_kwargs"]["predictor"]["num_mask_tokens"] == 3


def test_a_known_size_gets_its_name(upstream: tuple[Path, VJEPA2Model], wanted: dict[str, Any], tmp_path: Path) -> None:
    facts = json.loads((upstream[0] / "config.json").read_text())
    facts |= {"hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    wanted["model_kwargs"]["checkpoint"] = str(tmp_path)
    found = with_checkpoint_sizes(load_config(wanted)).model_kwargs.pretrain_kwargs.encoder
    assert found.model_name == "vit_giant_xformers" and found.depth == 40


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"depth": 2}, "encoder.depth is 2, the checkpoint's is 3"),
        ({"model_name": "vit_tiny"}, "encoder.embed_dim is 192, the checkpoint's is 48"),
    ],
)
def test_sizes_that_contradict_the_folder_are_named(
    wanted: dict[str, Any], encoder: dict[str, Any], message: str
) -> None:
    wanted["model_kwargs"]["pretrain_kwargs"]["encoder"] = encoder
    with pytest.raises(UsageError, match=message):
        train(wanted)


def test_shards_and_a_classifier_around_the_model_are_read_alike(
    upstream: tuple[Path, VJEPA2Model], wanted: dict[str, Any], tmp_path: Path
) -> None:
    weights = load_file(upstream[0] / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({f"vjepa2.{key}": weights[key] for key in keys}, tmp_path / file)
    save_file({"classifier.weight": torch.zeros(2, 2), "pooler.x": torch.zeros(2)}, tmp_path / "c.safetensors")
    listed = {f"vjepa2.{key}": file for file, keys in parts.items() for key in keys} | {"pooler.x": "c.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    (tmp_path / "config.json").write_text((upstream[0] / "config.json").read_text())
    whole = build_model(with_checkpoint_sizes(load_config(wanted))).wrapper.state_dict()
    wanted["model_kwargs"]["checkpoint"] = str(tmp_path)
    sharded = build_model(with_checkpoint_sizes(load_config(wanted))).wrapper.state_dict()
    assert whole.keys() == sharded.keys() and all(torch.equal(whole[key], sharded[key]) for key in whole)


def test_a_hub_name_is_found_in_the_cache_and_otherwise_its_command_is_told(
    upstream: tuple[Path, VJEPA2Model], wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    wanted["model_kwargs"]["checkpoint"] = "facebook/vjepa2-vitl-fpc64-256"
    with pytest.raises(EnvironmentLacksError, match="no local file or folder") as raised:
        train(wanted)
    assert raised.value.hint == "Get it with: hf download facebook/vjepa2-vitl-fpc64-256"
    # The hub's own layout of its cache, with a config only at first: as after a download that broke off.
    snapshot = tmp_path / "models--facebook--vjepa2-vitl-fpc64-256" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--facebook--vjepa2-vitl-fpc64-256" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text((upstream[0] / "config.json").read_text())
    lookup = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda name, file: lookup(name, file, cache_dir=tmp_path)
    )
    with pytest.raises(EnvironmentLacksError, match="no local file or folder"):
        with_checkpoint_sizes(load_config(wanted))
    (snapshot / "model.safetensors").symlink_to(upstream[0] / "model.safetensors")
    found = with_checkpoint_sizes(load_config(wanted))
    assert found.model_kwargs.pretrain_kwargs.encoder.embed_dim == 48
    assert not build_model(found).random_weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "dinov2"}, "type 'dinov2'; vjepa2 is needed"),
        ({"hidden_act": "silu"}, "hidden_act = 'silu'"),
        ({"pred_mlp_ratio": 2.0}, "pred_mlp_ratio"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(
    upstream: tuple[Path, VJEPA2Model], wanted: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    facts = json.loads((upstream[0] / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(facts))
    wanted["model_kwargs"]["checkpoint"] = str(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        with_checkpoint_sizes(load_config(wanted))


def test_weights_that_lack_a_tensor_or_are_cut_short_load_nothing(
    upstream: tuple[Path, VJEPA2Model], wanted: dict[str, Any], tmp_path: Path
) -> None:
    weights = load_file(upstream[0] / "model.safetensors")
    (tmp_path / "config.json").write_text((upstream[0] / "config.json").read_text())
    wanted["model_kwargs"]["checkpoint"] = str(tmp_path)
    settings = with_checkpoint_sizes(load_config(wanted))
    with pytest.raises(EnvironmentLacksError, match=r"no model\.safetensors"):
        build_model(settings)
    weights.pop("encoder.layer.1.mlp.fc1.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing \(blocks\.1\.mlp\.fc1\.bias\)"):
        build_model(settings)
    whole = (upstream[0] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        build_model(settings)


@pytest.mark.slow
def test_a_compiled_encoder_gives_the_same_tokens(wanted: dict[str, Any]) -> None:
    settings = with_checkpoint_sizes(load_config(wanted))
    plain = build_model(settings).wrapper.encoder
    compiled = build_model(
        with_checkpoint_sizes(load_config(wanted, ["model_kwargs.pretrain_kwargs.encoder.compile=true"]))
    ).wrapper.encoder
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    video = torch.randn(1, 3, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            tokens = compiled(video)
        except Exception as error:
            if "InvalidCxxCompiler" in f"{type(error).__name__}: {error}":  # torch wraps it in errors of other names
                pytest.skip("torch.compile needs a C++ compiler, which is not here: install g++ or set CXX")
            raise
        # Another order of float32 sums.
        assert torch.allclose(tokens, plain(video), atol=1e-5)


def test_compile_without_a_compiler_is_exit_3(wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(EnvironmentLacksError, match="no C\\+\\+ compiler found") as raised:
        train(wanted, overrides=["model_kwargs.pretrain_kwargs.encoder.compile=true"])
    assert "apt-get install g++" in (raised.value.hint or "")


def test_what_was_trained_is_loaded_by_transformers(
    wanted: dict[str, Any], upstream: tuple[Path, VJEPA2Model], tmp_path: Path
) -> None:
    """`report --export-model FOLDER`: VJEPA2Model loads it whole, and computes what the trained model computes."""
    wanted["experiment"]["optimization"] |= {"train": "all_but_encoder", "num_epochs": 1}
    result = train(wanted)
    folder = tmp_path / "exported"
    done = run_cli("report", result.folder, "-o", str(tmp_path / "report"), "--export-model", str(folder), "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["exported"]["layout"] == "transformers"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "gazetools.safetensors", "model.safetensors",
    ]  # fmt: skip
    theirs, loaded = VJEPA2Model.from_pretrained(folder, output_loading_info=True)
    assert not loaded["missing_keys"] and not loaded["unexpected_keys"] and not loaded["mismatched_keys"]
    assert theirs.config.to_dict().items() >= {"pred_hidden_size": 24, "pred_num_mask_tokens": 3}.items()
    before, after = upstream[1].state_dict(), theirs.state_dict()
    changed = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed == {"predictor"}, "the encoder is as it was"
    wanted["model_kwargs"]["checkpoint"] = str(folder)
    ours = build_model(with_checkpoint_sizes(load_config(wanted))).wrapper
    assert ours.predictor is not None
    best = load_checkpoint(next((Path(result.folder) / "checkpoints" / "best").iterdir()))
    assert all(torch.equal(value, ours.predictor.state_dict()[key]) for key, value in best["predictor"].items())
    assert set(load_file(folder / "gazetools.safetensors")) == {f"probe.{key}" for key in best["probe"]}
