"""`model_kwargs` of a training config: encoder, predictor and the wrapper around them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from gazetools.schemas.base import Choices, StrictModel, conflict

FUSION_NAMES = Choices("interleave", "add", "cross_attention", "attention_bias", "gaze_tokens", "none")
"""How heatmap tokens, or scene tokens, enter the predictor; `trainer.models.fusion.FUSIONS` has their classes."""
Fusion = Annotated[str, FUSION_NAMES]
Temporal = Literal["tubelet", "frame", "conv"]
HeatmapPositions = Literal["shared", "own"]

Levels = Literal[1, 4]


def _only_zero(reason: str) -> AfterValidator:
    """The check of a number whose only value is 0, with the reason why."""

    def check(value: int) -> int:
        if value != 0:
            raise ValueError(f"must be 0: {reason}")
        return value

    return AfterValidator(check)


_Registers = Annotated[int, _only_zero("no released model has register tokens")]
_Chopped = Annotated[int, _only_zero("it would cut the end of the sequence, where targets and heatmap tokens stand")]
LATER_ENCODER_KEYS = (
    "img_temporal_dim_size", "modality_embedding", "interpolate_rope", "n_output_distillation", "n_registers",
    "has_cls_first",
)  # fmt: skip
LATER_PREDICTOR_KEYS = (*LATER_ENCODER_KEYS, "teacher_embed_dim", "return_all_tokens", "chop_last_n_tokens")
"""Keys of both parts that only V-JEPA 2.1 has."""

RANDOM_WEIGHTS = "random"
"""Value of `model_kwargs.checkpoint` for seeded random weights."""


class EncoderSettings(StrictModel):
    """`model_kwargs.pretrain_kwargs.encoder`: a known `model_name`; single keys replace its sizes."""

    model_name: str = "vit_large"
    checkpoint_key: str = "target_encoder"
    patch_size: PositiveInt = 16
    tubelet_size: PositiveInt = 2
    embed_dim: PositiveInt | None = None
    depth: PositiveInt | None = None
    num_heads: PositiveInt | None = None
    mlp_ratio: Annotated[FiniteFloat, Field(gt=0)] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the frozen encoder's weights."""
    compile: bool = False
    """Whether torch.compile compiles the encoder; on the CPU it needs a C++ compiler."""
    uniform_power: bool = True
    use_rope: Literal[True] = True
    use_sdpa: bool = True
    use_silu: Literal[False] = False
    wide_silu: bool = False
    use_activation_checkpointing: bool = False
    img_temporal_dim_size: Literal[1] | None = None
    """V-JEPA 2.1: 1 gives single frames a patch embedding of their own, as every release has it."""
    modality_embedding: bool = True
    """V-JEPA 2.1: whether a learned vector is added to all tokens."""
    interpolate_rope: bool = False
    """V-JEPA 2.1: scale rows and columns to the grid of 256-pixel images. Upstream's training configs and hub loader
    set it, its EPIC-KITCHENS configs do not: at 384 pixels these are different models."""
    n_output_distillation: Levels = 4
    """V-JEPA 2.1: levels that the encoder can give; how many it gives follows from the predictor's key."""
    n_registers: _Registers = 0
    has_cls_first: Literal[False] = False


