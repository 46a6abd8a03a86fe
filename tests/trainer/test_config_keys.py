"""Every key of the training config has an effect: changing it changes what a run sees, builds or learns.

EFFECTS says per key what changes. ELSEWHERE names tests of keys whose effect needs whole runs or other data. A key that
does nothing must be reported (gazetools.trainer.plan.ignored); a new key is missed here until it is in one list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from gazetools.schemas.base import _inner_model
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer import train
from gazetools.trainer.learn.forward import Forward
from gazetools.trainer.models.build import load_pretrained
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.plan.config import load_config
from gazetools.trainer.plan.ignored import ignored_keys
from gazetools.trainer.resume import save_state
from tests.helpers.runs import Listener
from tests.trainer.conftest import Study
from tests.trainer.effects import accepted, clips, learning, make_place, models

DATA, OPTIMIZATION, PRETRAIN = "experiment.data", "experiment.optimization", "model_kwargs.pretrain_kwargs"
ENCODER, PREDICTOR, HEAD = f"{PRETRAIN}.encoder", f"{PRETRAIN}.predictor", f"{OPTIMIZATION}.multihead_kwargs"
SOURCE, POINTS = f"{DATA}.heatmap_sources.more", f"{DATA}.heatmap_sources.more.points"


# The keys


@dataclass(frozen=True)
class Effect:
    """`changed` follows from setting the key to `value` where `base` holds already."""

    changed: Callable[[TrainingConfig], str]
    value: str
    base: tuple[str, ...] = ()


def by(changed: Callable[[TrainingConfig], str], prefix: str, values: dict[str, Any]) -> dict[str, Effect]:
    """Effects of the keys below `prefix`: a value, or a value and what must hold beside it."""
    table = {}
    for key, value in values.items():
        wanted, *base = value if isinstance(value, tuple) else (value,)
        table[f"{prefix}.{key}" if prefix else key] = Effect(changed, wanted, tuple(base))
    return table


WARM = f"{HEAD}=[{{lr: 1e-3, warmup: 1}}]"
TWO_HEADS = f"{HEAD}=[{{lr: 1e-3}}, {{lr: 3e-3}}]"
DRAWN_MASKS = f"{PREDICTOR}.zero_init_mask_tokens=false"
NO_MAPS = (f"{DATA}.use_heatmap=false", f"{OPTIMIZATION}.train=probe")
FIXED_VIEW = f"{DATA}.train_transform=evaluation"
MORE_ROWS = f"{DATA}.dataset_val={{root}}/more.csv"
FROM_FILE = "model_kwargs.checkpoint={root}/vitx.pt"
WEIGHTED = f"{DATA}.heatmap_sources={{more: {{path: {{root}}/weighted}}}}"
SEVERAL = f"{DATA}.heatmap_sources={{more: {{path: {{root}}/several}}}}"
COUNTED = f"{DATA}.heatmap_sources={{more: {{path: {{root}}/counted}}}}"
STORE = f"{DATA}.heatmap_sources={{more: {{path: {{root}}/store}}}}"
TOKENS = f"{DATA}.gaze_tokens={{store: {{root}}/store}}"
GAZE = f"{DATA}.heatmap_sources={{more: {{path: {{root}}/gaze.csv}}}}"
ARM = "arms=[{name: a}]"
V2_1 = (f"{PRETRAIN}.use_v2_1=true", f"{ENCODER}.patch_size=16", f"{ENCODER}.depth=4")
V2_1_VECTORS = (*V2_1, f"{PREDICTOR}.img_temporal_dim_size=1")
"""V-JEPA 2.1 of a tiny size; with the predictor's modality embeddings."""

