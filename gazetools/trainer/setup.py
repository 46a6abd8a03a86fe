"""What is settled before training: what this version cannot do, the device, and the description of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.models.build import (
    _build_predictor,
    build_probe,
    check_model_settings,
    choose_trained,
    trained_part,
)
from gazetools.trainer.models.cost import encoder_flops, heatmap_token_count, predictor_flops, probe_flops
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.sizes import encoder_size
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

# Of the config keys that only describe where and how a run is carried out; a resumed run may change them.
_FREE_KEYS = (
    "folder", "tag", "eval_name", "resume_checkpoint", "val_only", "classifier_checkpoint", "nodes", "tasks_per_node",
    "cpus_per_task", "mem_per_gpu", "device", "log_every", "experiment.wandb", "experiment.data.num_workers",
    "experiment.data.pin_memory", "experiment.data.max_unreadable_clips", "experiment.data.base_path",
    "experiment.data.heatmap_base_path", "experiment.data.dataset_train", "experiment.data.dataset_val",
)  # fmt: skip


def check_available(config: TrainingConfig) -> None:
    """UsageError with everything that the config asks for and this version lacks, and every wrong model setting."""
    data, optimization = config.experiment.data, config.experiment.optimization
    problems = []
    if data.auto_augment:
        problems.append("experiment.data.auto_augment=true: RandAugment is not available yet; set it to false.")
    if data.motion_shift:
        problems.append("experiment.data.motion_shift=true is not available yet; set it to false.")
    if data.reprob > 0:
        problems.append(f"experiment.data.reprob={data.reprob:g}: random erasing is not available yet; set it to 0.")
    if len(optimization.multihead_kwargs) > 1 and optimization.head is None:
        listed = len(optimization.multihead_kwargs)
        problems.append(
            f"experiment.optimization.multihead_kwargs lists {listed} probes; this version trains one: choose it with "
            f"experiment.optimization.head=0..{listed - 1}."
        )
    if config.val_only and not (config.classifier_checkpoint or config.resume_checkpoint):
        problems.append("val_only=true needs classifier_checkpoint (or resume_checkpoint=true) to have weights.")
    try:
        check_model_settings(config)
    except UsageError as error:
        problems.append(str(error))
    if problems:
        raise UsageError(" ".join(problems), problems=problems)


def notes_of(config: TrainingConfig) -> list[str]:
    """What a reader of the log should know about how the config is carried out."""
    notes = []
    if config.nodes * config.tasks_per_node > 1:
        notes.append(
            f"nodes: {config.nodes}, tasks_per_node: {config.tasks_per_node} are for a cluster; this is one process."
        )
    if config.model_kwargs.checkpoint == RANDOM_WEIGHTS:
        notes.append(f"RANDOM WEIGHTS: encoder and predictor are untrained (seed {config.seed}); for trials only.")
    if config.experiment.data.pin_memory and config.device == "cpu":
        notes.append("pin_memory has no effect on the CPU.")
    return notes


def choose_device(config: TrainingConfig) -> torch.device:
    """`auto` takes CUDA where it works; EnvironmentLacksError where CUDA is asked for and absent."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise EnvironmentLacksError(
            f"device: {name} was asked for, but torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "device(s).",
            hint="Set device=cpu, or install a CUDA build of torch.",
        )
    return device


def describe_model(config: TrainingConfig, num_classes: dict[str, int]) -> dict[str, Any]:
    """Sizes, tokens and parameters of the model that the config describes, built without memory (meta device)."""
    encoder_settings = config.model_kwargs.pretrain_kwargs.encoder
    size = encoder_size(encoder_settings)
    with torch.device("meta"):
        encoder = VideoEncoder(
            embed_dim=size.embed_dim, depth=size.depth, num_heads=size.num_heads, mlp_ratio=size.mlp_ratio,
            patch_size=encoder_settings.patch_size, tubelet_size=encoder_settings.tubelet_size,
        )  # fmt: skip
        no_predictor = config.model_kwargs.wrapper_kwargs.no_predictor
        predictor = None if no_predictor else _build_predictor(config, size.embed_dim, {})
        probe = build_probe(config, num_classes, size.embed_dim)
    data = config.experiment.data
    wrapper = AnticipativeWrapperHeatmap(
        encoder, predictor, frames_per_second=data.frames_per_second, crop_size=data.resolution,
        patch_size=encoder_settings.patch_size, tubelet_size=encoder_settings.tubelet_size, no_predictor=no_predictor,
    )  # fmt: skip
    wrapper.requires_grad_(False)
    part = trained_part(config)
    trained = choose_trained(wrapper, part)
    steps = data.frames_per_clip // encoder_settings.tubelet_size
    grid = data.resolution // encoder_settings.patch_size
    heatmap = predictor.heatmap_tokens if predictor is not None else None
    trained_count = sum(p.numel() for group in trained.values() for p in group) + _count(probe)
    total = _count(encoder) + (_count(predictor) if predictor is not None else 0) + _count(probe)
    return {
        "encoder": {"name": encoder_settings.model_name, **vars(size), "parameters": _count(encoder)},
        "predictor_parameters": _count(predictor) if predictor is not None else 0,
        "heatmap_parameters": _count(heatmap) if heatmap is not None else 0,
        "probe_parameters": _count(probe),
        "train": part,
        "trained_parameters": trained_count,
        # float32 weights, and gradient and two AdamW moments for what trains; activations come on top
        "weight_and_optimizer_bytes": 4 * total + 12 * trained_count,
        "video_tokens": steps * grid * grid,
        "heatmap_tokens": heatmap_token_count(predictor, steps) if predictor is not None else 0,
        "tokens_per_step": {
            "video": grid * grid,
            "heatmap": heatmap.tokens_per_step if heatmap is not None else 0,
            "interleaved": predictor is not None and predictor.fusion == "interleave",
        },
        "forward_gflops_per_clip": _costs(config, encoder, predictor, probe, steps),
        "resolution": data.resolution,
        "frames_per_clip": data.frames_per_clip,
    }


def _costs(
    config: TrainingConfig,
    encoder: VideoEncoder,
    predictor: VisionTransformerPredictorHeatmap | None,
    probe: AttentiveClassifier,
    steps: int,
) -> dict[str, float]:
    wrapper, tubelet = config.model_kwargs.wrapper_kwargs, encoder.tubelet_size
    cells = (config.experiment.data.resolution // encoder.patch_size) ** 2
    predicted = max(wrapper.num_output_frames // tubelet, 1)
    tokens = 0 if wrapper.no_encoder else steps * cells
    costs = {"encoder": encoder_flops(encoder, steps * cells)}
    if predictor is not None:
        costs["predictor"] = wrapper.num_steps * predictor_flops(predictor, steps=steps, predicted_steps=predicted)
        tokens += wrapper.num_steps * predicted * cells
    costs["probe"] = probe_flops(probe, tokens)
    return {name: round(value / 1e9, 6) for name, value in costs.items()}


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def differing_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Dotted keys of two dumped configs whose values differ, without those that a resumed run may change."""
    flat_old, flat_new = _flatten(old), _flatten(new)
    keys = sorted(set(flat_old) | set(flat_new))
    return [
        key
        for key in keys
        if flat_old.get(key) != flat_new.get(key) and not any(key == f or key.startswith(f + ".") for f in _FREE_KEYS)
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
