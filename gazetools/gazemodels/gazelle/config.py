"""The shape of a Gaze-LLE model and the registry of released ones; imports no torch."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from gazetools.gazemodels.gazelle.variants import GAZELLE_DECODER, DecoderVariant
from gazetools.gazemodels.without_weights import CONTROLS, RUNS_NOW, TINY
from gazetools.schemas.base import StrictModel, explain_validation_error, nearest_name
from gazetools.schemas.errors import CheckpointError, UsageError

CONFIG_METADATA_KEY = "gazetools.gazelle"
"""Key of a .safetensors file's metadata under which a self-describing model keeps its `GazelleConfig` as JSON."""

DIMENSION = Annotated[int, Field(ge=1, le=8192)]
PIXELS = Annotated[int, Field(ge=1, le=4096)]


class BackboneConfig(StrictModel):
    """A DINOv2 vision transformer without register tokens; numbers as in facebookresearch/dinov2's hub/backbones.py."""

    name: str
    embed_dim: DIMENSION
    depth: Annotated[int, Field(ge=1, le=96)]
    num_heads: Annotated[int, Field(ge=1, le=128)]
    patch_size: Annotated[int, Field(ge=1, le=64)] = 14
    native_grid: Annotated[int, Field(ge=1, le=512)] = 37
    """Patches per side of the stored position embedding: 37 = 518 / 14 for the released ones."""
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 4
    layer_norm_eps: float = 1e-6
    interpolate_offset: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Added to the wanted grid before the scale factor is formed; 0 resamples to the size itself."""
    interpolate_antialias: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> BackboneConfig:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        return self


class GazelleConfig(StrictModel):
    """The shape of a model: enough to build it before its weights are read."""

    schema_version: int = Field(default=1, ge=1, le=1)
    name: str
    backbone: BackboneConfig
    inout: bool
    """Whether the model also outputs the probability that the gaze target is inside the frame."""
    dim: Annotated[int, Field(ge=8, le=8192, multiple_of=8)] = 256
    num_layers: Annotated[int, Field(ge=1, le=48)] = 3
    num_heads: Annotated[int, Field(ge=1, le=128)] = 8
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 4
    in_size: tuple[PIXELS, PIXELS] = (448, 448)
    """(height, width) of the model input in pixels, each a multiple of the patch size."""
    out_size: tuple[PIXELS, PIXELS] = (64, 64)
    """(height, width) of a heatmap."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> GazelleConfig:
        patch = self.backbone.patch_size
        if any(side % patch for side in self.in_size):
            raise ValueError(f"in_size {self.in_size} must be multiples of the patch size {patch} (height, width)")
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is no multiple of num_heads {self.num_heads}")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.in_size[0] // self.backbone.patch_size, self.in_size[1] // self.backbone.patch_size

    @property
    def feature_channels(self) -> int:
        """Channels of the backbone's features."""
        return self.backbone.embed_dim

    @property
    def variant(self) -> DecoderVariant:
        """What the decoder does as Gaze-LLE."""
        return GAZELLE_DECODER

    @property
    def normalised(self) -> bool:
        """Whether the input is normalised with ImageNet's statistics: always."""
        return True

    def with_in_size(self, in_size: tuple[int, int]) -> GazelleConfig:
        """The same model for another input size (height, width); UsageError where it does not fit the patches."""
        try:
            return GazelleConfig.model_validate({**self.model_dump(), "in_size": in_size})
        except ValidationError as error:
            raise UsageError(
                f"in_size {in_size!r}: " + "; ".join(explain_validation_error(error, GazelleConfig)) + ".",
                hint=f"Give (height, width), both multiples of {self.backbone.patch_size}, such as (448, 448).",
            ) from None

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a self-describing .safetensors file."""
        return {CONFIG_METADATA_KEY: self.model_dump_json()}


def config_from_metadata(metadata: dict[str, str], *, path: str) -> GazelleConfig | None:
    """The config in a .safetensors file's metadata, None where there is none, CheckpointError where it is wrong."""
    text = metadata.get(CONFIG_METADATA_KEY)
    if text is None:
        return None
    try:
        return GazelleConfig.model_validate(json.loads(text))
    except ValidationError as error:
        problems = "; ".join(explain_validation_error(error, GazelleConfig))
    except (ValueError, RecursionError) as error:
        problems = str(error)
    raise CheckpointError(f"{path}: its metadata '{CONFIG_METADATA_KEY}' is not a model description: {problems}.")


DINOV2_BACKBONES = {
    "dinov2_vits14": BackboneConfig(name="dinov2_vits14", embed_dim=384, depth=12, num_heads=6),
    "dinov2_vitb14": BackboneConfig(name="dinov2_vitb14", embed_dim=768, depth=12, num_heads=12),
    "dinov2_vitl14": BackboneConfig(name="dinov2_vitl14", embed_dim=1024, depth=24, num_heads=16),
}

TINY_MODEL = GazelleConfig(
    name=TINY,
    backbone=BackboneConfig(name="dinov2_tiny14", embed_dim=128, depth=5, num_heads=4, native_grid=16),
    inout=True,
    dim=96,
    num_layers=2,
    num_heads=4,
    in_size=(224, 224),
)
"""Our own model, trained from scratch on the synthetic kitchens of `gazetools.scenes`; part of the package."""

_GAZELLE_RELEASE = "https://github.com/fkryan/gazelle/releases/download/v1.0.0"
_DINOV2_RELEASE = "https://dl.fbaipublicfiles.com/dinov2"

DECODER_URLS = {  # from fkryan/gazelle's hubconf.py
    "gazelle_dinov2_vitb14": f"{_GAZELLE_RELEASE}/gazelle_dinov2_vitb14_hub.pt",
    "gazelle_dinov2_vitl14": f"{_GAZELLE_RELEASE}/gazelle_dinov2_vitl14.pt",
    "gazelle_dinov2_vitb14_inout": f"{_GAZELLE_RELEASE}/gazelle_dinov2_vitb14_inout.pt",
    "gazelle_dinov2_vitl14_inout": f"{_GAZELLE_RELEASE}/gazelle_dinov2_vitl14_inout.pt",
}
BACKBONE_URLS = {
    "dinov2_vitb14": f"{_DINOV2_RELEASE}/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    "dinov2_vitl14": f"{_DINOV2_RELEASE}/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
}
RELEASED_MODELS = {
    f"gazelle_{backbone}{suffix}": GazelleConfig(
        name=f"gazelle_{backbone}{suffix}", backbone=DINOV2_BACKBONES[backbone], inout=bool(suffix)
    )
    for suffix in ("", "_inout")
    for backbone in BACKBONE_URLS
}
"""The models of fkryan/gazelle's release v1.0.0 by name."""


def released_config(name: str) -> GazelleConfig:
    """The released model called `name`; UsageError with the nearest name where there is none."""
    if name in RELEASED_MODELS:
        return RELEASED_MODELS[name]
    names = known_names()
    near = nearest_name(name.replace("_", "-"), list(CONTROLS)) or nearest_name(name, names)
    raise UsageError(
        f"There is no model named {name!r} and no file of that name" + (f"; did you mean {near}?" if near else "."),
        hint=f"Known models: {', '.join(names)}; or give the path of a self-describing .safetensors file. {RUNS_NOW}",
        model=name,
    )


def known_names() -> list[str]:
    """The names of our models: released ones, the small one, controls."""
    return [*RELEASED_MODELS, TINY_MODEL.name, *CONTROLS]
