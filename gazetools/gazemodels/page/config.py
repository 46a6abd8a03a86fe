"""The shape of a PaGE model and the four released sizes; imports no torch."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from gazetools.schemas.base import StrictModel, explain_validation_error, nearest_name
from gazetools.schemas.errors import CheckpointError, UsageError

CONFIG_METADATA_KEY = "gazetools.page"
"""Key of a .safetensors file's metadata under which a self-describing model keeps its `PageConfig` as JSON."""

_SIZE = Annotated[int, Field(ge=1, le=8192)]
_COUNT = Annotated[int, Field(ge=0, le=96)]
_SIDE = Annotated[int, Field(ge=1, le=4096)]


class PageTowerConfig(StrictModel):
    """A DINOv3 vision transformer; names and numbers as in transformers' DINOv3ViTConfig."""

    hidden_size: _SIZE
    num_hidden_layers: Annotated[int, Field(ge=1, le=96)]
    num_attention_heads: Annotated[int, Field(ge=1, le=128)]
    intermediate_size: _SIZE
    use_gated_mlp: bool = False
    hidden_act: Literal["gelu", "silu"] = "gelu"
    """Activation of each MLP; config.json next to a file overrides it."""
    patch_size: Annotated[int, Field(ge=1, le=64)] = 16
    num_register_tokens: _COUNT = 4
    layer_norm_eps: float = 1e-5
    rope_theta: float = 100.0

    @model_validator(mode="after")
    def _heads_divide(self) -> PageTowerConfig:
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of 4 x {self.num_attention_heads} heads")
        return self


class PageConfig(StrictModel):
    """The shape of a model: enough to build it before its weights are read. Both towers have one shape."""

    schema_version: int = Field(default=1, ge=1, le=1)
    name: str
    tower: PageTowerConfig
    scene_in_size: tuple[_SIDE, _SIDE] = (512, 512)
    """(height, width) of the frame as the scene tower receives it, equal multiples of the patch size."""
    head_in_size: tuple[_SIDE, _SIDE] = (256, 256)
    """(height, width) of a head crop as the head tower receives it."""
    dim: Annotated[int, Field(ge=4, le=8192, multiple_of=4)] = 256
    num_heads: Annotated[int, Field(ge=1, le=128)] = 8
    scene_self_layers: _COUNT = 1
    head_self_layers: _COUNT = 1
    interaction_layers: _COUNT = 5
    registers: _COUNT = 4
    """Learned tokens of the decoder per stream, next to the in/out token."""
    inout: bool = True
    out_size: tuple[Annotated[int, Field(ge=1, le=64)], _SIDE] = (64, 64)
    """(height, width) of a heatmap; the original has other layers above 64 rows."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> PageConfig:
        patch = self.tower.patch_size
        for field in ("scene_in_size", "head_in_size"):
            height, width = getattr(self, field)
            if height != width:
                raise ValueError(
                    f"{field} ({height}, {width}) is not square; the original takes the number of patches for that "
                    "of a square, so that it would place them wrongly"
                )
            if height % patch:
                raise ValueError(f"{field} ({height}, {width}) must be multiples of the patch size {patch}")
        if self.dim % (4 * self.num_heads):
            raise ValueError(f"dim {self.dim} is no multiple of 4 x {self.num_heads} heads")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the frame's patches."""
        side = self.scene_in_size[0] // self.tower.patch_size
        return side, side

    @property
    def head_grid(self) -> tuple[int, int]:
        """(rows, columns) of a head crop's patches."""
        side = self.head_in_size[0] // self.tower.patch_size
        return side, side

    @property
    def front(self) -> int:
        """Learned tokens before the patches of each stream of the decoder."""
        return self.registers + self.inout

    def to_metadata(self) -> dict[str, str]:
        """The metadata of a self-describing .safetensors file."""
        return {CONFIG_METADATA_KEY: self.model_dump_json()}


def page_config_from_metadata(metadata: dict[str, str], *, path: str) -> PageConfig | None:
    """The config in a .safetensors file's metadata, None where there is none, CheckpointError where it is wrong."""
    text = metadata.get(CONFIG_METADATA_KEY)
    if text is None:
        return None
    try:
        return PageConfig.model_validate(json.loads(text))
    except ValidationError as error:
        problems = "; ".join(explain_validation_error(error, PageConfig))
    except (ValueError, RecursionError) as error:
        problems = str(error)
    raise CheckpointError(f"{path}: its metadata '{CONFIG_METADATA_KEY}' is not a model description: {problems}.")


_TOWERS = {  # DINOv3 ViT-S, S+, B and H+; heads of 64 channels
    "page_vits": PageTowerConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536
    ),
    "page_vitsplus": PageTowerConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536,
        use_gated_mlp=True, hidden_act="silu",
    ),
    "page_vitb": PageTowerConfig(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
    ),
    "page_vithplus": PageTowerConfig(
        hidden_size=1280, num_hidden_layers=32, num_attention_heads=20, intermediate_size=5120,
        use_gated_mlp=True, hidden_act="silu",
    ),
}  # fmt: skip
PAGE_MODELS = {name: PageConfig(name=name, tower=tower) for name, tower in _TOWERS.items()}
"""The released sizes by name."""


def released_page_config(name: str) -> PageConfig:
    """The released size called `name`; UsageError with the nearest name where there is none."""
    if name in PAGE_MODELS:
        return PAGE_MODELS[name]
    near = nearest_name(name.replace("-", "_"), list(PAGE_MODELS))
    raise UsageError(
        f"There is no PaGE model named {name!r} and no file of that name"
        + (f"; did you mean {near}?" if near else "."),
        hint=f"PaGE's sizes: {', '.join(PAGE_MODELS)}; `gazetools models` lists all. Paths of weights work too.",
        model=name,
    )
