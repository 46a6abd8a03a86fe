"""Description of a run's models: sizes, tokens, parameters and floating-point operations (a multiply-add is two)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.models.build import HEATMAP_PREFIXES, build_predictor, build_probe, choose_trained, trained_part
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.sizes import encoder_size
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.plan.arms import plan_learners


def describe_model(config: TrainingConfig, num_classes: dict[str, int]) -> dict[str, Any]:
    """Sizes, tokens, parameters and costs of all models of a run, built without memory (meta device).

    The figures at the top are those of the first arm; `learners` has one entry per model, the bytes are of all.
    """
    encoder_settings, data = config.model_kwargs.pretrain_kwargs.encoder, config.experiment.data
    size = encoder_size(encoder_settings)
    with torch.device("meta"):
        encoder = VideoEncoder(
            embed_dim=size.embed_dim, depth=size.depth, num_heads=size.num_heads, mlp_ratio=size.mlp_ratio,
            patch_size=encoder_settings.patch_size, tubelet_size=encoder_settings.tubelet_size,
        )  # fmt: skip
        probe = build_probe(config, num_classes, size.embed_dim)
    steps = data.frames_per_clip // encoder_settings.tubelet_size
    specs = plan_learners(config)
    arms = {spec.arm: _describe_arm(spec.config, encoder, probe, steps) for spec in specs}
    encoder_bytes = _count(encoder) * (2 if encoder_settings.dtype == "bfloat16" else 4)
    trunks = {spec.trunk: arms[spec.arm]["predictor_parameters"] for spec in specs}
    trained = sum(arms[spec.arm]["trained_parameters"] for spec in specs)
    return {
        "encoder": {"name": encoder_settings.model_name, **vars(size), "parameters": _count(encoder)},
        "probe_parameters": _count(probe),
        **arms[specs[0].arm],
        "learners": {spec.name: {"arm": spec.arm, "seed": spec.seed, "head": spec.head} for spec in specs},
        "arms": arms,
        # float32 weights, and gradient and two AdamW moments for what trains; activations come on top
        "weight_and_optimizer_bytes": (
            encoder_bytes + 4 * (sum(trunks.values()) + len(specs) * _count(probe)) + 12 * trained
        ),
        "video_tokens": steps * (data.resolution // encoder_settings.patch_size) ** 2,
        "resolution": data.resolution,
        "frames_per_clip": data.frames_per_clip,
    }


def _describe_arm(
    config: TrainingConfig, encoder: VideoEncoder, probe: AttentiveClassifier, steps: int
) -> dict[str, Any]:
    data, no_predictor = config.experiment.data, config.model_kwargs.wrapper_kwargs.no_predictor
    with torch.device("meta"):
        predictor = None if no_predictor else build_predictor(config, encoder.embed_dim, {})
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


def _costs(
    config: TrainingConfig,
    encoder: VideoEncoder,
    predictor: VisionTransformerPredictorHeatmap | None,
    probe: AttentiveClassifier,
    steps: int,
) -> dict[str, float]:
    """Part of the model -> 10^9 operations per clip."""
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


def encoder_flops(encoder: VideoEncoder, video_tokens: int) -> int:
    """Operations of the encoder for a clip of `video_tokens`."""
    width = encoder.embed_dim
    patch_values = 3 * encoder.tubelet_size * encoder.patch_size**2
    hidden = len(encoder.blocks[0].get_parameter("mlp.fc1.weight"))
    return 2 * video_tokens * width * patch_values + len(encoder.blocks) * _block(video_tokens, width, hidden)


def predictor_flops(predictor: VisionTransformerPredictorHeatmap, *, steps: int, predicted_steps: int = 1) -> int:
    """Operations of one prediction from `steps` observed time steps."""
    cells, width = predictor.grid**2, predictor.predictor_norm.normalized_shape[0]
    context, targets, heat = steps * cells, predicted_steps * cells, heatmap_token_count(predictor, steps)
    fusion = predictor.heatmap_fusion
    sequence = context + targets + (heat if fusion is not None and fusion.lengthens else 0)
    depth = len(predictor.predictor_blocks)
    total = 2 * (context + targets) * width * predictor.embed_dim
    hidden = len(predictor.predictor_blocks[0].get_parameter("mlp.fc1.weight"))
    total += depth * _block(sequence, width, hidden)
    if predictor.heatmap_tokens is not None:
        frames = predictor.tubelet_size if predictor.heatmap_tokens.temporal == "frame" else 1
        for scale, grid in zip(predictor.heatmap_tokens.scales, predictor.heatmap_tokens.grids, strict=True):
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


def heatmap_token_count(predictor: VisionTransformerPredictorHeatmap, steps: int) -> int:
    """Number of heatmap tokens of a clip; 0 without a heatmap."""
    return steps * predictor.heatmap_tokens.tokens_per_step if predictor.heatmap_tokens is not None else 0


def _block(tokens: int, width: int, hidden: int) -> int:
    """Operations of query, key, value and output layers, attention, and the MLP."""
    return 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * hidden
