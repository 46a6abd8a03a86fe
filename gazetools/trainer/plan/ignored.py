"""Notes on how a config is carried out; above all keys without effect, since files written for other trees load too."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.schemas.training_data import TOKEN_SOURCE
from gazetools.schemas.training_model import LATER_ENCODER_KEYS, LATER_PREDICTOR_KEYS
from gazetools.trainer.data.maps.build import is_foreign, source_kinds, source_settings
from gazetools.trainer.models.build import trained_part
from gazetools.trainer.models.checks import uses_heatmap
from gazetools.trainer.models.checks21 import encoder_levels, version_notes
from gazetools.trainer.models.transformers_folder import transformers_folder
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.named_options import named_options

_DATA, _OPTIMIZATION = "experiment.data", "experiment.optimization"
_ENCODER, _PREDICTOR = "model_kwargs.pretrain_kwargs.encoder", "model_kwargs.pretrain_kwargs.predictor"
_HEATMAP_KEYS = (
    "heatmap_base_path", "heatmap_sources", "heatmap_view", "heatmap_resolution", "heatmap_frame_tolerance",
    "heatmap_inout", "heatmap_random_resize_scale", "heatmap_key", "heatmap_axes", "heatmap_first_frame", "missing",
    "allow_future", "gaze_tokens",
)  # fmt: skip
_PICTURE_KEYS = ("video_info_path", "frame_template", "frame_index_offset")
_CHOICE_KEYS = ("key", "axes", "first_frame")
_CLUSTER_KEYS = ("nodes", "tasks_per_node", "cpus_per_task", "mem_per_gpu")
_CROP_KEYS = ("random_resize_scale", "random_resize_aspect_ratio", "random_horizontal_flip")

_Rules = list[tuple[str, bool, list[str]]]  # reason, whether it applies to this run, keys without effect then


def notes_of(config: TrainingConfig, device: torch.device) -> list[str]:
    """What a reader of the log should know about how the config is carried out."""
    notes = []
    if config.model_kwargs.checkpoint == RANDOM_WEIGHTS:
        notes.append(f"RANDOM WEIGHTS: encoder and predictor are untrained (seed {config.seed}); for trials only.")
    notes += version_notes(config)
    notes += named_options(config.model_dump(mode="json"))
    data = config.experiment.data
    low, high = data.train_anticipation_time_sec or data.anticipation_time_sec
    if data.feature_cache is not None and not data.training_clips_repeat:
        notes.append(
            "feature_cache keeps validation clips only: training clips differ between epochs (train_transform: "
            f"{data.train_transform}, anticipation time {low:g} to {high:g} s). `train_views: 4` would fix four views."
        )
    if config.model_kwargs.pretrain_kwargs.predictor.heatmap_positions is None:
        with suppress(UsageError):  # settle() reports it
            specs = plan_learners(config)
            own = {s.arm for s in specs if s.config.model_kwargs.pretrain_kwargs.predictor.heatmap_positions == "own"}
            if own:
                notes.append(
                    f"heatmap_positions: own for {', '.join(sorted(own))}, whose maps are of another view than the "
                    "video (set predictor.heatmap_positions to choose)."
                )
    parts = [f"{', '.join(keys)} ({reason})" for reason, keys in ignored_keys(config, device).items()]
    return [*notes, "WITHOUT EFFECT in this run: " + "; ".join(parts) + "."] if parts else notes


def ignored_keys(config: TrainingConfig, device: torch.device) -> dict[str, list[str]]:
    """Reason -> dotted keys that the config sets and that change nothing in its run.

    Lists only keys written in the config. Keys with a single allowed value (`use_rope: true`) are not listed.
    """
    found: dict[str, list[str]] = {}
    fixed_view, crops = config.experiment.data.train_transform == "evaluation", [f"{_DATA}.{key}" for key in _CROP_KEYS]
    for reason, applies, keys in (
        *_general_rules(config, device),
        *_heatmap_rules(config),
        ("train_transform: evaluation draws nothing", fixed_view, crops),
    ):
        if applies and (written := [key for key in keys if _is_written(config, key)]):
            found.setdefault(reason, []).extend(written)
    return found | _idle_rates(config)


def _is_written(settings: Any, key: str) -> bool:
    """Whether the config's file (or an override) has the dotted `key`."""
    *parents, name = key.split(".")
    for parent in parents:
        settings = settings[parent] if isinstance(settings, dict) else getattr(settings, parent)
    return name in settings.model_fields_set


