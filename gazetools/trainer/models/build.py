"""From a config to the model: sizes, weights, what trains, and the probe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gazetools.schemas.arms import TrainedPart
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.schemas.training_model import ModelSettings
from gazetools.trainer.models.checkpoint_fit import (
    refuse_other_predictor,
    refuse_other_version,
    without_context_head,
)
from gazetools.trainer.models.checks import check_model_settings, uses_heatmap
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.encoder21 import AnyVideoEncoder, EncoderOptions21, VideoEncoder21
from gazetools.trainer.models.keys import from_upstream, load_strict, refuse_misfit
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.predictor21 import VisionTransformerPredictorHeatmap21
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.sizes import check_heads, encoder_size, replace_settings
from gazetools.trainer.models.transformers_folder import read_folder, transformers_folder
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

# Sizes of V-JEPA 2's released predictors (configs/eval/*/ek100.yaml), for what neither config nor checkpoint says.
RELEASED_PREDICTOR_DEPTH = 12
RELEASED_PREDICTOR_WIDTH = 384
RELEASED_MASK_TOKENS = 10
# Those of V-JEPA 2.1 (configs/eval_2_1/*/ek100.yaml), by number of levels.
RELEASED_DEPTHS_2_1 = {1: 12, 4: 24}
RELEASED_MASK_TOKENS_2_1 = 8
HEATMAP_PREFIXES = ("heatmap_tokens.", "heatmap_fusion.")
"""Prefixes of the weights that gazetools adds to V-JEPA 2's predictor."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The part that all arms share: the frozen encoder, and the weights with which every arm's predictor starts."""

    encoder: AnyVideoEncoder
    predictor: dict[str, Tensor]
    """Weights by this package's names; empty with no_predictor."""
    notes: list[str]
    """Lines that the run shows."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of Meta's `.pt` file, memory-mapped; no code in the file is run.

    Raises EnvironmentLacksError where it does not exist, CheckpointError where it is no checkpoint.
    """
    if not path.is_file():
        raise EnvironmentLacksError(
            f"The V-JEPA 2 checkpoint {path} does not exist.",
            hint="Download one (https://dl.fbaipublicfiles.com/vjepa2/vitl.pt, see facebookresearch/vjepa2, or "
            "hf download facebook/vjepa2-vitl-fpc64-256) and set model_kwargs.checkpoint to it.",
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # noqa: TID251
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {type(error).__name__}: {str(error)[:300]}",
            hint="Download it again; files that need code to load are refused.",
        ) from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not named weights.")
    return loaded


def read_weights(config: TrainingConfig) -> dict[str, dict[str, Tensor]]:
    """Weights of `encoder` and, if used, `predictor` by this package's names, from the config's file or folder."""
    model = config.model_kwargs
    folder = transformers_folder(model.checkpoint)
    if folder is not None:
        return read_folder(folder)
    checkpoint, pretrain = read_checkpoint(Path(model.checkpoint)), model.pretrain_kwargs
    weights = {"encoder": _part(checkpoint, pretrain.encoder.checkpoint_key, model.checkpoint)}
    refuse_other_version(weights["encoder"], use_v2_1=pretrain.use_v2_1, path=model.checkpoint)
    if not model.wrapper_kwargs.no_predictor:
        predictor = _part(checkpoint, pretrain.predictor.checkpoint_key, model.checkpoint)
        if pretrain.use_v2_1:
            width = encoder_size(pretrain.encoder, use_v2_1=True).embed_dim
            refuse_other_predictor(predictor, pretrain, encoder_width=width, path=model.checkpoint)
        weights["predictor"] = without_context_head(predictor, pretrain)
    return weights


def check_file(config: TrainingConfig) -> None:
    """Raise CheckpointError where Meta's file does not fit the config's sizes; its weights are not read into memory.

    Other checkpoints are checked when they are loaded.
    """
    model = config.model_kwargs
    if model.checkpoint == RANDOM_WEIGHTS or not Path(model.checkpoint).is_file():
        return
    weights = read_weights(config)
    with torch.device("meta"):
        encoder = build_encoder(model)
        refuse_misfit(encoder, weights["encoder"], what=f"encoder weights of {model.checkpoint}")
        if "predictor" in weights:
            plain = replace_settings(config, predictor={"fusion": "none"})
            predictor = build_predictor(plain, encoder.embed_dim, weights["predictor"])
            refuse_misfit(predictor, weights["predictor"], what=f"predictor weights of {model.checkpoint}")


