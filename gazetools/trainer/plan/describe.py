"""Description of a run's models: sizes, tokens, parameters and floating-point operations (a multiply-add is two)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.models.build import (
    HEATMAP_PREFIXES,
    build_encoder,
    build_predictor,
    build_probe,
    choose_trained,
    trained_part,
)
from gazetools.trainer.models.encoder21 import AnyVideoEncoder
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.sizes import encoder_size
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.memory import held_values


def describe_model(config: TrainingConfig, num_classes: dict[str, int]) -> dict[str, Any]:
    """Sizes, tokens, parameters and costs of all models of a run, built without memory (meta device).

    The figures at the top are those of the first arm; `learners` has one entry per model, the bytes are of all.
    """
    encoder_settings, data = config.model_kwargs.pretrain_kwargs.encoder, config.experiment.data
    with torch.device("meta"):
        encoder = build_encoder(config.model_kwargs)
        probe = build_probe(config, num_classes, encoder.embed_dim)
    size = vars(encoder_size(encoder_settings, use_v2_1=config.model_kwargs.pretrain_kwargs.use_v2_1))
    specs = plan_learners(config)
    configs = {spec.arm: spec.config for spec in specs}
    predictors = {arm: _predictor(own, encoder.embed_dim) for arm, own in configs.items()}
    arms = {arm: _describe_arm(own, encoder, predictors[arm], probe) for arm, own in configs.items()}
    encoder_bytes = _count(encoder) * (2 if encoder_settings.dtype == "bfloat16" else 4)
    trained = sum(arms[spec.arm]["trained_parameters"] for spec in specs)
    weights = encoder_bytes + 4 * (held_values(specs, predictors) + len(specs) * _count(probe))
    return {
        "encoder": {
            "name": encoder_settings.model_name,
            **size,
            "output_width": encoder.output_width,
            "parameters": _count(encoder),
        },
        "probe_parameters": _count(probe),
        **arms[specs[0].arm],
        "learners": {spec.name: {"arm": spec.arm, "seed": spec.seed, "head": spec.head} for spec in specs},
        "arms": arms,
        # float32 weights, and gradient and two AdamW moments for what trains; activations come on top
        "weight_and_optimizer_bytes": weights + 12 * trained,
        "bytes": {"weights": weights, "gradients": 4 * trained, "optimizer": 8 * trained},
        "video_tokens": _steps(config) * (data.resolution // encoder_settings.patch_size) ** 2,
        "resolution": data.resolution,
        "frames_per_clip": data.frames_per_clip,
    }


def _steps(config: TrainingConfig) -> int:
    """Number of observed time steps."""
    return config.experiment.data.frames_per_clip // config.model_kwargs.pretrain_kwargs.encoder.tubelet_size


def _predictor(config: TrainingConfig, encoder_width: int) -> VisionTransformerPredictorHeatmap | None:
    """The predictor on the meta device, with gradients where it trains."""
    predictor = None
    if not config.model_kwargs.wrapper_kwargs.no_predictor:
        with torch.device("meta"):
            predictor = build_predictor(config, encoder_width, {})
        predictor.requires_grad_(False)
    choose_trained(predictor, trained_part(config))
    return predictor


def _describe_arm(
    config: TrainingConfig,
    encoder: AnyVideoEncoder,
    predictor: VisionTransformerPredictorHeatmap | None,
    probe: AttentiveClassifier,
) -> dict[str, Any]:
    settings, steps = config.model_kwargs.wrapper_kwargs, _steps(config)
    cells = (config.experiment.data.resolution // encoder.patch_size) ** 2
    tokens = 0 if settings.no_encoder else steps * cells
    flops = {"encoder": encoder_flops(encoder, steps * cells)}
    if predictor is not None:
        predicted = max(settings.num_output_frames // encoder.tubelet_size, 1)
        flops["predictor"] = settings.num_steps * predictor_flops(predictor, steps=steps, predicted_steps=predicted)
        tokens += settings.num_steps * predicted * cells
    flops["probe"] = probe_flops(probe, tokens)
    own = list(predictor.named_parameters()) if predictor is not None else []
    heatmap = predictor.heatmap_tokens if predictor is not None else None
    per_step = heatmap.tokens_per_step if heatmap is not None else 0
    return {
        "fusion": predictor.fusion if predictor is not None else "none",
        "train": trained_part(config),
        "predictor_parameters": _count(predictor) if predictor is not None else 0,
        "heatmap_parameters": sum(p.numel() for name, p in own if name.startswith(HEATMAP_PREFIXES)),
        "trained_parameters": sum(p.numel() for _, p in own if p.requires_grad) + _count(probe),
        "heatmap_tokens": steps * per_step,
        "tokens_per_step": {
            "video": cells,
            "heatmap": per_step,
            "interleaved": bool(predictor and predictor.heatmap_fusion and predictor.heatmap_fusion.lengthens),
        },
        "forward_gflops_per_clip": {name: round(value / 1e9, 6) for name, value in flops.items()},
    }


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def encoder_flops(encoder: AnyVideoEncoder, video_tokens: int) -> int:
    """Operations of the encoder for a clip of `video_tokens`."""
    width = encoder.embed_dim
    patch_values = 3 * encoder.tubelet_size * encoder.patch_size**2
    hidden = len(encoder.blocks[0].get_parameter("mlp.fc1.weight"))
    return 2 * video_tokens * width * patch_values + len(encoder.blocks) * _block(video_tokens, width, hidden)


def predictor_flops(predictor: VisionTransformerPredictorHeatmap, *, steps: int, predicted_steps: int = 1) -> int:
    """Operations of one prediction from `steps` observed time steps."""
    cells, width = predictor.grid**2, predictor.predictor_norm.normalized_shape[0]
    context, targets = steps * cells, predicted_steps * cells
    heatmap, fusion = predictor.heatmap_tokens, predictor.heatmap_fusion
    heat = steps * heatmap.tokens_per_step if heatmap is not None else 0
    sequence = context + targets + (heat if fusion is not None and fusion.lengthens else 0)
    depth = len(predictor.predictor_blocks)
    embed = sum(part.weight.numel() for part in predictor.predictor_embed.modules() if isinstance(part, nn.Linear))
    total = 2 * context * embed + 2 * targets * width * predictor.output_width
    hidden = len(predictor.predictor_blocks[0].get_parameter("mlp.fc1.weight"))
    total += depth * _block(sequence, width, hidden)
    if heatmap is not None:
        frames = predictor.tubelet_size if heatmap.temporal == "frame" else 1
        for scale, grid in zip(heatmap.scales, heatmap.grids, strict=True):
            total += 2 * steps * frames * grid**2 * scale.get_parameter("embed.weight").numel()
    if fusion is not None:
        total += fusion.flops(context=context, sequence=sequence, heat=heat)
    return total


def probe_flops(probe: AttentiveClassifier, tokens: int) -> int:
    """Operations of one attentive probe that reads `tokens`."""
    _, queries, width = probe.pooler.query_tokens.shape
    hidden = 4 * width
    total = len(probe.pooler.blocks) * _block(tokens, width, hidden)
    # Queries and their MLP, keys and values, attention; there is no output projection.
    total += 2 * queries * width**2 + 4 * tokens * width**2 + 4 * queries * tokens * width
    total += 4 * queries * width * hidden
    heads = [module for name, module in probe.named_children() if name.endswith("_classifier")]
    return total + sum(2 * width * head.out_features for head in heads if isinstance(head, nn.Linear))


def _block(tokens: int, width: int, hidden: int) -> int:
    """Operations of query, key, value and output layers, attention, and the MLP."""
    return 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * hidden
