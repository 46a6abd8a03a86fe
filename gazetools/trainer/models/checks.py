"""Checks of a config's model settings before the model is built."""

from __future__ import annotations

import math

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import TrainingConfig
from gazetools.schemas.training_data import HOW_TO_KEEP_TOKENS
from gazetools.trainer.models.checks21 import check_version, check_version_of_jepa
from gazetools.trainer.models.fusion import check_fusion, reads_scene_tokens
from gazetools.trainer.models.predictor import NUM_FRAMES_KEY
from gazetools.trainer.models.sizes import check_heads, encoder_size


def uses_heatmap(config: TrainingConfig) -> bool:
    """Whether the model reads heatmaps."""
    return config.experiment.data.use_heatmap and config.model_kwargs.pretrain_kwargs.predictor.fusion != "none"


def check_model_settings(config: TrainingConfig) -> None:
    """Check names, sizes, horizon and JEPA loss of a config; one UsageError has all problems."""
    problems: list[str] = []
    for check in (_check_names, _check_sizes, check_version, _check_horizon, _check_jepa):
        try:
            check(config)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError(" ".join(problems), problems=problems)


def _check_names(config: TrainingConfig) -> None:
    known_modules = ("vit_encoder_predictor_concat_ar", "vit_encoder_predictor_heatmap_ar")
    known_predictors = ("vit_predictor", "vit_heatmap_predictor", "VisionTransformerPredictorHeatmap")
    module = config.model_kwargs.module_name.rsplit(".", 1)[-1]
    predictor = config.model_kwargs.pretrain_kwargs.predictor
    if module not in known_modules:
        raise UsageError(f"model_kwargs.module_name must end in one of {known_modules}, got {module!r}.")
    if predictor.model_name not in known_predictors:
        raise UsageError(f"predictor.model_name must be one of {known_predictors}, got {predictor.model_name!r}.")
    check_fusion(
        predictor.fusion or "none",
        temporal=predictor.temporal,
        heatmap_positions=predictor.heatmap_positions or "shared",
    )
    if uses_heatmap(config):
        if module == known_modules[0] or predictor.model_name == known_predictors[0]:
            raise UsageError(
                f"use_heatmap is true, but module_name {module!r} with model_name {predictor.model_name!r} takes no "
                "heatmap.",
                hint=f"Use {known_modules[1]!r} and {known_predictors[1]!r}, or set predictor.fusion=none.",
            )
        if config.model_kwargs.wrapper_kwargs.no_predictor:
            raise UsageError("use_heatmap is true, but no_predictor leaves out the part that reads it.")
    if reads_scene_tokens(predictor.fusion):
        _check_scene_tokens(config)
    elif predictor.fusion not in (None, "none") and not config.experiment.data.use_heatmap:
        raise UsageError(f"fusion: {predictor.fusion} needs a heatmap.", hint="Set experiment.data.use_heatmap=true.")


def _check_scene_tokens(config: TrainingConfig) -> None:
    """UsageError where the data of a model with `fusion: gaze_tokens` has no scene tokens."""
    data, fusion = config.experiment.data, config.model_kwargs.pretrain_kwargs.predictor.fusion
    if not data.use_heatmap or data.gaze_tokens is None:
        raise UsageError(
            f"fusion: {fusion} needs a gaze model's scene tokens: experiment.data.gaze_tokens "
            f"{'is not set' if data.gaze_tokens is None else 'is set, but use_heatmap is false'}.",
            hint=f"Make a store with them ({HOW_TO_KEEP_TOKENS}) and set experiment.data.gaze_tokens.store to it "
            "(experiment.data.gaze_tokens.people chooses whose), and experiment.data.use_heatmap=true.",
        )


