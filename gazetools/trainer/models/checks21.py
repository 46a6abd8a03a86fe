"""Checks of a config's V-JEPA 2.1 settings before the model is built, and what its log says of them."""

from __future__ import annotations

from gazetools.schemas.errors import UsageError
from gazetools.schemas.training import RANDOM_WEIGHTS, TrainingConfig
from gazetools.trainer.models.encoder21 import LEVEL_DEPTHS, LEVELS, interpolation_factor, level_blocks
from gazetools.trainer.models.sizes import encoder_size
from gazetools.trainer.models.transformers_folder import transformers_folder

_PREDICTOR = "model_kwargs.pretrain_kwargs.predictor"
_TEACHER_WIDTH = 1664


def encoder_levels(config: TrainingConfig) -> int:
    """Number of levels that the encoder's output has: the predictor's, and 1 where there is none."""
    model = config.model_kwargs
    used = model.pretrain_kwargs.use_v2_1 and not model.wrapper_kwargs.no_predictor
    return model.pretrain_kwargs.predictor.n_output_distillation if used else 1


def check_version(config: TrainingConfig) -> None:
    """Raise UsageError for V-JEPA 2.1 settings that do not fit sizes, checkpoint or each other."""
    model, pretrain = config.model_kwargs, config.model_kwargs.pretrain_kwargs
    if not pretrain.use_v2_1:
        return
    if transformers_folder(model.checkpoint) is not None:
        raise UsageError(
            f"model_kwargs.checkpoint = {model.checkpoint} is in transformers' layout, which knows V-JEPA 2.0 only, "
            "but use_v2_1 is true.",
            hint="Use Meta's .pt file (such as vjepa2_1_vitl_dist_vitG_384.pt), or set use_v2_1=false.",
        )
    depth = encoder_size(pretrain.encoder, use_v2_1=True).depth
    if depth not in LEVEL_DEPTHS and model.checkpoint != RANDOM_WEIGHTS and pretrain.encoder.depth is None:
        raise UsageError(
            f"V-JEPA 2.1 has levels for encoders of {', '.join(map(str, LEVEL_DEPTHS))} blocks, not {depth} "
            f"({pretrain.encoder.model_name}); there is no such checkpoint.",
            hint="Use vit_base, vit_large, vit_giant_xformers or vit_gigantic_xformers; other depths are for "
            "checkpoint: random, or are set by encoder.depth.",
        )
    cells = config.experiment.data.resolution // pretrain.encoder.patch_size
    if pretrain.encoder.interpolate_rope or pretrain.predictor.interpolate_rope:
        interpolation_factor(cells, pretrain.encoder.patch_size)
    if not model.wrapper_kwargs.no_predictor:
        _check_widths(config)


def _check_widths(config: TrainingConfig) -> None:
    pretrain = config.model_kwargs.pretrain_kwargs
    width, levels = encoder_size(pretrain.encoder, use_v2_1=True).embed_dim, encoder_levels(config)
    given = pretrain.predictor.teacher_embed_dim
    if given is None:
        return
    if levels == LEVELS and given != LEVELS * width:
        raise UsageError(
            f"{_PREDICTOR}.teacher_embed_dim is {given}; a predictor of {LEVELS} levels predicts the {LEVELS * width} "
            f"channels that it reads ({LEVELS} x {width}).",
            hint="Remove the key, or set n_output_distillation=1 for the predictors of ViT-B and ViT-L.",
        )
    if given < width:
        raise UsageError(
            f"{_PREDICTOR}.teacher_embed_dim is {given}, less than the encoder's width {width}, whose last channels "
            "are what probes read.",
            hint=f"Set it to that of the checkpoint ({_TEACHER_WIDTH} for ViT-B and ViT-L), or remove it.",
        )


def check_version_of_jepa(config: TrainingConfig) -> None:
    """Raise UsageError where the JEPA loss asks for targets that this version does not have."""
    losses, pretrain = config.experiment.optimization.losses, config.model_kwargs.pretrain_kwargs
    predictor = pretrain.predictor
    if losses.jepa and pretrain.use_v2_1 and predictor.teacher_embed_dim is not None and encoder_levels(config) == 1:
        raise UsageError(
            f"optimization.losses.jepa needs the features that the predictor predicts: {predictor.teacher_embed_dim} "
            "channels of ViT-G, its teacher. Which of ViT-G's features these are is in no public code, and the "
            "config's encoder does not compute them.",
            hint="Set losses.jepa=0, or use ViT-g or ViT-G, whose predictor predicts its own encoder's levels.",
        )
    if losses.jepa_context and not (pretrain.use_v2_1 and predictor.return_all_tokens):
        raise UsageError(
            "optimization.losses.jepa_context needs a predictor with a head for context tokens.",
            hint=f"Set {_PREDICTOR}.return_all_tokens=true with use_v2_1=true, or jepa_context=0.",
        )


def version_notes(config: TrainingConfig) -> list[str]:
    """What the log says of a V-JEPA 2.1 model; [] for 2.0."""
    pretrain, notes = config.model_kwargs.pretrain_kwargs, []
    if not pretrain.use_v2_1:
        return []
    states = [
        f"{part} {'on' if getattr(pretrain, part).interpolate_rope else 'off'}" for part in ("encoder", "predictor")
    ]
    notes.append(
        f"V-JEPA 2.1, {encoder_levels(config)} level(s). interpolate_rope: {', '.join(states)}. (V-JEPA 2's training: "
        "both on; its hub loader: encoder on, predictor off; its EPIC-KITCHENS configs: both off. At 256 pixels they "
        "are the same; which of them published figures used is not stated.)"
    )
    size = encoder_size(pretrain.encoder, use_v2_1=True)
    if size.depth not in LEVEL_DEPTHS:
        after = ", ".join(str(block) for block in level_blocks(size.depth))
        notes.append(
            f"V-JEPA 2.1 has no levels for {size.depth} blocks; here they are after the blocks {after} (from 0)."
        )
    has_predictor = not config.model_kwargs.wrapper_kwargs.no_predictor
    if has_predictor and not pretrain.predictor.return_all_tokens:
        notes.append("return_all_tokens: false leaves out the predictor's head for context tokens, a checkpoint's too.")
    given = pretrain.predictor.teacher_embed_dim
    if has_predictor and given is not None and encoder_levels(config) == 1:
        notes.append(
            f"The predictor predicts {given} channels of its teacher; probes read the last {size.embed_dim} of them, "
            "as V-JEPA 2's code cuts them: a slice, not a projection."
        )
    return notes