class PredictorSettings(StrictModel):
    """`model_kwargs.pretrain_kwargs.predictor`; None takes the checkpoint's value, else that of V-JEPA 2's release."""

    model_name: str = "vit_predictor"
    checkpoint_key: str = "predictor"
    num_frames: PositiveInt = 64
    """Frames for which the predictor has positions; anticipation times cannot go beyond."""
    depth: PositiveInt | None = None
    num_heads: PositiveInt = 12
    predictor_embed_dim: PositiveInt | None = None
    num_mask_tokens: PositiveInt | None = None
    mask_index: NonNegativeInt = 1
    """Mask token used to anticipate, modulo num_mask_tokens; V-JEPA 2 uses 1."""
    zero_init_mask_tokens: bool = True
    use_mask_tokens: Literal[True] = True
    heatmap_patch_size: PositiveInt | None = None
    """Pixels per heatmap token; None: the encoder's patch_size."""
    fusion: Fusion | None = None
    """How heatmap tokens enter the predictor; `gaze_tokens`: the scene tokens of `experiment.data.gaze_tokens` enter in
    their place. None: `interleave` with use_heatmap, else `none`."""
    multiscale: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    """Patch sizes of several heatmap grids, such as [16, 32, 64], instead of heatmap_patch_size."""
    temporal: Temporal = "tubelet"
    """Maps of a time step: their mean (`tubelet`), a grid per frame (`frame`), or a convolution over them (`conv`)."""
    heatmap_positions: HeatmapPositions | None = None
    """`own` where the heatmap shows another view than the video: time is shared, places have a learned embedding.
    None: `own` for sources of another view, else `shared`."""
    heatmap_dropout: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.0
    """Probability, in training, that a clip's heatmap is replaced by zeros."""
    uniform_power: bool = True
    use_rope: Literal[True] = True
    use_sdpa: bool = True
    use_silu: Literal[False] = False
    wide_silu: bool = False
    use_activation_checkpointing: bool = False
    img_temporal_dim_size: Literal[1] | None = None
    """V-JEPA 2.1: 1 gives the predictor its modality embeddings, as every release has them."""
    modality_embedding: bool = True
    """V-JEPA 2.1: whether a learned vector is added to context and mask tokens."""
    interpolate_rope: bool = False
    """V-JEPA 2.1: as the encoder's key, for the predictor."""
    n_output_distillation: Levels = 4
    """V-JEPA 2.1: levels that the predictor reads and predicts: 1 for ViT-B and ViT-L, 4 for ViT-g and ViT-G."""
    teacher_embed_dim: PositiveInt | None = None
    """V-JEPA 2.1: channels of the predicted tokens, 1664 for ViT-B and ViT-L; None: those that are read."""
    return_all_tokens: bool = False
    """V-JEPA 2.1: whether the predictor has a head for context tokens; false leaves out the checkpoint's."""
    n_registers: _Registers = 0
    has_cls_first: Literal[False] = False
    chop_last_n_tokens: _Chopped = 0


class PretrainSettings(StrictModel):
    """`model_kwargs.pretrain_kwargs`."""

    use_v2_1: bool = False
    """Whether encoder and predictor are V-JEPA 2.1's."""
    encoder: EncoderSettings = EncoderSettings()
    predictor: PredictorSettings = PredictorSettings()

    @model_validator(mode="after")
    def _version(self) -> PretrainSettings:
        later = {"encoder": LATER_ENCODER_KEYS, "predictor": LATER_PREDICTOR_KEYS}
        changed = [
            f"{part}.{key}"
            for part, keys in later.items()
            for key in keys
            if getattr(getattr(self, part), key) != type(getattr(self, part)).model_fields[key].default
        ]
        if changed and not self.use_v2_1:
            raise conflict(
                f"model_kwargs.pretrain_kwargs: {', '.join(changed)} only V-JEPA 2.1 has; set use_v2_1: true, or "
                "remove them"
            )
        if self.use_v2_1 and self.encoder.n_output_distillation < self.predictor.n_output_distillation:
            raise conflict(
                f"model_kwargs.pretrain_kwargs: predictor.n_output_distillation is "
                f"{self.predictor.n_output_distillation}, but the encoder gives {self.encoder.n_output_distillation} "
                "level(s); set both to 4, or the predictor's to 1"
            )
        return self


class WrapperSettings(StrictModel):
    """`model_kwargs.wrapper_kwargs`."""

    no_predictor: bool = False
    no_encoder: bool = False
    num_output_frames: PositiveInt = 2
    num_steps: PositiveInt = 1

    @model_validator(mode="after")
    def _something_left(self) -> WrapperSettings:
        if self.no_predictor and self.no_encoder:
            raise conflict("{no_predictor} and {no_encoder} leave no tokens; set one to false")
        return self


class ModelSettings(StrictModel):
    """`model_kwargs`."""

    checkpoint: str
    """Meta's .pt file; a folder of transformers' save_pretrained or a hub name (facebook/vjepa2-vitl-fpc64-256), whose
    sizes need not be given; or `random` for seeded random weights (tests and trials only)."""
    random_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of `checkpoint: random`; None: the run's seed. Several trainings share it, as they share a checkpoint."""
    module_name: str = "gazetools.trainer.models.vit_encoder_predictor_heatmap_ar"
    wrapper_kwargs: WrapperSettings = WrapperSettings()
    pretrain_kwargs: PretrainSettings = PretrainSettings()