def _check_sizes(config: TrainingConfig) -> None:
    data, pretrain = config.experiment.data, config.model_kwargs.pretrain_kwargs
    size = encoder_size(pretrain.encoder, use_v2_1=pretrain.use_v2_1)
    for key, unit_key in (("resolution", "patch_size"), ("frames_per_clip", "tubelet_size")):
        value, unit = getattr(data, key), getattr(pretrain.encoder, unit_key)
        if value % unit:
            raise UsageError(f"experiment.data.{key} {value} is not a multiple of {unit_key} {unit}.")
    heatmap_side = data.heatmap_resolution or data.resolution
    patches = pretrain.predictor.multiscale or [pretrain.predictor.heatmap_patch_size or pretrain.encoder.patch_size]
    reads_maps = uses_heatmap(config) and not reads_scene_tokens(pretrain.predictor.fusion)
    for heatmap_patch in patches if reads_maps else ():
        if heatmap_side % heatmap_patch:
            raise UsageError(
                f"The heatmap's {heatmap_side} pixels are not a multiple of heatmap_patch_size {heatmap_patch}.",
                hint="Set experiment.data.heatmap_resolution, or predictor.heatmap_patch_size or multiscale.",
            )
    if pretrain.predictor.predictor_embed_dim is not None:
        check_heads("predictor", pretrain.predictor.predictor_embed_dim, pretrain.predictor.num_heads)
    if size.embed_dim % config.experiment.classifier.num_heads:
        raise UsageError(
            f"experiment.classifier.num_heads {config.experiment.classifier.num_heads} does not divide the encoder's "
            f"width {size.embed_dim}."
        )


def _check_horizon(config: TrainingConfig) -> None:
    """UsageError where the longest anticipation time lies beyond the predictor's positions."""
    data, model = config.experiment.data, config.model_kwargs
    if model.wrapper_kwargs.no_predictor:
        return
    tubelet, num_frames = model.pretrain_kwargs.encoder.tubelet_size, model.pretrain_kwargs.predictor.num_frames
    trained, horizons = data.train_anticipation_time_sec or (), config.experiment.evaluation.horizons
    longest = max(*data.anticipation_time_sec, *trained, *horizons)
    ahead = longest * data.frames_per_second / tubelet
    ahead = int(ahead) if config.compat != "none" else ahead
    needed = data.frames_per_clip // tubelet + ahead + max(model.wrapper_kwargs.num_output_frames // tubelet, 1)
    if needed > num_frames // tubelet:
        raise UsageError(
            f"An anticipation time of {longest:g} s needs {needed:g} steps of {tubelet} frames, the predictor has "
            f"{num_frames // tubelet} ({NUM_FRAMES_KEY} = {num_frames}).",
            hint=f"Set {NUM_FRAMES_KEY}={math.ceil(needed) * tubelet} or shorten the anticipation time.",
        )


def _check_jepa(config: TrainingConfig) -> None:
    if config.experiment.optimization.losses.jepa == 0:
        return
    check_version_of_jepa(config)
    wrapper, data = config.model_kwargs.wrapper_kwargs, config.experiment.data
    if wrapper.no_predictor:
        raise UsageError("optimization.losses.jepa needs the predictor, but wrapper_kwargs.no_predictor leaves it out.")
    if config.compat != "none":
        raise UsageError(
            f"optimization.losses.jepa needs exact times, which compat: {config.compat} cuts to whole steps.",
            hint="Set compat=none.",
        )
    needed = future_frame_count(config)
    if needed > data.frames_per_clip:
        raise UsageError(
            f"optimization.losses.jepa: {needed} predicted frames (num_steps x num_output_frames) do not fit a clip of "
            f"frames_per_clip = {data.frames_per_clip}.",
            hint="Lower num_steps or num_output_frames under model_kwargs.wrapper_kwargs.",
        )


def future_frame_count(config: TrainingConfig) -> int:
    """Number of frames that the predictor predicts in all its steps."""
    tubelet, wrapper = config.model_kwargs.pretrain_kwargs.encoder.tubelet_size, config.model_kwargs.wrapper_kwargs
    return wrapper.num_steps * max(wrapper.num_output_frames // tubelet, 1) * tubelet