def _part(checkpoint: dict[str, Any], key: str, path: str) -> dict[str, Tensor]:
    weights = checkpoint.get(key)
    if not isinstance(weights, dict):
        raise CheckpointError(
            f"{path} has no weights under {key!r}; it has {', '.join(map(str, list(checkpoint)[:12]))}.",
            hint="Set checkpoint_key under model_kwargs.pretrain_kwargs.",
        )
    return from_upstream({k: v for k, v in weights.items() if isinstance(v, Tensor)})


def load_pretrained(config: TrainingConfig) -> Pretrained:
    """The encoder (frozen, on the CPU) and the predictor's weights, from the checkpoint or from the config's seed.

    Raises EnvironmentLacksError where the checkpoint does not exist, CheckpointError where it does not fit the sizes.
    """
    model, settings = config.model_kwargs, config.model_kwargs.pretrain_kwargs.encoder
    weights = {} if model.checkpoint == RANDOM_WEIGHTS else read_weights(config)
    torch.manual_seed(config.seed if model.random_seed is None else model.random_seed)
    encoder = build_encoder(model)
    if weights:
        load_strict(encoder, weights["encoder"], what=f"encoder weights of {model.checkpoint}")
    encoder.requires_grad_(False)
    if settings.compile:
        encoder.compile()
    predictor, notes = {}, []
    if not model.wrapper_kwargs.no_predictor:
        if weights:
            predictor = weights["predictor"]
            notes.append(f"Predictor: {len(predictor)} tensors from the checkpoint.")
        else:
            without_heatmap = replace_settings(config, predictor={"fusion": "none"})
            predictor = dict(build_predictor(without_heatmap, encoder.embed_dim, {}).state_dict())
    return Pretrained(encoder=encoder.to(getattr(torch, settings.dtype)), predictor=predictor, notes=notes)


def build_encoder(model: ModelSettings) -> AnyVideoEncoder:
    """The encoder with initial weights. Of V-JEPA 2.1, it gives the levels that the predictor reads, or the last."""
    pretrain, settings = model.pretrain_kwargs, model.pretrain_kwargs.encoder
    size = vars(encoder_size(settings, use_v2_1=pretrain.use_v2_1))
    same: dict[str, Any] = {
        "patch_size": settings.patch_size,
        "tubelet_size": settings.tubelet_size,
        "sdpa": settings.use_sdpa,
    }
    if not pretrain.use_v2_1:
        return VideoEncoder(**size, **same)
    return VideoEncoder21(
        **size,
        **same,
        options=EncoderOptions21(
            images=settings.img_temporal_dim_size is not None,
            modality_embedding=settings.modality_embedding,
            interpolate_rope=settings.interpolate_rope,
            hierarchical=pretrain.predictor.n_output_distillation > 1 and not model.wrapper_kwargs.no_predictor,
        ),
    )


def build_wrapper(config: TrainingConfig, shared: Pretrained, *, seed: int) -> AnticipativeWrapperHeatmap:
    """The shared encoder with a new predictor: pretrained weights, and heatmap weights drawn from `seed` alone."""
    check_model_settings(config)
    data, model = config.experiment.data, config.model_kwargs
    predictor = None
    if not model.wrapper_kwargs.no_predictor:
        torch.manual_seed(seed)
        predictor = build_predictor(config, shared.encoder.embed_dim, shared.predictor)
        load_strict(predictor, shared.predictor, what=f"predictor weights of {model.checkpoint}", new=HEATMAP_PREFIXES)
    wrapper = AnticipativeWrapperHeatmap(
        shared.encoder,
        predictor,
        frames_per_second=data.frames_per_second,
        crop_size=data.resolution,
        patch_size=shared.encoder.patch_size,
        tubelet_size=shared.encoder.tubelet_size,
        compat=config.compat,
        **dict(model.wrapper_kwargs),
    )
    return wrapper.requires_grad_(False)