EFFECTS: dict[str, Effect] = {
    **by(clips, "", {"tag": "other", "folder": "{root}/other", "seed": "1"}),
    **by(accepted, "", {"device": "cuda:99"}),
    **by(models, "", {"compat": ("vjepa2", DRAWN_MASKS)}),
    **by(clips, "experiment.evaluation", {"held_out": "0.3", "horizons": "[0.25, 0.5]"}),
    **by(clips, DATA, {
        "base_path": "{root}/slow", "dataset_train": "{root}/more.csv", "dataset_val": "{root}/more.csv",
        "file_format": "1", "frames_per_clip": "6", "frames_per_second": "5", "resolution": "40", "anchor": "end",
        "anticipation_time_sec": "[0.5, 0.5]", "train_anticipation_time_sec": "[0.2, 0.3]",
        "train_anticipation_point": "[0.0, 0.5]", "val_anticipation_point": "[0.5, 0.5]",
        "train_transform": "evaluation", "train_views": "1", "random_resize_scale": "[0.1, 0.2]",
        "random_resize_aspect_ratio": "[2, 3]", "random_horizontal_flip": "false", "auto_augment": "true",
        "motion_shift": "true", "reprob": "1.0", "use_heatmap": ("false", f"{OPTIMIZATION}.train=probe"),
        "heatmap_base_path": "{root}/weighted", "heatmap_resolution": "16",
        "heatmap_frame_tolerance": ("3", f"{DATA}.heatmap_base_path={{root}}/long"),
        "heatmap_inout": ("weight", f"{DATA}.heatmap_base_path={{root}}/weighted"), "missing": "skip",
        "heatmap_key": ("small", f"{DATA}.heatmap_base_path={{root}}/several"),
        "heatmap_axes": ("TWH", f"{DATA}.heatmap_base_path={{root}}/several"),
        "max_train_clips": "2", "max_val_clips": "2", "evaluation_crop": "whole", "context_sec": "[0.4, 0.4]",
        "train_context_sec": "[0.4, 0.4]", "keep_unseen_classes": ("true", MORE_ROWS), "index_cache": "{root}/kept",
    }),
    **by(clips, f"{DATA}.gaze_tokens", {"store": ("{root}/other_tokens", TOKENS), "people": ("wearer", TOKENS)}),
    **by(accepted, f"{DATA}.gaze_tokens", {"size": ("[9, 9]", TOKENS, "arms=[gaze_tokens]")}),
    **by(accepted, DATA, {
        "missing_videos": ("skip", f"{DATA}.dataset_val={{root}}/absent.csv"),
        "heatmap_first_frame": ("1", f"{DATA}.heatmap_base_path={{root}}/counted"),
    }),
    **by(accepted, f"{DATA}.heatmap_sources.*", {"first_frame": ("1", COUNTED)}),
    **by(clips, f"{DATA}.heatmap_sources.*", {
        "kind": ("dataset", f"{DATA}.heatmap_sources={{more: {{path: {{root}}/mixed}}}}"),
        "inout": ("weight", WEIGHTED), "missing": ("skip", WEIGHTED), "path": ("{root}/mixed", WEIGHTED),
        "key": ("small", SEVERAL), "axes": ("TWH", SEVERAL), "people": ("mean", STORE), "normalize": ("sum", STORE),
        "shows": ("head_box", STORE),
    }),
    **by(clips, f"{DATA}.heatmap_sources.*.points", {
        "sigma_pixels": ("20", GAZE), "sigma_degrees": ("20", GAZE, f"{POINTS}.horizontal_fov_degrees=60"),
        "horizontal_fov_degrees": ("120", GAZE, f"{POINTS}={{sigma_degrees: 9, horizontal_fov_degrees: 60}}"),
        "points_size": ("[2, 2]", GAZE), "y_axis": ("up", GAZE), "min_confidence": ("0.5", GAZE),
        "max_gap_sec": ("1.0", GAZE), "map_size": ("[8, 8]", GAZE),
    }),
    **by(models, "model_kwargs", {"checkpoint": "{root}/vitx.pt", "random_seed": "5"}),
    **by(accepted, "model_kwargs", {"module_name": "evals.modelcustom.vit_encoder_predictor_concat_ar"}),
    **by(models, "model_kwargs.wrapper_kwargs", {
        "no_predictor": ("true", *NO_MAPS), "no_encoder": "true", "num_output_frames": "4", "num_steps": "2",
    }),
    **by(models, ENCODER, {
        "model_name": "vit_tiny", "checkpoint_key": ("encoder", FROM_FILE), "patch_size": "16",
        "tubelet_size": ("4", "model_kwargs.wrapper_kwargs.num_output_frames=4"), "embed_dim": "36", "depth": "2",
        "num_heads": "3", "mlp_ratio": "2", "dtype": "bfloat16", "use_sdpa": "false",
    }),
    **by(models, PRETRAIN, {"use_v2_1": ("true", f"{ENCODER}.patch_size=16", f"{ENCODER}.depth=4")}),
    **by(models, ENCODER, {
        "img_temporal_dim_size": ("1", *V2_1), "modality_embedding": ("false", *V2_1),
        "interpolate_rope": ("true", *V2_1),
    }),
    **by(models, PREDICTOR, {
        "img_temporal_dim_size": ("1", *V2_1), "modality_embedding": ("false", *V2_1_VECTORS),
        "interpolate_rope": ("true", *V2_1, DRAWN_MASKS), "n_output_distillation": ("1", *V2_1),
        "teacher_embed_dim": ("40", *V2_1, f"{PREDICTOR}.n_output_distillation=1"),
        "return_all_tokens": ("true", *V2_1),
    }),
    **by(accepted, PREDICTOR, {"model_name": "vit_predictor"}),
    **by(models, PREDICTOR, {
        "checkpoint_key": ("second", FROM_FILE), "num_frames": "20", "depth": "2", "num_heads": "4",
        "predictor_embed_dim": "36", "num_mask_tokens": "3", "mask_index": ("0", DRAWN_MASKS),
        "zero_init_mask_tokens": "false", "heatmap_patch_size": "16", "fusion": "cross_attention",
        "multiscale": "[8, 16]", "temporal": "frame", "heatmap_positions": "own", "use_sdpa": "false",
        "use_activation_checkpointing": "true",
    }),
    **by(learning, PREDICTOR, {"heatmap_dropout": "0.9"}),
    **by(models, "experiment.classifier", {"num_probe_blocks": "3", "num_heads": "3"}),
    **by(learning, OPTIMIZATION, {
        "num_epochs": "3", "batch_size": "1", "use_focal_loss": "false", "loss": "cross_entropy",
        "head": ("1", TWO_HEADS), "accumulation_steps": "2", "clip_grad_norm": "1e-3", "train": "heatmap",
        "heatmap_lr": "1e-2", "predictor_lr": "1e-2", "adam_betas": "[0.5, 0.9]", "adam_eps": "0.1",
        "losses.classification": "3.0",
    }),
    **by(learning, f"{HEAD}.*", {
        "lr": "1e-2", "start_lr": ("1e-4", WARM), "final_lr": "5e-4", "weight_decay": "1.0",
        "final_weight_decay": "1.0", "warmup": "1.0",
    }),
    **by(learning, "arms.*", {
        "name": ("b", ARM), "source": ("more", ARM, WEIGHTED), "control": ("shuffled", ARM), "fusion": ("add", ARM),
        "heatmap_patch_size": ("16", ARM), "multiscale": ("[8, 16]", ARM), "temporal": ("frame", ARM),
        "heatmap_positions": ("own", ARM), "train": ("heatmap", ARM), "heatmap_lr": ("1e-2", ARM),
        "predictor_lr": ("1e-2", ARM), "seeds": ("[5]", ARM),
    }),
}  # fmt: skip

