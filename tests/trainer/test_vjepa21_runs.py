"""V-JEPA 2.1 as users train it: whole runs, the four kinds of checkpoints, misfits named before any frame, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from gazetools.schemas.errors import CheckpointError, UsageError
from gazetools.trainer import train
from gazetools.trainer.export.run import export
from gazetools.trainer.learn.losses import FutureTokens
from gazetools.trainer.learn.trunk import build_trunks
from gazetools.trainer.models.build import check_file, load_pretrained
from gazetools.trainer.models.keys import to_upstream
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.describe import describe_model
from gazetools.trainer.processes.world import World
from tests.helpers.command_line import run_cli
from tests.helpers.models import build_model
from tests.helpers.runs import Listener, assert_same, final_state
from tests.trainer.conftest import Study
from tests.trainer.effects import seen

ROOT = Path(__file__).parents[2]
PRETRAIN = "model_kwargs.pretrain_kwargs"
D, TEACHER = 24, 40


def as_2_1(values: dict[str, Any], *, levels: int, depth: int = 12) -> dict[str, Any]:
    """The tiny config with a V-JEPA 2.1 model: B's and L's kind (one level, a teacher's width) or g's and G's."""
    pretrain = values["model_kwargs"]["pretrain_kwargs"]
    pretrain["use_v2_1"] = True
    pretrain["encoder"] |= {
        "model_name": "vit_tiny_test", "embed_dim": D, "depth": depth, "num_heads": 2, "patch_size": 16,
        "img_temporal_dim_size": 1, "interpolate_rope": True,
        "checkpoint_key": "ema_encoder" if levels == 1 else "target_encoder",
    }  # fmt: skip
    pretrain["predictor"] |= {
        "img_temporal_dim_size": 1, "return_all_tokens": True, "n_output_distillation": levels,
        "teacher_embed_dim": TEACHER if levels == 1 else None,
    }  # fmt: skip
    return values


def write_checkpoint(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """A file as Meta releases them, with random weights of the config's sizes; the config then names it."""
    config = load_config(values, ["seed=5", "model_kwargs.checkpoint=random"])
    shared, keys = load_pretrained(config), config.model_kwargs.pretrain_kwargs

    def wrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"module.backbone.{key}": value for key, value in to_upstream(weights).items()}

    content = {
        keys.encoder.checkpoint_key: wrapped(shared.encoder.state_dict()),
        keys.predictor.checkpoint_key: wrapped(shared.predictor),
        "opt": {"state": {}},
        "epoch": 3,
    }
    torch.save(content, path)
    values["model_kwargs"]["checkpoint"] = str(path)
    return values


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 4])
def test_a_run_with_every_fusion(tiny: dict[str, Any], tmp_path: Path, levels: int) -> None:
    """The command line trains all fusions beside each other on one encoder pass; --dry-run agrees with the log."""
    values = write_checkpoint(as_2_1(tiny, levels=levels), tmp_path / "vjepa2_1.pt")
    values["arms"] = ["none", "estimated", *({"name": n, "fusion": n} for n in ("add", "cross_attention"))]
    values["arms"].append({"name": "attention_bias", "fusion": "attention_bias", "multiscale": [8, 16]})
    values["experiment"]["optimization"]["num_epochs"] = 1
    if levels == 4:
        values["experiment"]["optimization"]["losses"] = {"jepa": 0.5, "jepa_context": 0.5}
        values["model_kwargs"]["pretrain_kwargs"]["encoder"]["dtype"] = "bfloat16"
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    planned = run_cli("train", "--config", str(path), "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    described = json.loads(planned.stdout)["model"]
    assert described["encoder"]["output_width"] == levels * D
    done = run_cli("train", "--config", str(path), "--json")
    assert done.exit_code == 0, done.stderr
    assert f"V-JEPA 2.1, {levels} level(s). interpolate_rope: encoder on, predictor off." in done.stderr
    assert ("channels of its teacher" in done.stderr) == (levels == 1)
    assert json.loads(done.stdout)["status"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*2_1/*.yaml")), ids=lambda p: p.parent.name)
def test_shipped_configs_pass_a_dry_run(study: Study, tmp_path: Path, path: Path) -> None:
    """At their real size without memory, and with the study's data and tiny sizes through --dry-run and a run."""
    described = describe_model(load_config(path), {"verb": 97, "noun": 300, "action": 3806})
    later = load_config(path).model_kwargs.pretrain_kwargs.predictor.n_output_distillation
    assert described["encoder"]["output_width"] == later * described["encoder"]["embed_dim"]
    assert described["heatmap_tokens"] == 16 * 144 and described["video_tokens"] == 16 * 576
    data, tiny = study.config(tmp_path)["experiment"]["data"], {"depth": 4, "embed_dim": 32, "num_heads": 2}
    changed = [f"folder={tmp_path}", "device=cpu", "model_kwargs.checkpoint=random", "experiment.data.resolution=64",
               "experiment.evaluation={held_out: 0, horizons: []}", "experiment.optimization.num_epochs=1",
               f"{PRETRAIN}.predictor.depth=2", f"{PRETRAIN}.predictor.predictor_embed_dim=24",
               f"{PRETRAIN}.predictor.num_heads=2"]  # fmt: skip
    changed += [f"{PRETRAIN}.encoder.{key}={value}" for key, value in tiny.items()]
    changed += [f"experiment.data.{key}={data[key]}" for key in (
        "base_path", "dataset_train", "dataset_val", "heatmap_base_path", "frames_per_clip", "frames_per_second",
        "train_anticipation_time_sec", "num_workers",
    )]  # fmt: skip
    for more in (["--dry-run"], []):
        done = run_cli("train", "--config", str(path), *changed, *more, "--json")
        assert done.exit_code == 0, done.stderr


def test_a_cache_of_features_has_the_width_of_all_levels(tiny: dict[str, Any], tmp_path: Path) -> None:
    """4 levels of 24 channels, 4 bytes each, 2 time steps of 4 tokens: as planned, and as written."""
    values = as_2_1(tiny, levels=4, depth=4)
    values["experiment"]["data"] |= {
        "feature_cache": {"folder": str(tmp_path / "features")}, "train_transform": "evaluation",
        "train_anticipation_time_sec": [0.5, 0.5],
    }  # fmt: skip
    first = train(values)
    files = list((tmp_path / "features").rglob("*.safetensors"))
    tokens = 2 * 4 * 4 * D * 4
    assert files and all(tokens <= file.stat().st_size < tokens + 1024 for file in files)
    facts = json.loads(next((tmp_path / "features").glob("*/encoder.json")).read_text())
    assert "interpolate_rope=True" in facts["structure"] and "hierarchical=True" in facts["structure"]
    again = train(values, overrides=[f"folder={tmp_path / 'again'}"])
    assert again.metrics["val_start_loss"] == first.metrics["val_start_loss"]


def test_a_run_goes_on_where_it_was(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Trained in one go and in two: the same weights, those of embeddings and of the context's head included."""
    values = as_2_1(tiny, levels=4, depth=4)
    values["experiment"]["optimization"]["losses"] = {"jepa": 0.5, "jepa_context": 0.5}
    places = [f"folder={tmp_path / name}" for name in ("whole", "stopped")]
    train(values, overrides=places[:1])
    stopped = train(values, overrides=places[1:], progress=Listener(signal_after_steps=2))
    assert stopped.status == "interrupted" and train(values, overrides=places[1:]).status == "done"
    whole, other = (final_state(tmp_path / name) for name in ("whole", "stopped"))
    for part in ("predictors", "learners"):
        assert_same(whole[part], other[part], part)
    start = load_pretrained(load_config(values)).predictor
    (trained,) = whole["predictors"].values()
    for name in ("video_mod_embed", "predictor_proj_context.weight", "predictor_embed.0.weight"):
        assert not torch.equal(trained[name], start[name]), name


def test_the_context_part_of_the_loss_is_its_formula(tiny: dict[str, Any]) -> None:
    """jepa_context times the L1 at the observed tokens is added; their targets are the observed tokens, normalised."""
    values = as_2_1(tiny, levels=4, depth=4)
    values["experiment"]["optimization"]["losses"] = {"jepa": 1.0, "jepa_context": 0.5}
    config = load_config(values)
    (trunk,) = build_trunks(plan_learners(config), load_pretrained(config), {"action": 4}, 5, world=World())
    tokens, tau, maps = seen(config, trunk.wrapper)
    future = FutureTokens(tokens=torch.randn(2, 4, 4 * D), known=torch.tensor([0]))
    made = trunk.anticipate(tokens, tau, maps, training=True)
    found = trunk.jepa(made, tokens, future)
    assert made.context is not None and made.predicted is not None and found is not None
    wanted = functional.layer_norm(tokens.unflatten(-1, (4, D)), (D,)).flatten(-2)
    target = functional.layer_norm(future.tokens.unflatten(-1, (4, D)), (D,)).flatten(-2)
    expected = (made.predicted - target).abs().mean((1, 2)) + 0.5 * (made.context - wanted).abs().mean((1, 2))
    torch.testing.assert_close(found, expected[:1])
    assert trunk.anticipate(tokens, tau, maps, training=False).context is None, "only where it is learned from"


def test_weights_that_the_config_does_not_build_go_without_a_word_only_where_upstream_says_so(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """The official configs of ViT-g and ViT-G leave out the head for context tokens, which the files have."""
    values = write_checkpoint(as_2_1(tiny, levels=4), tmp_path / "g.pt")
    predictor = values["model_kwargs"]["pretrain_kwargs"]["predictor"]
    del predictor["return_all_tokens"]
    built = build_model(load_config(values)).wrapper.predictor
    assert built is not None and not [key for key in built.state_dict() if key.startswith("predictor_proj_context")]
    predictor["img_temporal_dim_size"] = None
    with pytest.raises(CheckpointError, match=r"2 unexpected .*video_mod_embed"):
        check_file(load_config(values))


MISFITS = [
    # levels of the checkpoint, what the config says instead, the message
    (4, ["n_output_distillation=1"], "reads 4 level(s) of the encoder, "),
    (1, ["n_output_distillation=4", "teacher_embed_dim=null"], "reads 1 level(s) of the encoder, "),
    (1, ["teacher_embed_dim=48"], "gives 40 channels, the config asks for 48"),
    (1, ["teacher_embed_dim=null"], "teacher_embed_dim is not set).Set teacher_embed_dim=40"),
    (4, ["num_mask_tokens=3"], "mask_tokens.3"),
]  # fmt: skip


@pytest.mark.parametrize(("levels", "changes", "message"), MISFITS)
def test_a_predictor_of_another_kind_is_named_before_any_frame(
    tiny: dict[str, Any], tmp_path: Path, levels: int, changes: list[str], message: str
) -> None:
    values = write_checkpoint(as_2_1(tiny, levels=levels), tmp_path / "one.pt")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    overrides = [f"{PRETRAIN}.predictor.{change}" for change in changes]
    for more in ([], ["--dry-run"]):
        done = run_cli("train", "--config", str(path), *overrides, *more, "--json")
        assert done.exit_code == 2
        assert message in json.loads(done.stdout)["error"]["message"] + str(json.loads(done.stdout)["error"]["hint"])
    assert not (Path(values["folder"]) / "config.json").exists()


def test_a_checkpoint_of_the_other_version_is_named(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = json.loads(json.dumps(tiny))
    plain["model_kwargs"]["pretrain_kwargs"]["encoder"] |= {"depth": 12, "patch_size": 16}
    write_checkpoint(plain, tmp_path / "old.pt")
    later = as_2_1(tiny, levels=4)
    later["model_kwargs"]["checkpoint"] = str(tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match=r"holds V-JEPA 2\.0 .*use_v2_1 is true"):
        train(later)
    write_checkpoint(later, tmp_path / "new.pt")
    plain["model_kwargs"]["checkpoint"] = str(tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match=r"holds V-JEPA 2\.1 .*use_v2_1 is false"):
        train(plain)


def test_transformers_layout_is_refused_for_the_later_version(tiny: dict[str, Any], tmp_path: Path) -> None:
    values = as_2_1(tiny, levels=4)
    values["model_kwargs"]["checkpoint"] = str(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vjepa2", "hidden_size": D, "num_hidden_layers": 12,
                                                      "num_attention_heads": 2, "patch_size": 16}))  # fmt: skip
    with pytest.raises(UsageError, match=r"transformers' layout, which knows V-JEPA 2\.0 only"):
        train(values)


def test_what_was_trained_is_exported_as_meta_releases_it(tiny: dict[str, Any], tmp_path: Path) -> None:
    """A .pt that the same config loads: encoder as it was, predictor as trained; heatmap weights under their own."""
    values = write_checkpoint(as_2_1(tiny, levels=4), tmp_path / "g.pt")
    values["experiment"]["optimization"]["num_epochs"] = 1
    train(values)
    run, output = Path(values["folder"]), tmp_path / "trained.pt"
    written = export([run], model_path=output)
    assert (written["layout"], written["model_file"]) == ("meta", str(output))
    with pytest.raises(UsageError, match=r"transformers \(5.23\) knows V-JEPA 2.0 only"):
        export([run], model_path=tmp_path / "folder")
    with pytest.raises(UsageError, match="exists already"):
        export([run], model_path=output)
    before, after = (torch.load(p, weights_only=True) for p in (tmp_path / "g.pt", output))
    assert list(after) == ["target_encoder", "predictor", "gazetools_heatmap", "gazetools_probe"]
    assert before["target_encoder"].keys() == after["target_encoder"].keys()
    assert all(torch.equal(value, after["target_encoder"][key]) for key, value in before["target_encoder"].items())
    assert before["predictor"].keys() == after["predictor"].keys()
    moved = [key for key, value in before["predictor"].items() if not torch.equal(value, after["predictor"][key])]
    assert any(key.endswith("attn.qkv.weight") for key in moved)
    values["model_kwargs"]["checkpoint"] = str(output)
    check_file(load_config(values))
