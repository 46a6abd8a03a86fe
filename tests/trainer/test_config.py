"""Reading training configs: V-JEPA 2's shape, the guide's keys, overrides, typos, and the anchor rule."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from gazetools.schemas.errors import UsageError
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.models.checks import check_model_settings
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import apply_overrides, json_schema, load_config
from gazetools.trainer.plan.describe import describe_model
from gazetools.trainer.resume import differing_keys

ROOT = Path(__file__).parents[2]


def vjepa2_config() -> dict[str, Any]:
    """Written by hand with the keys that V-JEPA 2's configs/eval/vitl/ek100.yaml has."""
    heads = [
        {"weight_decay": wd, "final_weight_decay": wd, "lr": lr, "start_lr": lr, "final_lr": 0.0, "warmup": 0.0}
        for wd in (0.0001, 0.1)
        for lr in (0.005, 0.0001)
    ]
    return {
        "nodes": 8,
        "tasks_per_node": 8,
        "cpus_per_task": 12,
        "tag": "ek100-vitl16",
        "eval_name": "action_anticipation_frozen",
        "folder": "/runs",
        "resume_checkpoint": True,
        "experiment": {
            "classifier": {"num_probe_blocks": 4, "num_heads": 16},
            "data": {
                "anticipation_time_sec": [1.0, 1.0],
                "auto_augment": True,
                "file_format": 0,
                "dataset": "EK100",
                "base_path": "/videos",
                "dataset_train": "/train.csv",
                "dataset_val": "/val.csv",
                "frames_per_clip": 32,
                "frames_per_second": 8,
                "motion_shift": False,
                "num_workers": 2,
                "pin_memory": True,
                "random_resize_scale": [0.08, 1.0],
                "reprob": 0.25,
                "resolution": 256,
                "train_anticipation_point": [0.0, 0.25],
                "train_anticipation_time_sec": [0.25, 1.75],
            },
            "optimization": {
                "num_epochs": 20,
                "batch_size": 2,
                "use_bfloat16": True,
                "use_focal_loss": True,
                "multihead_kwargs": heads,
            },
        },
        "model_kwargs": {
            "checkpoint": "/vitl.pt",
            "module_name": "evals.action_anticipation_frozen.modelcustom.vit_encoder_predictor_concat_ar",
            "wrapper_kwargs": {"no_predictor": False, "num_output_frames": 2, "num_steps": 1},
            "pretrain_kwargs": {
                "encoder": {
                    "model_name": "vit_large",
                    "checkpoint_key": "target_encoder",
                    "tubelet_size": 2,
                    "patch_size": 16,
                    "uniform_power": True,
                    "use_rope": True,
                },
                "predictor": {
                    "model_name": "vit_predictor",
                    "checkpoint_key": "predictor",
                    "num_frames": 64,
                    "depth": 12,
                    "num_heads": 12,
                    "predictor_embed_dim": 384,
                    "num_mask_tokens": 10,
                    "uniform_power": True,
                    "use_mask_tokens": True,
                    "use_sdpa": True,
                    "use_silu": False,
                    "wide_silu": False,
                    "use_rope": True,
                },
            },
        },
    }


def with_guides_keys() -> dict[str, Any]:
    values = vjepa2_config()
    values["experiment"]["wandb"] = {
        "enable": True, "project": "p", "entity": "e", "name": "n", "group": "g", "tags": ["a", "b"], "notes": "x",
    }  # fmt: skip
    values["experiment"]["data"] |= {"use_heatmap": True, "heatmap_base_path": "/heatmaps"}
    values["model_kwargs"]["module_name"] = "evals.x.modelcustom.vit_encoder_predictor_heatmap_ar"
    predictor = values["model_kwargs"]["pretrain_kwargs"]["predictor"]
    predictor |= {"model_name": "vit_heatmap_predictor", "heatmap_patch_size": 16}
    del predictor["num_mask_tokens"], predictor["use_mask_tokens"]
    return values


def test_v_jepa_2s_config_loads_unchanged() -> None:
    config = load_config(vjepa2_config())
    check_model_settings(config)
    assert config.experiment.optimization.multihead_kwargs[3].lr == 0.0001
    assert config.experiment.data.train_anticipation_time_sec == (0.25, 1.75)


def test_the_larger_release_loads_unchanged() -> None:
    values = vjepa2_config()
    values["experiment"]["data"]["resolution"] = 384
    values["model_kwargs"]["pretrain_kwargs"]["encoder"]["model_name"] = "vit_giant_xformers"
    check_model_settings(load_config(values))


