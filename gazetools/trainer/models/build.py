"""From a config to the model: sizes, weights, what trains, and the probe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gazetools.schemas.arms import TrainedPart
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, EncoderSettings, TrainingConfig
from gazetools.trainer.models.checks import check_model_settings, uses_heatmap
from gazetools.trainer.models.encoder import VideoEncoder
from gazetools.trainer.models.keys import from_upstream, load_strict
from gazetools.trainer.models.predictor import VisionTransformerPredictorHeatmap
from gazetools.trainer.models.probe import AttentiveClassifier
from gazetools.trainer.models.sizes import check_heads, encoder_size, replace_settings
from gazetools.trainer.models.transformers_folder import read_folder, transformers_folder
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap

# Sizes of V-JEPA 2's released predictors (configs/eval/*/ek100.yaml), for what neither config nor checkpoint says.
RELEASED_PREDICTOR_DEPTH = 12
RELEASED_PREDICTOR_WIDTH = 384
RELEASED_MASK_TOKENS = 10
HEATMAP_PREFIXES = ("heatmap_tokens.", "heatmap_fusion.")
"""Prefixes of the weights that gazetools adds to V-JEPA 2's predictor."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The part that all arms share: the frozen encoder, and the weights with which every arm's predictor starts."""

    encoder: VideoEncoder
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
    if not model.wrapper_kwargs.no_predictor:
        weights["predictor"] = _part(checkpoint, pretrain.predictor.checkpoint_key, model.checkpoint)
    return weights


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
    encoder = build_encoder(settings)
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


def build_encoder(settings: EncoderSettings) -> VideoEncoder:
    """The encoder with initial weights."""
    size, patch_size, tubelet_size = encoder_size(settings), settings.patch_size, settings.tubelet_size
    return VideoEncoder(**vars(size), patch_size=patch_size, tubelet_size=tubelet_size, sdpa=settings.use_sdpa)


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
    encoder = config.model_kwargs.pretrain_kwargs.encoder
    blocks = {int(k.split(".")[1]) for k in weights if k.startswith("predictor_blocks.")}
    embed = weights.get("predictor_embed.weight")
    width = settings.predictor_embed_dim or (embed.shape[0] if embed is not None else RELEASED_PREDICTOR_WIDTH)
    check_heads("predictor", width, settings.num_heads)
    return VisionTransformerPredictorHeatmap(
        img_size=data.resolution,
        patch_size=encoder.patch_size,
        num_frames=settings.num_frames,
        tubelet_size=encoder.tubelet_size,
        embed_dim=encoder_width,
        predictor_embed_dim=width,
        depth=settings.depth or len(blocks) or RELEASED_PREDICTOR_DEPTH,
        num_heads=settings.num_heads,
        num_mask_tokens=settings.num_mask_tokens
        or sum(k.startswith("mask_tokens.") for k in weights)
        or RELEASED_MASK_TOKENS,
        zero_init_mask_tokens=settings.zero_init_mask_tokens,
        mask_index=settings.mask_index,
        use_sdpa=settings.use_sdpa,
        use_activation_checkpointing=settings.use_activation_checkpointing,
        use_heatmap=uses_heatmap(config),
        heatmap_resolution=data.heatmap_resolution,
        heatmap_patch_size=settings.heatmap_patch_size,
        fusion=settings.fusion or "interleave",
        multiscale=settings.multiscale,
        temporal=settings.temporal,
        heatmap_positions=settings.heatmap_positions or "shared",
        scene_tokens=data.gaze_tokens.size if data.gaze_tokens is not None else None,
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
    `all_but_encoder`: also the predictor's input layer and mask tokens. The encoder never trains.

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
    interface = ("predictor_embed.", "mask_tokens.")
    for name, parameter in predictor.named_parameters():
        is_heatmap = name.startswith(HEATMAP_PREFIXES)
        if is_heatmap or part == "all_but_encoder" or (part == "predictor" and not name.startswith(interface)):
            parameter.requires_grad_(True)
            groups.setdefault("heatmap" if is_heatmap else "predictor", []).append(parameter)
    return dict(sorted(groups.items()))
