"""The shapes of gazelle-dinov3's models: nine sizes as data, and what a self-describing file says; imports no torch."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from gazetools.gazemodels.gazelle.config import DIMENSION, PIXELS
from gazetools.gazemodels.gazelle.variants import DINOV3_DECODER, DecoderVariant
from gazetools.schemas.base import StrictModel, explain_validation_error
from gazetools.schemas.errors import CheckpointError

DINOV3_METADATA_KEY = "gazetools.gazelle_dinov3"
"""Key of a .safetensors file's metadata under which a self-describing model keeps its config as JSON."""

STRIDE = 16
"""Pixels per cell of every backbone's features."""


class HgnetStage(StrictModel):
    """One stage of an HGNetV2: blocks of a few convolutions whose results are all joined and mixed."""

    inner: DIMENSION
    """Channels of the convolutions in a block."""
    out: DIMENSION
    """Channels that each block gives on."""
    blocks: Annotated[int, Field(ge=1, le=32)] = 1
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    light: bool = False
    """Whether each convolution is a pointwise one followed by a depthwise one."""


class HgnetShape(StrictModel):
    """An HGNetV2, as in PaddleDetection's and DEIMv2's descriptions; the features are those of the third stage."""

    stem: DIMENSION = 16
    stages: tuple[HgnetStage, ...] = Field(min_length=3, max_length=4)
    layers_per_block: Annotated[int, Field(ge=1, le=16)] = 3

    @property
    def channels(self) -> int:
        return self.stages[2].out


class VitShape(StrictModel):
    """A vision transformer with rotary positions and patches of 16 pixels."""

    layout: Literal["hub", "small"]
    """`hub`: Meta's DINOv3 (registers, LayerScale, final norm, no bias of keys); `small`: gazelle-dinov3's own ViT."""
    width: DIMENSION
    depth: Annotated[int, Field(ge=1, le=96)] = 12
    num_heads: Annotated[int, Field(ge=1, le=128)]
    hidden: Annotated[int, Field(ge=1, le=65536)]
    gated: bool = False
    registers: Annotated[int, Field(ge=0, le=64)] = 4
    """Learned tokens between class token and patches, in the layout `hub`."""

    @model_validator(mode="after")
    def _heads_divide(self) -> VitShape:
        if self.width % (4 * self.num_heads):
            raise ValueError(f"width {self.width} is no multiple of 4 * num_heads {self.num_heads}")
        return self

    @property
    def channels(self) -> int:
        return self.width


class Dinov3Backbone(StrictModel):
    """The backbone of one model: exactly one of the two shapes."""

    name: str
    vit: VitShape | None = None
    hgnet: HgnetShape | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> Dinov3Backbone:
        if (self.vit is None) == (self.hgnet is None):
            raise ValueError("exactly one of vit and hgnet must be given")
        return self

    @property
    def shape(self) -> VitShape | HgnetShape:
        shape = self.vit or self.hgnet
        assert shape is not None
        return shape


class Dinov3GazeConfig(StrictModel):
    """The shape of a gazelle-dinov3 model: enough to build it before its weights are read."""

    schema_version: int = Field(default=1, ge=1, le=1)
    name: str
    backbone: Dinov3Backbone
    inout: bool
    """Whether the model also outputs the probability that the gaze target is inside the frame."""
    dim: Annotated[int, Field(ge=8, le=8192, multiple_of=8)] = 256
    num_layers: Annotated[int, Field(ge=1, le=48)] = 3
    num_heads: Annotated[int, Field(ge=1, le=128)] = 8
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 4
    in_size: tuple[PIXELS, PIXELS] = (640, 640)
    """(height, width) of the model input in pixels, each a multiple of 16."""
    out_size: tuple[PIXELS, PIXELS] = (64, 64)
    """(height, width) of a heatmap."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Dinov3GazeConfig:
        if any(side % STRIDE for side in self.in_size):
            raise ValueError(f"in_size {self.in_size} must be multiples of {STRIDE} (height, width)")
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is no multiple of num_heads {self.num_heads}")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the backbone's features."""
        return self.in_size[0] // STRIDE, self.in_size[1] // STRIDE

    @property
    def feature_channels(self) -> int:
        """Channels of the backbone's features."""
        return self.backbone.shape.channels

    @property
    def variant(self) -> DecoderVariant:
        """What the decoder does otherwise than Gaze-LLE."""
        return DINOV3_DECODER

    @property
    def normalised(self) -> bool:
        """Whether the input is normalised with ImageNet's statistics: for the transformers, not for HGNetV2."""
        return self.backbone.vit is not None

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a self-describing .safetensors file."""
        return {DINOV3_METADATA_KEY: self.model_dump_json()}


def dinov3_config_from_metadata(metadata: dict[str, str], *, path: str) -> Dinov3GazeConfig | None:
    """The config in a .safetensors file's metadata, None where there is none, CheckpointError where it is wrong."""
    text = metadata.get(DINOV3_METADATA_KEY)
    if text is None:
        return None
    try:
        return Dinov3GazeConfig.model_validate(json.loads(text))
    except ValidationError as error:
        problems = "; ".join(explain_validation_error(error, Dinov3GazeConfig))
    except (ValueError, RecursionError) as error:
        problems = str(error)
    raise CheckpointError(f"{path}: its metadata '{DINOV3_METADATA_KEY}' is not a model description: {problems}.")