def test_the_guides_config_loads_unchanged() -> None:
    config = load_config(with_guides_keys())
    check_model_settings(config)
    assert config.experiment.wandb.tags == ["a", "b"]
    assert config.model_kwargs.pretrain_kwargs.predictor.num_mask_tokens is None, "comes from the checkpoint"


def test_v_jepa_2s_config_is_trained_with_all_it_asks_for() -> None:
    config = load_config(vjepa2_config())
    plan_learners(config)
    assert config.experiment.data.auto_augment, "this is what used to be refused"
    assert config.experiment.data.reprob > 0
    assert len(config.experiment.optimization.multihead_kwargs) > 1


def test_what_cannot_be_carried_out_is_refused_all_at_once_naming_each_key() -> None:
    arms = "arms=[{name: fine_grid, heatmap_patch_size: 7}, {name: blind, fusion: none, control: shuffled}]"
    with pytest.raises(UsageError) as caught:
        plan_learners(load_config(with_guides_keys(), [arms]))
    text = str(caught.value)
    for part in ("arm fine_grid: ", "heatmap_patch_size 7", "arm blind: control: shuffled"):
        assert part in text


def test_keys_that_an_older_version_did_not_write_had_their_defaults() -> None:
    """A run of before V-JEPA 2.1 goes on; it does not where a new key is set, or a source added."""
    new = load_config(vjepa2_config()).model_dump(mode="json")
    old = copy.deepcopy(new)
    for part in ("encoder", "predictor"):
        del old["model_kwargs"]["pretrain_kwargs"][part]["interpolate_rope"]
    del old["model_kwargs"]["pretrain_kwargs"]["use_v2_1"], old["experiment"]["data"]["frame_template"]
    assert differing_keys(old, new) == []
    new["model_kwargs"]["pretrain_kwargs"]["use_v2_1"] = True
    new["experiment"]["data"]["heatmap_sources"] = {"more": {"kind": "auto"}}
    assert differing_keys(old, new) == [
        "experiment.data.heatmap_sources.more.kind", "model_kwargs.pretrain_kwargs.use_v2_1",
    ]  # fmt: skip


def test_a_resumed_runs_data_may_lie_elsewhere_but_not_mean_something_else() -> None:
    def dumped(path: str, people: str) -> dict[str, Any]:
        sources = f"experiment.data.heatmap_sources={{gaze: {{path: {path}, people: {people}}}}}"
        return load_config(vjepa2_config(), [sources]).model_dump(mode="json")

    assert differing_keys(dumped("/here", "max"), dumped("/there", "max")) == []
    assert differing_keys(dumped("/here", "max"), dumped("/here", "mean")) == [
        "experiment.data.heatmap_sources.gaze.people"
    ]


@pytest.mark.parametrize(
    ("values", "overrides", "train_point", "validation"),
    [
        pytest.param("vjepa2", [], (0.0, 0.25), ["start", "end"], id="points keep their meaning, both anchors told"),
        pytest.param("guide", [], (0.0, 0.25), ["start", "end"], id="the same with the guide's keys"),
        pytest.param("vjepa2", ["experiment.data.anchor=start"], (1.0, 1.0), ["start"], id="an explicit anchor wins"),
        pytest.param("vjepa2", ["experiment.data.anchor=end"], (0.0, 0.0), ["end"], id="also the end"),
        pytest.param(
            "vjepa2",
            ["experiment.data.val_anticipation_point=[0.5, 0.5]"],
            (0.0, 0.25),
            ["start", "end", "point_0.5_0.5"],
            id="another validation point comes on top",
        ),
        pytest.param("ours", [], (1.0, 1.0), ["start"], id="this project's configs default to the start"),
    ],
)
def test_anchor_rule(
    values: str, overrides: list[str], train_point: tuple[float, float], validation: list[str]
) -> None:
    base = {"vjepa2": vjepa2_config, "guide": with_guides_keys, "ours": vjepa2_config}[values]()
    if values == "ours":
        del base["experiment"]["data"]["train_anticipation_point"], base["model_kwargs"]["module_name"]
    plan = resolve_anchors(load_config(base, overrides))
    assert plan.train.point == train_point
    assert [anchor.name for anchor in plan.validation] == validation
    assert plan.rule


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment.data.resolutoin=64", "did you mean 'resolution'"),
        ("experiment.optimisation.num_epochs=3", "did you mean 'optimization'"),
        ("model_kwargs.pretrain_kwargs.predictor.dept=3", "did you mean 'depth'"),
        ("experiment.data.anticipation_time_sec=[2.0, 1.0]", "must not be above"),
        ("experiment.data.train_anticipation_point=[0.0, 1.5]", "action end"),
        ("experiment.optimization.head=9", "entries 0..3"),
        ("experiment.data.use_heatmap=true", "heatmap_base_path is not set"),
        ("seed=abc", "'seed' = 'abc'"),
        ("tag=../elsewhere", "'tag'"),
        ("experiment.data.anchor=middle", "anchor"),
        ("experiment.optimization.multihead_kwargs.7.lr=1", "0..3"),
        ("folder.deeper=1", "single value"),
        ("noequals", "key.path=value"),
    ],
)
def test_wrong_values_and_typos_say_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(vjepa2_config(), [override])
    assert message in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    values = vjepa2_config()
    values["experiment"]["data"] |= {"resolutoin": 1, "frames_per_clip": 0}
    values["sede"] = 3
    with pytest.raises(UsageError) as caught:
        load_config(values)
    assert len(caught.value.details["problems"]) == 3


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001"])
def test_numbers_that_yaml_takes_for_text_are_numbers(text: str, tmp_path: Path) -> None:
    values = vjepa2_config()
    written = yaml.safe_dump(values).replace("lr: 0.005", f"lr: {text}")
    path = tmp_path / "config.yaml"
    path.write_text(written)
    assert load_config(path).experiment.optimization.multihead_kwargs[0].lr == 1e-4
    override = [f"experiment.optimization.multihead_kwargs.0.lr={text}"]
    assert load_config(values, override).experiment.optimization.multihead_kwargs[0].lr == 1e-4


