"""`model_kwargs` of a training config: encoder, predictor and the wrapper around them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from gazetools.schemas.base import Choices, StrictModel, conflict

FUSION_NAMES = Choices("interleave", "add", "cross_attention", "attention_bias", "gaze_tokens", "none")
"""How heatmap tokens, or scene tokens, enter the predictor; `trainer.models.fusion.FUSIONS` has their classes."""
Fusion = Annotated[str, FUSION_NAMES]
Temporal = Literal["tubelet", "frame", "conv"]
HeatmapPositions = Literal["shared", "own"]

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


class PretrainSettings(StrictModel):
    """`model_kwargs.pretrain_kwargs`."""

    encoder: EncoderSettings = EncoderSettings()
    predictor: PredictorSettings = PredictorSettings()


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