WANDB = "test_what_weights_and_biases_is_told"
PRIMARY = "test_the_primary_contrast_is_declared_before_training_or_named_as_chosen_after"
CACHED = "test_results_are_those_without_a_cache_to_the_bit_and_clips_are_encoded_once"
REFUSED = "test_settings_that_mean_nothing_are_refused"
ELSEWHERE: dict[str, str] = {
    "seeds": "test_every_training_is_a_whole_run_with_its_own_seed",
    "primary.contrast": PRIMARY,
    "primary.margin": PRIMARY,
    "primary.task": "test_report_is_another_form_of_primary",
    "primary.horizon": "test_the_verdict_may_be_about_another_horizon",
    **{f"report.{key}": "test_report_is_another_form_of_primary" for key in (
        "primary.arm", "primary.baseline", "primary.task", "margin",
    )},
    "resume_checkpoint": "test_keys_of_a_whole_run",
    "log_every": "test_keys_of_a_whole_run",
    "checkpoint_every": "test_keys_of_a_whole_run",
    "experiment.evaluation.save_top": "test_keys_of_a_whole_run",
    "experiment.evaluation.choose": "test_the_last_epoch_counts_where_the_config_says_so",
    "val_only": "test_validation_alone_repeats_the_numbers_of_training",
    "classifier_checkpoint": "test_released_probes_are_imported_strictly",
    **{f"experiment.wandb.{key}": WANDB for key in (
        "enable", "project", "entity", "name", "group", "tags", "notes", "id", "resume",
    )},
    "experiment.tensorboard": "test_tensorboard",
    "test_only": "test_the_test_split_is_predicted_from_the_command_line",
    f"{DATA}.dataset_test": "test_a_run_with_a_test_split_predicts_it_at_the_end",
    f"{DATA}.official_lists": "test_a_folder_of_lists_is_named_in_the_config",
    f"{DATA}.ego4d_videos": "test_the_config_chooses_the_files_of_ego4d",
    "experiment.evaluation.epic_sls": "test_the_same_clips_have_the_same_scores_with_and_without_labels",
    f"{DATA}.video_view": "test_views_name_the_cameras_of_a_take",
    f"{DATA}.takes_file": "test_what_is_wrong_with_views_is_told",
    f"{DATA}.heatmap_view": "test_another_views_maps_are_matched_by_take_time_and_shown_whole",
    f"{DATA}.heatmap_random_resize_scale": "test_another_views_maps_may_have_a_crop_of_their_own",
    f"{DATA}.heatmap_sources.*.view": "test_each_source_has_its_own_view_and_add_refuses_another",
    f"{DATA}.allow_future": "test_datasets_filled_from_the_future_are_refused_unless_allowed",
    f"{DATA}.past_end": "test_rows_past_the_end_are_dropped_with_a_count_or_kept",
    f"{DATA}.max_unreadable_clips": "test_unreadable_clips_stop_the_run_or_are_counted_within_the_budget",
    f"{DATA}.num_workers": "test_worker_processes_give_the_same_batches",
    f"{DATA}.pin_memory": "test_batches_are_page_locked_for_a_gpu_where_the_config_asks",
    f"{DATA}.feature_cache.folder": CACHED,
    f"{DATA}.feature_cache.budget_gib": "test_the_budget_ends_storing_not_the_run",
    f"{DATA}.feature_cache.dtype": "test_float16_tokens_give_the_same_run_whether_cached_or_not_yet",
    f"{ENCODER}.compile": "test_the_encoder_is_compiled_where_the_config_asks",
    f"{OPTIMIZATION}.use_bfloat16": "test_bfloat16_is_asked_for_on_cuda_alone",
    f"{DATA}.input_format": "test_pictures_show_what_the_video_shows",
    f"{DATA}.video_info_path": "test_what_is_not_there_is_named",
    f"{DATA}.frame_template": "test_broken_folders",
    f"{DATA}.frame_rate": "test_rates_of_a_run_and_of_its_folders",
    f"{DATA}.frame_times": "test_rates_of_a_run_and_of_its_folders",
    f"{DATA}.frame_index_offset": "test_broken_folders",
    f"{ENCODER}.n_output_distillation": REFUSED,
    f"{ENCODER}.n_registers": REFUSED,
    f"{PREDICTOR}.n_registers": REFUSED,
    f"{PREDICTOR}.chop_last_n_tokens": REFUSED,
    f"{OPTIMIZATION}.losses.jepa_context": "test_the_context_part_of_the_loss_is_its_formula",
    f"{OPTIMIZATION}.losses.jepa": "test_the_predictor_trains_without_labels",
    f"{OPTIMIZATION}.shard_optimizer": "test_a_step_sends_one_message_of_numbers_and_one_of_gradients",
    f"{OPTIMIZATION}.early_stopping.patience": "test_when_a_model_ends",
    f"{OPTIMIZATION}.early_stopping.min_delta": "test_when_a_model_ends",
    f"{OPTIMIZATION}.ema.decay": "test_the_average_follows_its_formula_and_changes_places_with_the_weights",
    f"{OPTIMIZATION}.class_weights.kind": "test_inverse_frequency_is_scikit_learns_balanced_weight",
    f"{OPTIMIZATION}.class_weights.beta": "test_effective_numbers",
}  # fmt: skip

