"""Floating-point operations and tokens of one clip's forward pass, from sizes alone (a multiply-add counts as two)."""

from __future__ import annotations

from torch import nn

from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier


def encoder_flops(encoder: VideoEncoder, video_tokens: int) -> int:
    """Of the encoder for a clip of `video_tokens`."""
    width = encoder.embed_dim
    patch_values = 3 * encoder.tubelet_size * encoder.patch_size**2
    hidden = len(encoder.blocks[0].get_parameter("mlp.fc1.weight"))
    return 2 * video_tokens * width * patch_values + len(encoder.blocks) * _block(video_tokens, width, hidden)


def predictor_flops(predictor: VisionTransformerPredictorHeatmap, *, steps: int, predicted_steps: int = 1) -> int:
    """Of one prediction from `steps` observed time steps."""
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
    """Of one attentive probe that reads `tokens`."""
    _, queries, width = probe.pooler.query_tokens.shape
    hidden = 4 * width
    total = len(probe.pooler.blocks) * _block(tokens, width, hidden)
    # Queries and their MLP, keys and values, attention; there is no output projection.
    total += 2 * queries * width**2 + 4 * tokens * width**2 + 4 * queries * tokens * width
    total += 4 * queries * width * hidden
    heads = [module for name, module in probe.named_children() if name.endswith("_classifier")]
    return total + sum(2 * width * head.out_features for head in heads if isinstance(head, nn.Linear))


def heatmap_token_count(predictor: VisionTransformerPredictorHeatmap, steps: int) -> int:
    """Heatmap tokens that `fusion` makes of a clip; 0 without a heatmap."""
    return steps * predictor.heatmap_tokens.tokens_per_step if predictor.heatmap_tokens is not None else 0


def _block(tokens: int, width: int, hidden: int) -> int:
    """Query, key, value and output layers, attention, and the MLP."""
    return 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * hidden
