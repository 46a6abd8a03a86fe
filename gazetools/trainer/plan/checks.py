"""What is settled before training: what this version cannot do, the device, and the description of a model."""

from __future__ import annotations

import os
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gazetools.schemas.errors import EnvironmentLacksError, UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.models.build import (
    HEATMAP_PREFIXES,
    _build_predictor,
    build_probe,
    choose_trained,
    read_checkpoint,
    trained_part,
)
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.sizes import encoder_size
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.cost import encoder_flops, heatmap_token_count, predictor_flops, probe_flops

# Of the config keys that only describe where and how a run is carried out; a resumed run may change them.
_FREE_KEYS = (
    "folder", "tag", "eval_name", "resume_checkpoint", "val_only", "classifier_checkpoint", "nodes", "tasks_per_node",
    "cpus_per_task", "mem_per_gpu", "device", "log_every", "checkpoint_every", "experiment.wandb",
    "experiment.tensorboard",
    "experiment.data.num_workers", "experiment.data.pin_memory", "experiment.data.max_unreadable_clips",
    "experiment.evaluation.horizons", "experiment.data.heatmap_base_path", "experiment.data.base_path",
    "experiment.data.dataset_train", "experiment.data.dataset_val", "experiment.data.index_cache",
    "experiment.data.feature_cache.folder", "experiment.data.feature_cache.budget_gib",
    "experiment.data.takes_file", "experiment.data.heatmap_sources.*.path",
)  # fmt: skip


def check_available(config: TrainingConfig) -> None:
    """UsageError with everything that the config asks for and this version lacks, and every wrong model setting."""
    problems = []
    try:
        plan_learners(config)
    except UsageError as error:
        problems += error.details["problems"]
    if problems:
        raise UsageError(" ".join(problems), problems=problems)


def check_weights_exist(config: TrainingConfig) -> None:
    """EnvironmentLacksError where `model_kwargs.checkpoint` is a path that does not exist; UsageError likewise for
    `classifier_checkpoint`, which is the user's own."""
    given = config.classifier_checkpoint
    if given is not None and not Path(given).exists():
        raise UsageError(
            f"classifier_checkpoint: {given} does not exist.",
            hint="Pass a run folder, a checkpoint folder, an export of weights, or a probe file of V-JEPA 2.",
        )
    name = config.model_kwargs.checkpoint
    if name.endswith((".pt", ".pth")) and not Path(name).is_file():
        read_checkpoint(Path(name))  # says where to get one


def notes_of(config: TrainingConfig) -> list[str]:
    """What a reader of the log should know about how the config is carried out."""
    notes = []
    if config.model_kwargs.checkpoint == RANDOM_WEIGHTS:
        notes.append(f"RANDOM WEIGHTS: encoder and predictor are untrained (seed {config.seed}); for trials only.")
    data = config.experiment.data
    low, high = data.train_anticipation_time_sec or data.anticipation_time_sec
    if data.feature_cache is not None and (data.train_transform == "random" or low < high):
        notes.append(
            "feature_cache keeps validation clips only: training clips differ between epochs (train_transform: "
            f"{data.train_transform}, anticipation time {low:g} to {high:g} s)."
        )
    if config.model_kwargs.pretrain_kwargs.predictor.heatmap_positions is None:
        with suppress(UsageError):  # told by check_available
            own = {s.arm for s in plan_learners(config) if _positions(s.config) == "own"}
            if own:
                notes.append(
                    f"heatmap_positions: own for {', '.join(sorted(own))}, whose maps are of another view than the "
                    "video (set predictor.heatmap_positions to choose)."
                )
    return notes


def _positions(config: TrainingConfig) -> str | None:
    return config.model_kwargs.pretrain_kwargs.predictor.heatmap_positions


def choose_device(config: TrainingConfig) -> torch.device:
    """`auto` takes CUDA where it works; EnvironmentLacksError where CUDA is asked for and absent."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one GPU per process
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise EnvironmentLacksError(
            f"device: {name} was asked for, but torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "device(s).",
            hint="Set device=cpu, or install a CUDA build of torch.",
        )
    if config.model_kwargs.pretrain_kwargs.encoder.compile:
        _check_compiler(device)
    return device


def _check_compiler(device: torch.device) -> None:
    """EnvironmentLacksError where torch.compile cannot work on `device`: no C++ compiler, or no Triton on CUDA."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except Exception as error:
        raise EnvironmentLacksError(
            f"encoder.compile is true, but torch.compile does not work here: {type(error).__name__}: "
            f"{str(error)[:300]}",
            hint="Install a C++ compiler (CPU: apt-get install g++) or Triton (CUDA: pip install triton), or set "
            "model_kwargs.pretrain_kwargs.encoder.compile=false.",
        ) from error