def test_overrides_leave_the_original_alone_and_make_missing_sections() -> None:
    values = vjepa2_config()
    before = copy.deepcopy(values)
    changed = apply_overrides(values, ["experiment.wandb.project=p", "tag=new", "experiment.data.resolution=64"])
    assert values == before
    assert changed["experiment"]["wandb"] == {"project": "p"}
    assert changed["experiment"]["data"]["resolution"] == 64


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment.data.resolution=100"], "multiple of patch_size"),
        (["experiment.data.frames_per_clip=31"], "tubelet_size"),
        (["model_kwargs.pretrain_kwargs.encoder.model_name=vit_lareg"], "vit_large"),
        (["model_kwargs.module_name=evals.other"], "module_name"),
        (["experiment.classifier.num_heads=7"], "num_heads"),
        (["experiment.data.anticipation_time_sec=[4.0, 4.0]"], "predictor.num_frames=66"),
        (["model_kwargs.pretrain_kwargs.predictor.fusion=add"], "needs a heatmap"),
        (["experiment.data.use_heatmap=true", "experiment.data.heatmap_base_path=/h"], "takes no heatmap"),
    ],
)
def test_model_settings_are_checked_before_any_work(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_model_settings(load_config(vjepa2_config(), overrides))
    assert message in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.name)
def test_this_projects_configs_are_ready_to_train(path: Path) -> None:
    config = load_config(path)
    plan_learners(config)
    assert resolve_anchors(config).train.name == "start"


@pytest.mark.parametrize(
    ("name", "resolution", "encoder", "predictor"),
    [
        # Parameters of the released models, counted from upstream's code (facebookresearch/vjepa2 c2963a4).
        ("vit_large", 256, 303_885_312, 22_086_016),
        ("vit_huge", 256, 631_648_000, 22_282_880),
        ("vit_giant_xformers", 384, 1_012_173_952, 22_381_312),
    ],
)
def test_released_sizes_have_the_released_number_of_parameters(
    name: str, resolution: int, encoder: int, predictor: int
) -> None:
    overrides = [
        f"model_kwargs.pretrain_kwargs.encoder.model_name={name}",
        f"experiment.data.resolution={resolution}",
    ]
    described = describe_model(load_config(vjepa2_config(), overrides), {"verb": 97, "noun": 300, "action": 3806})
    assert described["encoder"]["parameters"] == encoder
    assert described["predictor_parameters"] == predictor
    assert described["video_tokens"] == 16 * (resolution // 16) ** 2


def test_json_schema_describes_every_key_and_refuses_others() -> None:
    schema = json_schema()
    models = {**schema["$defs"], "TrainingConfig": schema}
    models["ArmSettings"] = models["ArmSettings"]["anyOf"][1]
    for name, model in models.items():
        assert model["additionalProperties"] is False, name
    assert models["DataSettings"]["properties"]["base_path"]["description"] == "Folder of the videos."
    assert models["DataSettings"]["properties"]["video_view"]["description"]  # the docstring stands in a base class
    assert set(models["TrainingConfig"]["required"]) == {"folder", "experiment", "model_kwargs"}


def test_json_schema_knows_the_short_forms() -> None:
    models = json_schema()["$defs"]
    assert "estimated" in models["ArmSettings"]["anyOf"][0]["enum"]
    assert "string" in models["WandbSettings"]["properties"]["tags"]["type"]