_STAGE1, _STAGE2 = HgnetStage(inner=16, out=64), HgnetStage(inner=32, out=256)


def _hgnet(name: str, *last: HgnetStage) -> Dinov3Backbone:
    return Dinov3Backbone(name=name, hgnet=HgnetShape(stages=(_STAGE1, _STAGE2, *last)))


def _vit(
    name: str, layout: Literal["hub", "small"], width: int, num_heads: int, *, gated: bool = False
) -> Dinov3Backbone:
    shape = VitShape(
        layout=layout,
        width=width,
        num_heads=num_heads,
        hidden=4 * width,  # also for the gated one, whose released size has 6 * width * 2 / 3
        gated=gated,
        registers=4 if layout == "hub" else 0,
    )
    return Dinov3Backbone(name=name, vit=shape)


_SIZES: dict[str, tuple[Dinov3Backbone, int, int]] = {  # model -> backbone, side of the input, side of a heatmap
    "gazelle_hgnetv2_atto": (_hgnet("hgnetv2_atto", HgnetStage(inner=64, out=256, light=True)), 320, 32),
    "gazelle_hgnetv2_femto": (_hgnet("hgnetv2_femto", HgnetStage(inner=64, out=512, kernel=5, light=True)), 416, 48),
    "gazelle_hgnetv2_pico": (
        _hgnet("hgnetv2_pico", HgnetStage(inner=64, out=512, blocks=2, kernel=5, light=True)),
        640,
        64,
    ),
    "gazelle_hgnetv2_n": (
        _hgnet(
            "hgnetv2_n",
            HgnetStage(inner=64, out=512, blocks=2, kernel=5, light=True),
            HgnetStage(inner=128, out=1024, kernel=5, light=True),
        ),
        640,
        64,
    ),
    "gazelle_dinov3_vit_tiny": (_vit("vit_tiny", "small", 192, 3), 640, 64),
    "gazelle_dinov3_vit_tinyplus": (_vit("vit_tinyplus", "small", 256, 4), 640, 64),
    "gazelle_dinov3_vits16": (_vit("dinov3_vits16", "hub", 384, 6), 640, 64),
    "gazelle_dinov3_vits16plus": (_vit("dinov3_vits16plus", "hub", 384, 6, gated=True), 640, 64),
    "gazelle_dinov3_vitb16": (_vit("dinov3_vitb16", "hub", 768, 12), 640, 64),
}

DINOV3_MODELS = {
    f"{name}{suffix}": Dinov3GazeConfig(
        name=f"{name}{suffix}",
        backbone=backbone,
        inout=bool(suffix),
        in_size=(in_side, in_side),
        out_size=(out_side, out_side),
    )
    for suffix in ("", "_inout")
    for name, (backbone, in_side, out_side) in _SIZES.items()
}
"""The released models (PINTO0309/gazelle-dinov3, release tag `weights`) by name."""


def release_file(name: str) -> str:
    """The name of a released model's file; those on HGNetV2 were distilled."""
    return f"{name}_distill.pt" if "hgnetv2" in name else f"{name}.pt"