def describe_model(config: TrainingConfig, num_classes: dict[str, int]) -> dict[str, Any]:
    """Sizes, tokens, parameters and costs of all models of a run, built without memory (meta device).

    The figures at the top are those of the first arm; `learners` has one entry per model, the bytes are of all.
    """
    encoder_settings = config.model_kwargs.pretrain_kwargs.encoder
    size = encoder_size(encoder_settings)
    with torch.device("meta"):
        encoder = VideoEncoder(
            embed_dim=size.embed_dim, depth=size.depth, num_heads=size.num_heads, mlp_ratio=size.mlp_ratio,
            patch_size=encoder_settings.patch_size, tubelet_size=encoder_settings.tubelet_size,
        )  # fmt: skip
        probe = build_probe(config, num_classes, size.embed_dim)
    data = config.experiment.data
    steps = data.frames_per_clip // encoder_settings.tubelet_size
    grid = data.resolution // encoder_settings.patch_size
    specs = plan_learners(config)
    arms = {spec.arm: _describe_arm(spec.config, encoder, probe, steps) for spec in specs}
    first = arms[specs[0].arm]
    encoder_bytes = _count(encoder) * (2 if encoder_settings.dtype == "bfloat16" else 4)
    trunks = {spec.trunk: arms[spec.arm]["predictor_parameters"] for spec in specs}
    trained = sum(arms[spec.arm]["trained_parameters"] for spec in specs)
    return {
        "encoder": {"name": encoder_settings.model_name, **vars(size), "parameters": _count(encoder)},
        "probe_parameters": _count(probe),
        **first,
        "learners": {spec.name: {"arm": spec.arm, "seed": spec.seed, "head": spec.head} for spec in specs},
        "arms": arms,
        # float32 weights, and gradient and two AdamW moments for what trains; activations come on top
        "weight_and_optimizer_bytes": (
            encoder_bytes + 4 * (sum(trunks.values()) + len(specs) * _count(probe)) + 12 * trained
        ),
        "video_tokens": steps * grid * grid,
        "resolution": data.resolution,
        "frames_per_clip": data.frames_per_clip,
    }


def _describe_arm(
    config: TrainingConfig, encoder: VideoEncoder, probe: AttentiveClassifier, steps: int
) -> dict[str, Any]:
    data, wrapper_settings = config.experiment.data, config.model_kwargs.wrapper_kwargs
    with torch.device("meta"):
        no_predictor = wrapper_settings.no_predictor
        predictor = None if no_predictor else _build_predictor(config, encoder.embed_dim, {})
    wrapper = AnticipativeWrapperHeatmap(
        encoder, predictor, frames_per_second=data.frames_per_second, crop_size=data.resolution,
        patch_size=encoder.patch_size, tubelet_size=encoder.tubelet_size, no_predictor=no_predictor,
    )  # fmt: skip
    wrapper.requires_grad_(False)
    part = trained_part(config)
    trained = choose_trained(wrapper, part)
    heatmap = predictor.heatmap_tokens if predictor is not None else None
    new = [p for n, p in predictor.named_parameters() if n.startswith(HEATMAP_PREFIXES)] if predictor else []
    return {
        "fusion": predictor.fusion if predictor is not None else "none",
        "train": part,
        "predictor_parameters": _count(predictor) if predictor is not None else 0,
        "heatmap_parameters": sum(p.numel() for p in new),
        "trained_parameters": sum(p.numel() for group in trained.values() for p in group) + _count(probe),
        "heatmap_tokens": heatmap_token_count(predictor, steps) if predictor is not None else 0,
        "tokens_per_step": {
            "video": wrapper.grid**2,
            "heatmap": heatmap.tokens_per_step if heatmap is not None else 0,
            "interleaved": bool(predictor and predictor.heatmap_fusion and predictor.heatmap_fusion.lengthens),
        },
        "forward_gflops_per_clip": _costs(config, encoder, predictor, probe, steps),
    }


def check_memory(device: torch.device, model: dict[str, Any]) -> None:
    """UsageError where weights, gradients and optimizer alone are more than the device has."""
    needed = model["weight_and_optimizer_bytes"]
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[1]
    else:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise UsageError(
            f"{len(model['learners'])} model(s) need {needed / 2**30:.1f} GiB for weights, gradients and optimizer, "
            f"{device} has {available / 2**30:.1f} GiB.",
            hint="Use fewer arms, seeds or probes, optimization.train=probe or heatmap, or dtype: bfloat16 for the "
            "encoder.",
        )


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
    return [key for key in keys if flat_old.get(key) != flat_new.get(key) and not _is_free(key)]


def _is_free(key: str) -> bool:
    return any(fnmatchcase(key, free) or key.startswith(free + ".") for free in _FREE_KEYS)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
