"""Which keys that a config sets mean nothing in its run, and why: files written for other trees load unchanged."""

from __future__ import annotations

import torch

from gazetools.schemas.base import StrictModel
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.data.maps.build import source_kinds
from gazetools.trainer.models.build import trained_part, uses_heatmap
from gazetools.trainer.models.transformers_folder import transformers_folder
from gazetools.trainer.plan.arms import plan_learners

_PRETRAIN = "model_kwargs.pretrain_kwargs"
_HEATMAP_KEYS = (
    "heatmap_base_path", "heatmap_sources", "heatmap_view", "heatmap_resolution", "heatmap_frame_tolerance",
    "heatmap_inout", "heatmap_random_resize_scale", "missing", "allow_future",
)  # fmt: skip
_CROP_KEYS = ("random_resize_scale", "random_resize_aspect_ratio", "random_horizontal_flip")
_OF_A_STORE = ("people", "normalize")


def ignored_keys(config: TrainingConfig, device: torch.device) -> dict[str, list[str]]:
    """Reason -> dotted keys that the config sets although they change nothing of what it describes.

    Keys that only one value of is accepted (use_rope: true) hold by that; defaults that nobody wrote are not told.
    """
    found: dict[str, list[str]] = {}
    for reason, keys in (
        *_of_other_trees(config),
        *_of_the_device(config, device),
        *_of_the_weights(config),
        *_of_the_heatmaps(config),
        *_of_the_clips(config),
        *_of_what_trains(config),
    ):
        if keys:
            found.setdefault(reason, []).extend(keys)
    return found


def ignored_note(config: TrainingConfig, device: torch.device) -> str | None:
    """One line for the start of a run; None where every key counts."""
    found = ignored_keys(config, device)
    parts = [f"{', '.join(keys)} ({reason})" for reason, keys in found.items()]
    return "WITHOUT EFFECT in this run: " + "; ".join(parts) + "." if parts else None


_Found = list[tuple[str, list[str]]]


def _set(settings: StrictModel, path: str, *names: str) -> list[str]:
    """Those of `names` that were written in the config, with their path."""
    return [f"{path}.{name}" if path else name for name in names if name in settings.model_fields_set]


def _of_other_trees(config: TrainingConfig) -> _Found:
    encoder, predictor = config.model_kwargs.pretrain_kwargs.encoder, config.model_kwargs.pretrain_kwargs.predictor
    tables = [
        *_set(encoder, f"{_PRETRAIN}.encoder", "uniform_power", "wide_silu"),
        *_set(predictor, f"{_PRETRAIN}.predictor", "uniform_power", "wide_silu"),
    ]
    return [
        ("there is one kind of evaluation", _set(config, "", "eval_name")),
        (
            "for a cluster's scheduler; processes are started by --gpus, --processes and --nodes",
            _set(config, "", "nodes", "tasks_per_node", "cpus_per_task", "mem_per_gpu"),
        ),
        ("the annotation files say what they are", _set(config.experiment.data, "experiment.data", "dataset")),
        ("of position tables and SiLU blocks, which models with rotary positions and GELU have not", tables),
    ]


def _of_the_device(config: TrainingConfig, device: torch.device) -> _Found:
    data, optimization = config.experiment.data, config.experiment.optimization
    keys = _set(data, "experiment.data", "pin_memory") if data.pin_memory else []
    if optimization.use_bfloat16:
        keys += _set(optimization, "experiment.optimization", "use_bfloat16")
    return [("only with CUDA", keys if device.type != "cuda" else [])]


def _of_the_weights(config: TrainingConfig) -> _Found:
    encoder, predictor = config.model_kwargs.pretrain_kwargs.encoder, config.model_kwargs.pretrain_kwargs.predictor
    checkpoint = config.model_kwargs.checkpoint
    is_random, frozen = checkpoint == RANDOM_WEIGHTS, []
    if encoder.use_activation_checkpointing:
        frozen = _set(encoder, f"{_PRETRAIN}.encoder", "use_activation_checkpointing")
    names = [
        *_set(encoder, f"{_PRETRAIN}.encoder", "checkpoint_key"),
        *_set(predictor, f"{_PRETRAIN}.predictor", "checkpoint_key"),
    ]
    is_file = not is_random and transformers_folder(checkpoint) is None
    start = _set(predictor, f"{_PRETRAIN}.predictor", "zero_init_mask_tokens")
    return [
        ("the frozen encoder keeps no activations", frozen),
        (f"checkpoint: {checkpoint} is no file with several models", [] if is_file else names),
        ("the checkpoint has the mask tokens", [] if is_random else start),
    ]


def _of_the_heatmaps(config: TrainingConfig) -> _Found:
    data, predictor = config.experiment.data, config.model_kwargs.pretrain_kwargs.predictor
    if not data.use_heatmap:
        dropout = _set(predictor, f"{_PRETRAIN}.predictor", "heatmap_dropout", "heatmap_patch_size", "multiscale")
        return [("use_heatmap is false", _set(data, "experiment.data", *_HEATMAP_KEYS) + dropout)]
    kinds, views = source_kinds(data), [data.heatmap_view, *(one.view for one in data.heatmap_sources.values())]
    store, points, fov = [], [], []
    for name, source in data.heatmap_sources.items():
        path = f"experiment.data.heatmap_sources.{name}"
        if kinds[name] != "store":
            store += _set(source, path, *_OF_A_STORE)
        if kinds[name] != "gaze_points":
            points += _set(source, path, "points")
        elif source.points.sigma_degrees is None:
            fov += _set(source.points, f"{path}.points", "horizontal_fov_degrees")
    scale = _set(data, "experiment.data", "heatmap_random_resize_scale")
    tolerance = _set(data, "experiment.data", "heatmap_frame_tolerance")
    patch = _set(predictor, f"{_PRETRAIN}.predictor", "heatmap_patch_size")
    return [
        ("only of a store", store),
        ("only of gaze points", points),
        ("only with sigma_degrees", fov),
        ("only of a dataset", tolerance if "dataset" not in kinds.values() else []),
        ("only for maps of another view than the video's", scale if not any(views) else []),
        ("multiscale replaces it", patch if predictor.multiscale else []),
    ]


def _of_the_clips(config: TrainingConfig) -> _Found:
    data = config.experiment.data
    crops = _set(data, "experiment.data", *_CROP_KEYS) if data.train_transform == "evaluation" else []
    return [("train_transform: evaluation draws nothing", crops)]


def _of_what_trains(config: TrainingConfig) -> _Found:
    """Rates of parts that no model, or not the arm that names them, trains."""
    heatmap, predictor = set(), set()
    for spec in plan_learners(config):
        part = trained_part(spec.config)
        if part != "probe" and uses_heatmap(spec.config):
            heatmap.add(spec.arm)
        if part in ("predictor", "all_but_encoder"):
            predictor.add(spec.arm)
    found: _Found = []
    for key, arms in (("heatmap_lr", heatmap), ("predictor_lr", predictor)):
        own = [
            f"arms.{arm.name}.{key}" for arm in config.arms if getattr(arm, key) is not None and arm.name not in arms
        ]
        shared = [] if arms else _set(config.experiment.optimization, "experiment.optimization", key)
        found.append((f"the {key.removesuffix('_lr')} part does not train", own + shared))
    return found