IGNORED = {
    "eval_name": "x", "nodes": 2, "tasks_per_node": 2, "cpus_per_task": 2, "mem_per_gpu": "80G",
    f"{DATA}.dataset": "x", f"{ENCODER}.uniform_power": False, f"{ENCODER}.wide_silu": True,
    f"{ENCODER}.use_activation_checkpointing": True, f"{PREDICTOR}.uniform_power": False,
    f"{PREDICTOR}.wide_silu": True,
}  # fmt: skip
"""What means nothing in any run of this project, with a value that somebody could hope for."""


def leaves(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their annotations; entries of lists and mappings are `*`."""
    for name, field in model.model_fields.items():
        inner, annotation = _inner_model(field.annotation), field.annotation
        if inner is None:
            yield path + name, annotation
        else:
            several = any(get_origin(part) in (list, dict) for part in (annotation, *get_args(annotation)))
            yield from leaves(inner, f"{path}{name}.{'*.' if several else ''}")


def fixed_keys() -> list[str]:
    """Keys of which one value alone is accepted: they hold, or the config is refused."""
    return [key for key, annotation in leaves(TrainingConfig) if get_origin(annotation) is Literal
            and len(get_args(annotation)) == 1]  # fmt: skip


def test_every_key_is_in_one_of_the_lists() -> None:
    listed = [*EFFECTS, *ELSEWHERE, *IGNORED, *fixed_keys()]
    keys = [key for key, _ in leaves(TrainingConfig)]
    assert sorted(listed) == sorted(set(listed)), "once"
    assert sorted(keys) == sorted(listed)
    written = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert not [name for name in ELSEWHERE.values() if f"def {name}(" not in written]


@pytest.fixture(scope="module")
def place(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(study, tmp_path_factory.mktemp("keys"))


def config_of(study: Study, place: Path, overrides: list[str]) -> TrainingConfig:
    values = study.config(place / "run", base_path=str(place / "videos"), random_resize_scale=[0.5, 0.9])
    return load_config(values, [override.replace("{root}", str(place)) for override in overrides])


_known: dict[tuple[Any, ...], str] = {}
"""What bases without the key give; most keys share one."""


SLOW = (clips, learning)  # together longer than the rest of this file


@pytest.mark.parametrize(
    "key", [pytest.param(k, marks=pytest.mark.slow if e.changed in SLOW else ()) for k, e in EFFECTS.items()]
)
def test_the_key_takes_effect(study: Study, place: Path, key: str) -> None:
    effect = EFFECTS[key]
    path = key.replace("heatmap_sources.*", "heatmap_sources.more").replace("*", "0")
    known = (effect.changed, effect.base)
    if known not in _known:
        _known[known] = effect.changed(config_of(study, place, [*effect.base]))
    assert effect.changed(config_of(study, place, [*effect.base, f"{path}={effect.value}"])) != _known[known]


@pytest.mark.slow
def test_the_same_config_gives_the_same(study: Study, place: Path) -> None:
    """What differs above differs by the key."""
    for changed in (clips, models, learning):
        first, second = (changed(config_of(study, place, [ARM])) for _ in range(2))
        assert first == second, changed.__name__


@pytest.mark.parametrize("key", fixed_keys())
def test_a_key_with_one_value_refuses_others(study: Study, place: Path, key: str) -> None:
    for value in ("true", "false"):
        if value == str(get_args(dict(leaves(TrainingConfig))[key])[0]).lower():
            config_of(study, place, [f"{key}={value}"])
        else:
            with pytest.raises(UsageError, match=key):
                config_of(study, place, [f"{key}={value}"])


@pytest.mark.parametrize("key", IGNORED)
def test_a_key_without_effect_is_told(study: Study, place: Path, key: str) -> None:
    told = ignored_keys(config_of(study, place, [f"{key}={IGNORED[key]}"]), torch.device("cuda"))
    assert list(told.values()) == [[key]]


def test_bfloat16_is_asked_for_on_cuda_alone(study: Study, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, torch.dtype, bool]] = []
    monkeypatch.setattr(torch, "autocast", lambda kind, *, dtype, enabled: asked.append((kind, dtype, enabled)))
    for value in ("true", "false"):
        config = config_of(study, place, [f"{OPTIMIZATION}.use_bfloat16={value}"])
        for device in ("cuda", "cpu"):
            Forward(config, [], torch.device(device)).autocast()
    assert asked == [(kind, torch.bfloat16, kind == "cuda" and on) for on in (True, False) for kind in ("cuda", "cpu")]


def test_the_encoder_is_compiled_where_the_config_asks(
    study: Study, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[VideoEncoder] = []

    def note(encoder: VideoEncoder) -> None:
        compiled.append(encoder)

    monkeypatch.setattr(VideoEncoder, "compile", note)
    load_pretrained(config_of(study, place, []))
    assert not compiled
    assert compiled == [load_pretrained(config_of(study, place, [f"{ENCODER}.compile=true"])).encoder]


def test_keys_of_a_whole_run(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Five clips in batches of one: five steps of one epoch."""
    saved: list[int] = []

    def save(loop: Any, plan: Any, writer: Any) -> str:
        saved.append(loop.position.global_step)
        return save_state(loop, plan, writer)

    monkeypatch.setattr("gazetools.trainer.run.save_state", save)
    listener = Listener()
    changed = ["log_every=2", "checkpoint_every=3", "experiment.evaluation.save_top=2", f"{OPTIMIZATION}.num_epochs=1",
               f"{OPTIMIZATION}.batch_size=1"]  # fmt: skip
    result = train(tiny, overrides=changed, progress=listener)
    told = [line.split(" loss ")[0] for line in listener.said if ": step " in line]
    assert told == ["epoch 1/1 train: step 2", "epoch 1/1 train: step 4"]
    assert saved == [3, 5], "within the epoch, and at its end"
    with np.load(Path(result.folder) / "predictions" / "main" / "val_start.npz") as file:
        assert file["score_action"].shape == (5, 2)
    with pytest.raises(UsageError, match="already holds a run"):
        train(tiny, overrides=[*changed, "resume_checkpoint=false"])