def _general_rules(config: TrainingConfig, device: torch.device) -> _Rules:
    data, optimization = config.experiment.data, config.experiment.optimization
    checkpoint = config.model_kwargs.checkpoint
    is_random, on_cpu = checkpoint == RANDOM_WEIGHTS, device.type != "cuda"
    recomputes = config.model_kwargs.pretrain_kwargs.encoder.use_activation_checkpointing
    has_several = not is_random and transformers_folder(checkpoint) is None
    tables = [f"{part}.{key}" for part in (_ENCODER, _PREDICTOR) for key in ("uniform_power", "wide_silu")]
    names = [f"{part}.checkpoint_key" for part in (_ENCODER, _PREDICTOR)]
    return [
        ("there is one kind of evaluation", True, ["eval_name"]),
        ("a training that goes on always goes on in its W&B run", True, ["experiment.wandb.resume"]),
        ("for a cluster's scheduler; processes are started by --gpus, --processes and --nodes", True, [*_CLUSTER_KEYS]),
        ("the annotation files say what they are", True, [f"{_DATA}.dataset"]),
        ("only with position tables and SiLU blocks; these models use rotary positions and GELU", True, tables),
        ("only with CUDA", on_cpu and data.pin_memory, [f"{_DATA}.pin_memory"]),
        ("only with CUDA", on_cpu and optimization.use_bfloat16, [f"{_OPTIMIZATION}.use_bfloat16"]),
        *_option_rules(config),
        *_version_rules(config),
        (
            "only with input_format: frames",
            is_file := data.input_format == "video",
            [f"{_DATA}.{k}" for k in _PICTURE_KEYS],
        ),
        (
            "folders of pictures are looked for by video id",
            not is_file,
            [f"{_DATA}.file_format", f"{_DATA}.index_cache"],
        ),
        ("loss names one", optimization.loss is not None, [f"{_OPTIMIZATION}.use_focal_loss"]),
        ("the frozen encoder keeps no activations", recomputes, [f"{_ENCODER}.use_activation_checkpointing"]),
        (f"checkpoint: {checkpoint} is no file with several models", not has_several, names),
        ("the checkpoint has the mask tokens", not is_random, [f"{_PREDICTOR}.zero_init_mask_tokens"]),
    ]


def _option_rules(config: TrainingConfig) -> _Rules:
    weights = config.experiment.optimization.class_weights
    options = [f"{_OPTIMIZATION}.{name}" for name in ("early_stopping", "ema", "class_weights")]
    no_beta = weights is not None and weights.kind != "effective_number"
    return [
        ("only where something trains", config.val_only, options),
        ("only of effective_number", no_beta, [f"{_OPTIMIZATION}.class_weights.beta"]),
    ]


def _version_rules(config: TrainingConfig) -> _Rules:
    pretrain, no_predictor = config.model_kwargs.pretrain_kwargs, config.model_kwargs.wrapper_kwargs.no_predictor
    keys = ("n_output_distillation", "teacher_embed_dim", "return_all_tokens", "interpolate_rope")
    later = [f"{_ENCODER}.{key}" for key in LATER_ENCODER_KEYS]
    later += [f"{_PREDICTOR}.{key}" for key in LATER_PREDICTOR_KEYS]
    if not pretrain.use_v2_1:
        return [("only V-JEPA 2.1 has them: use_v2_1 is false", True, later)]
    no_vector = pretrain.predictor.img_temporal_dim_size is None
    return [
        ("the predictor reads one level", encoder_levels(config) == 1, [f"{_ENCODER}.n_output_distillation"]),
        ("no_predictor leaves it out", no_predictor, [f"{_PREDICTOR}.{key}" for key in keys]),
        ("img_temporal_dim_size is null", no_vector, [f"{_PREDICTOR}.modality_embedding"]),
    ]