def build_predictor(
    config: TrainingConfig, encoder_width: int, weights: dict[str, Tensor]
) -> VisionTransformerPredictorHeatmap:
    """The predictor, with sizes from the config, else from the shapes of `weights`, else from V-JEPA 2's release."""
    data, settings = config.experiment.data, config.model_kwargs.pretrain_kwargs.predictor
    encoder, later = config.model_kwargs.pretrain_kwargs.encoder, config.model_kwargs.pretrain_kwargs.use_v2_1
    levels = settings.n_output_distillation
    blocks = {int(k.split(".")[1]) for k in weights if k.startswith("predictor_blocks.")}
    embed = weights.get("predictor_norm.weight")
    width = settings.predictor_embed_dim or (embed.shape[0] if embed is not None else RELEASED_PREDICTOR_WIDTH)
    check_heads("predictor", width, settings.num_heads)
    mask_tokens = settings.num_mask_tokens or sum(k.startswith("mask_tokens.") for k in weights)
    same: dict[str, Any] = {
        "img_size": data.resolution,
        "patch_size": encoder.patch_size,
        "num_frames": settings.num_frames,
        "tubelet_size": encoder.tubelet_size,
        "embed_dim": encoder_width,
        "predictor_embed_dim": width,
        "depth": settings.depth or len(blocks) or (RELEASED_DEPTHS_2_1[levels] if later else RELEASED_PREDICTOR_DEPTH),
        "num_heads": settings.num_heads,
        "num_mask_tokens": mask_tokens or (RELEASED_MASK_TOKENS_2_1 if later else RELEASED_MASK_TOKENS),
        "zero_init_mask_tokens": settings.zero_init_mask_tokens,
        "mask_index": settings.mask_index,
        "use_sdpa": settings.use_sdpa,
        "use_activation_checkpointing": settings.use_activation_checkpointing,
        "use_heatmap": uses_heatmap(config),
        "heatmap_resolution": data.heatmap_resolution,
        "heatmap_patch_size": settings.heatmap_patch_size,
        "fusion": settings.fusion or "interleave",
        "multiscale": settings.multiscale,
        "temporal": settings.temporal,
        "heatmap_positions": settings.heatmap_positions or "shared",
        "scene_tokens": data.gaze_tokens.size if data.gaze_tokens is not None else None,
    }
    if not later:
        return VisionTransformerPredictorHeatmap(**same)
    return VisionTransformerPredictorHeatmap21(
        **same,
        levels=levels,
        teacher_embed_dim=settings.teacher_embed_dim,
        return_all_tokens=settings.return_all_tokens,
        modality_embedding=settings.modality_embedding and settings.img_temporal_dim_size is not None,
        interpolate_rope=settings.interpolate_rope,
    )


def build_probe(
    config: TrainingConfig, num_classes: dict[str, int], embed_dim: int, *, seed: int | None = None
) -> AttentiveClassifier:
    """The probe with weights drawn from the seed alone (None: the config's)."""
    torch.manual_seed((config.seed if seed is None else seed) + 1)
    return AttentiveClassifier(
        num_classes=num_classes,
        embed_dim=embed_dim,
        num_heads=config.experiment.classifier.num_heads,
        depth=config.experiment.classifier.num_probe_blocks,
    )


def trained_part(config: TrainingConfig) -> TrainedPart:
    """`optimization.train`; by default `heatmap` where the model has a heatmap part, else `probe`."""
    return config.experiment.optimization.train or ("heatmap" if uses_heatmap(config) else "probe")


def choose_trained(
    predictor: VisionTransformerPredictorHeatmap | None, part: TrainedPart
) -> dict[str, list[nn.Parameter]]:
    """Switch gradients on for the part of the predictor that trains in addition to the probe.

    `heatmap`: heatmap tokens and fusion. `predictor`: also the predictor's blocks, norm and output layer.
    `all_but_encoder`: also the predictor's input layer, mask tokens and modality embeddings. The encoder never trains.

    Returns the trained parameters of each group, `heatmap` and `predictor`; groups without parameters are left out.
    """
    if part == "probe":
        return {}
    if predictor is None:
        raise UsageError(f"optimization.train={part}, but wrapper_kwargs.no_predictor leaves only the encoder.")
    if part == "heatmap" and predictor.heatmap_tokens is None:
        raise UsageError(
            "optimization.train=heatmap, but the model has no heatmap part.",
            hint="Set experiment.data.use_heatmap=true, or optimization.train=probe or predictor.",
        )
    groups: dict[str, list[nn.Parameter]] = {}
    interface = ("predictor_embed.", "mask_tokens.", "video_mod_embed", "img_mod_embed")
    for name, parameter in predictor.named_parameters():
        is_heatmap = name.startswith(HEATMAP_PREFIXES)
        if is_heatmap or part == "all_but_encoder" or (part == "predictor" and not name.startswith(interface)):
            parameter.requires_grad_(True)
            groups.setdefault("heatmap" if is_heatmap else "predictor", []).append(parameter)
    return dict(sorted(groups.items()))
