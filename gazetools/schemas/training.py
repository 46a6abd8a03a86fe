"""The training config: V-JEPA 2's evaluation YAML, the heatmap guide's keys and this project's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from gazetools.schemas.arms import ArmSettings, EvaluationSettings, Fusion, HeatmapPositions, Temporal, TrainedPart
from gazetools.schemas.base import StrictModel
from gazetools.schemas.training_data import ViewSettings, check_template

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeFloat = Annotated[FiniteFloat, Field(ge=0)]

Anchor = Literal["start", "end"]
MissingPolicy = Literal["zero", "error", "skip"]
InOutUse = Literal["keep", "gate", "weight"]
Compat = Literal["none", "vjepa2"]
Range = tuple[FiniteFloat, FiniteFloat]

RANDOM_WEIGHTS = "random"
"""Value of `model_kwargs.checkpoint` that asks for seeded random weights."""


def _ordered(value: Range | None) -> Range | None:
    if value is not None and value[0] > value[1]:
        raise ValueError(f"the first number must not be above the second, got {list(value)}")
    return value


class WandbSettings(StrictModel):
    """`experiment.wandb`: Weights & Biases; keys come from its own environment variables, never from here."""

    enable: bool = False
    project: str = "gazetools"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: list[str] = Field(default=[])
    notes: str | None = None
    id: str | None = None
    resume: bool = False

    @field_validator("tags", mode="before")
    @classmethod
    def _one_tag(cls, value: object) -> object:
        return [value] if isinstance(value, str) else (value or [])


class ClassifierSettings(StrictModel):
    """`experiment.classifier`: the attentive probe."""

    num_probe_blocks: PositiveInt = 4
    """Attention blocks: num_probe_blocks - 1 self-attention blocks and one cross-attention block."""
    num_heads: PositiveInt = 16


class DataSettings(ViewSettings):
    """`experiment.data`: annotations, clips, heatmaps and transforms."""

    dataset: str = "EK100"
    base_path: str
    """Folder of the videos."""
    dataset_train: str
    """CSV with the columns video_id, start_timestamp, stop_timestamp and verb_class, noun_class (or action_class), or
    Ego-Exo4D's keystep JSON (with `video_view`)."""
    dataset_val: str
    file_format: Literal[0, 1] | str | None = None
    """0: PXX/videos/PXX_YY.MP4, 1: PXX/PXX_YY.MP4, or a path without suffix such as
    `takes/{take}/frame_aligned_videos/{camera}`; `<video_id>.<mp4|mkv|...>` and Ego-Exo4D's folders are tried last."""
    missing_videos: Literal["error", "skip"] = "error"
    frames_per_clip: PositiveInt = 32
    frames_per_second: Annotated[FiniteFloat, Field(gt=0)] = 8
    resolution: PositiveInt = 256
    """Side of the square crop in pixels."""
    anchor: Anchor | None = None
    """What the anticipation time counts back from. None: see gazetools.trainer.config.resolve_anchors."""
    anticipation_time_sec: Range = (1.0, 1.0)
    """Validation: seconds between the end of the observation and the anchor, drawn from this range."""
    train_anticipation_time_sec: Range | None = None
    """Training; None takes `anticipation_time_sec`."""
    train_anticipation_point: Range | None = None
    """V-JEPA 2: 1 = action start, 0 = action end."""
    val_anticipation_point: Range | None = None
    random_resize_scale: Range = (0.3, 1.0)
    """Share of the frame's area that a random crop covers in training."""
    random_resize_aspect_ratio: Range = (3 / 4, 4 / 3)
    random_horizontal_flip: bool = True
    auto_augment: bool = False
    """RandAugment as V-JEPA 2 sets it; its geometric part moves the heatmap, too."""
    motion_shift: bool = False
    """The random crop moves from one place to another during the clip."""
    reprob: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    """Probability of random erasing."""
    num_workers: Annotated[int, Field(ge=0, le=256)] = 2
    pin_memory: bool = True
    use_heatmap: bool = False
    heatmap_base_path: str | None = None
    """A packed dataset, a folder of .npz files or .npy folders named by video id, a store, or gaze points (CSV)."""
    heatmap_resolution: PositiveInt | None = None
    """Side of the square heatmap that the model sees, in pixels; None takes `resolution`."""
    heatmap_frame_tolerance: Annotated[int, Field(ge=0)] = 1
    """By how many frames a heatmap without times may be shorter or longer than its video."""
    heatmap_inout: InOutUse = "keep"
    """`gate`: maps with inout < 0.5 become zeros; `weight`: maps are multiplied by inout."""
    missing: MissingPolicy = "zero"
    """Clips whose video has no heatmap: zeros, stop, or leave them out; always counted."""
    allow_future: bool = False
    """Accept datasets whose gaps were filled from later frames."""
    max_unreadable_clips: Annotated[int, Field(ge=0)] = 0
    """Clips per epoch that may fail to decode before the run stops; each is named and counted."""
    max_train_clips: PositiveInt | None = None
    """Limit for small runs: the first clips of the annotations."""
    max_val_clips: PositiveInt | None = None

    @field_validator(
        "anticipation_time_sec", "train_anticipation_time_sec", "random_resize_scale", "random_resize_aspect_ratio"
    )
    @classmethod
    def _range(cls, value: Range | None) -> Range | None:
        return _ordered(value)

    @field_validator("anticipation_time_sec", "train_anticipation_time_sec")
    @classmethod
    def _not_negative(cls, value: Range | None) -> Range | None:
        if value is not None and value[0] < 0:
            raise ValueError(f"anticipation times must be >= 0 seconds, got {list(value)}")
        return value

    @field_validator("file_format")
    @classmethod
    def _template(cls, value: Literal[0, 1] | str | None) -> Literal[0, 1] | str | None:
        return check_template(value) if isinstance(value, str) else value

    @field_validator("train_anticipation_point", "val_anticipation_point")
    @classmethod
    def _points(cls, value: Range | None) -> Range | None:
        if value is not None and not 0 <= min(value) <= max(value) <= 1:
            raise ValueError(f"anticipation points lie in 0 (action end) .. 1 (action start), got {list(value)}")
        return _ordered(value)

    @field_validator("random_resize_scale")
    @classmethod
    def _share(cls, value: Range) -> Range:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"a share of the frame's area lies in (0, 1], got {list(value)}")
        return value

    @field_validator("random_resize_aspect_ratio")
    @classmethod
    def _ratio(cls, value: Range) -> Range:
        if value[0] <= 0:
            raise ValueError(f"aspect ratios must be > 0, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _heatmap_path(self) -> DataSettings:
        if self.use_heatmap and not self.heatmap_base_path and not self.heatmap_sources:
            raise ValueError("use_heatmap is true but heatmap_base_path is not set; set it or use_heatmap=false")
        return self


class HeadSettings(StrictModel):
    """One entry of `multihead_kwargs`: the schedule of one probe."""

    lr: NonNegativeFloat = 1e-3
    start_lr: NonNegativeFloat | None = None
    """Learning rate at the start of the warm-up; None takes `lr`."""
    final_lr: NonNegativeFloat = 0.0
    weight_decay: NonNegativeFloat = 1e-2
    final_weight_decay: NonNegativeFloat | None = None
    warmup: NonNegativeFloat = 0.0
    """Epochs."""


class OptimizationSettings(StrictModel):
    """`experiment.optimization`."""

    num_epochs: PositiveInt = 20
    batch_size: PositiveInt = 2
    use_bfloat16: bool = False
    """bfloat16 autocast, on CUDA only."""
    use_focal_loss: bool = True
    """Sigmoid focal loss; false: cross-entropy."""
    multihead_kwargs: Annotated[list[HeadSettings], Field(min_length=1)] = Field(default=[HeadSettings()])
    head: Annotated[int, Field(ge=0)] | None = None
    """Train only this entry of `multihead_kwargs`; None: all of them, side by side."""
    accumulation_steps: PositiveInt = 1
    """Batches per optimizer step; the gradient is that of all their clips."""
    clip_grad_norm: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Largest norm of an arm's gradient."""
    train: TrainedPart | None = None
    """What gets gradients beside the probe. None: `heatmap` with use_heatmap, else `probe` (as V-JEPA 2)."""
    heatmap_lr: NonNegativeFloat | None = None
    """Peak learning rate of the heatmap part; None takes the probe's."""
    predictor_lr: NonNegativeFloat | None = None
    """Peak learning rate of the pretrained predictor; None takes the probe's."""
    adam_betas: tuple[FiniteFloat, FiniteFloat] = (0.9, 0.999)
    adam_eps: Annotated[FiniteFloat, Field(gt=0)] = 1e-8

    @model_validator(mode="after")
    def _head_exists(self) -> OptimizationSettings:
        if self.head is not None and self.head >= len(self.multihead_kwargs):
            raise ValueError(f"head={self.head}, but multihead_kwargs has entries 0..{len(self.multihead_kwargs) - 1}")
        return self


class ExperimentSettings(StrictModel):
    """`experiment`."""

    classifier: ClassifierSettings = ClassifierSettings()
    data: DataSettings
    optimization: OptimizationSettings = OptimizationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    wandb: WandbSettings = WandbSettings()
    tensorboard: bool = False


class EncoderSettings(StrictModel):
    """`model_kwargs.pretrain_kwargs.encoder`: a known `model_name`, whose sizes single keys replace."""

    model_name: str = "vit_large"
    checkpoint_key: str = "target_encoder"
    patch_size: PositiveInt = 16
    tubelet_size: PositiveInt = 2
    embed_dim: PositiveInt | None = None
    depth: PositiveInt | None = None
    num_heads: PositiveInt | None = None
    mlp_ratio: Annotated[FiniteFloat, Field(gt=0)] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen encoder's weights."""
    uniform_power: bool = True
    use_rope: Literal[True] = True
    use_sdpa: bool = True
    use_silu: Literal[False] = False
    wide_silu: bool = False
    use_activation_checkpointing: bool = False


class PredictorSettings(StrictModel):
    """`model_kwargs.pretrain_kwargs.predictor`; what is None comes from the checkpoint, else V-JEPA 2's release."""

    model_name: str = "vit_predictor"
    checkpoint_key: str = "predictor"
    num_frames: PositiveInt = 64
    """Frames that positions reach; the horizon ends there."""
    depth: PositiveInt | None = None
    num_heads: PositiveInt = 12
    predictor_embed_dim: PositiveInt | None = None
    num_mask_tokens: PositiveInt | None = None
    mask_index: Annotated[int, Field(ge=0)] = 1
    """Mask token used to anticipate, modulo num_mask_tokens; V-JEPA 2 uses 1 (PITFALLS 32)."""
    zero_init_mask_tokens: bool = True
    use_mask_tokens: Literal[True] = True
    heatmap_patch_size: PositiveInt | None = None
    """Pixels per heatmap token; None takes the encoder's patch_size."""
    fusion: Fusion | None = None
    """How the heatmap enters. None: `interleave` with use_heatmap, else `none`."""
    multiscale: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    """Patch sizes of several heatmap grids, such as [16, 32, 64]; replaces heatmap_patch_size."""
    temporal: Temporal = "tubelet"
    """Frames of a time step: one mean map (`tubelet`), a grid per frame (`frame`), or a convolution (`conv`)."""
    heatmap_positions: HeatmapPositions = "shared"
    """`own` where the heatmap shows another view than the video: time is shared, places have their own embedding."""
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
            raise ValueError("no_predictor and no_encoder leave no tokens; set one to false")
        return self


class ModelSettings(StrictModel):
    """`model_kwargs`."""

    checkpoint: str
    """Meta's .pt file, or `random` for seeded random weights (tests and trials only)."""
    module_name: str = "gazetools.trainer.models.vit_encoder_predictor_heatmap_ar"
    wrapper_kwargs: WrapperSettings = WrapperSettings()
    pretrain_kwargs: PretrainSettings = PretrainSettings()


class TrainingConfig(StrictModel):
    """The whole file."""

    folder: str
    """Run folder; with `tag` the sub-folder of that name."""
    tag: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")
    eval_name: str = "action_anticipation_frozen"
    resume_checkpoint: bool = True
    """Go on where the run folder has checkpoints, so that the same command resumes; false refuses such a folder."""
    val_only: bool = False
    classifier_checkpoint: str | None = None
    """Weights of predictor and probe to start from, or to evaluate with val_only."""
    nodes: PositiveInt = 1
    tasks_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 1
    mem_per_gpu: str | int | None = None
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    compat: Compat = "none"
    """`vjepa2`: anticipation times are cut to whole tubelets as V-JEPA 2 does; none: exact times."""
    log_every: PositiveInt = 10
    """Steps between progress lines."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints within an epoch."""
    arms: list[ArmSettings] = Field(default=[])
    """Variants trained side by side on one decoding and one encoder pass per clip; empty: the config as it stands."""
    experiment: ExperimentSettings
    model_kwargs: ModelSettings

    @model_validator(mode="after")
    def _arm_names(self) -> TrainingConfig:
        names = [arm.name for arm in self.arms]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms: the name(s) {', '.join(doubled)} occur more than once")
        return self