def _heatmap_rules(config: TrainingConfig) -> _Rules:
    data, predictor = config.experiment.data, config.model_kwargs.pretrain_kwargs.predictor
    if not data.use_heatmap:
        keys = [f"{_DATA}.{key}" for key in _HEATMAP_KEYS]
        keys += [f"{_PREDICTOR}.{key}" for key in ("heatmap_dropout", "heatmap_patch_size", "multiscale")]
        return [("use_heatmap is false", True, keys)]
    kinds, views = source_kinds(data), [data.heatmap_view, *(one.view for one in data.heatmap_sources.values())]
    paths = {name: f"{_DATA}.heatmap_sources.{name}" for name in data.heatmap_sources}
    points = {name: path for name, path in paths.items() if kinds[name] == "gaze_points"}
    no_store = [f"{p}.{key}" for n, p in paths.items() if kinds[n] != "store" for key in ("people", "normalize")]
    no_points = [f"{path}.points" for name, path in paths.items() if name not in points]
    no_angle = [n for n in points if data.heatmap_sources[n].points.sigma_degrees is None]
    foreign = {name for name, one in source_settings(data).items() if is_foreign(one.path, kinds[name])}
    ours = [f"{path}.{key}" for name, path in paths.items() if name not in foreign for key in _CHOICE_KEYS]
    other_view = "only for maps of another view than the video's"
    return [
        ("only of a store", True, no_store),
        ("only of gaze points", True, no_points),
        ("only with sigma_degrees", True, [f"{points[name]}.points.horizontal_fov_degrees" for name in no_angle]),
        ("only of a dataset", "dataset" not in kinds.values(), [f"{_DATA}.heatmap_frame_tolerance"]),
        (no_choice := "only of other tools' heatmaps", True, ours),
        (no_choice, not foreign, [f"{_DATA}.heatmap_{key}" for key in _CHOICE_KEYS]),
        (other_view, not any(views), [f"{_DATA}.heatmap_random_resize_scale"]),
        ("multiscale replaces it", bool(predictor.multiscale), [f"{_PREDICTOR}.heatmap_patch_size"]),
        *_token_rules(config),
    ]


def _token_rules(config: TrainingConfig) -> _Rules:
    """Keys of scene tokens where no arm reads them, and of heatmaps where no arm reads those."""
    sources = {spec.source for spec in plan_learners(config) if spec.source is not None}
    of_maps = [f"{_DATA}.{key}" for key in ("heatmap_base_path", "heatmap_sources", "heatmap_resolution")]
    of_maps += [f"{_PREDICTOR}.{key}" for key in ("heatmap_patch_size", "multiscale")]
    return [
        ("no arm has fusion: gaze_tokens", TOKEN_SOURCE not in sources, [f"{_DATA}.gaze_tokens"]),
        ("every arm reads scene tokens", sources == {TOKEN_SOURCE}, of_maps),
    ]


def _idle_rates(config: TrainingConfig) -> dict[str, list[str]]:
    """Learning rates of parts that no model, or not the arm that names them, trains."""
    specs, found = plan_learners(config), {}
    training = {
        "heatmap": {s.arm for s in specs if trained_part(s.config) != "probe" and uses_heatmap(s.config)},
        "predictor": {s.arm for s in specs if trained_part(s.config) in ("predictor", "all_but_encoder")},
    }
    for part, arms in training.items():
        named = [arm.name for arm in config.arms if getattr(arm, f"{part}_lr") is not None]
        own = [f"arms.{name}.{part}_lr" for name in named if name not in arms]
        shared = f"{_OPTIMIZATION}.{part}_lr"
        if keys := own + ([shared] if not arms and _is_written(config, shared) else []):
            found[f"the {part} part does not train"] = keys
    return found
