"""The config of `finetune`: which gaze model learns, and which of its parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt, model_validator

from gazetools.schemas.base import StrictModel

Probability = Annotated[FiniteFloat, Field(ge=0, lt=1)]


class LoraSettings(StrictModel):
    """`model.lora`: low-rank changes of the tower's linear layers (Hu et al. 2021), merged into the written weights."""

    rank: PositiveInt = 8
    """Rank of each change."""
    alpha: PositiveFloat = 16.0
    """Scale of a change: alpha / rank times the product of its two matrices."""
    layers: Literal["attention", "all"] = "attention"
    """Which linear layers of the tower's blocks change: those of attention, or those of the MLPs as well."""


class UnfreezeSettings(StrictModel):
    """`model.unfreeze`: the tower's last blocks train at first, and earlier ones join as training goes on.

    As PINTO0309/gazelle-dinov3 trains: the final norm, the class token and a learned position embedding train all the
    time.
    """

    blocks: Annotated[int, Field(ge=0)] = 2
    """Last blocks of the tower that train from the first epoch on."""
    from_epoch: Annotated[int, Field(ge=0)] = 10
    """Epoch, counted from 0, in which the first further block joins."""
    every_epochs: PositiveInt = 3
    """Epochs between two further blocks."""


class RopeRescaleSettings(StrictModel):
    """`model.rope_rescale`: rotary coordinates of DINOv3 towers stretched by a random factor in training."""

    largest: Annotated[FiniteFloat, Field(gt=1, le=16)] = 2.0
    """Largest factor; the least is its inverse."""
    per: Literal["block", "pass"] = "block"
    """What has a factor of its own: each block (Meta's code, gazelle-dinov3), or each pass of a tower (PaGE)."""


class FinetuneModel(StrictModel):
    """`model`: the gaze model to start from, and what of it learns."""

    name: str = "gazelle_dinov2_vitb14_inout"
    """Name that `gazetools models` lists, or the path of a self-describing file."""
    checkpoint: str | None = None
    """Weights of a named model; None: the cache or a download, or the file that `name` is."""
    backbone: str | None = None
    """DINOv2 weights where the checkpoint has none; None: the cache or a download."""
    decoder: Literal["kept", "random"] = "kept"
    """Weights that the decoder starts with: those of the file, or random ones."""
    inout_head: Literal["kept", "random", "none"] = "kept"
    """In/out token and head: those of the file, random ones (also where the file has none), or none."""
    trains: Literal["decoder", "lora", "tower"] = "decoder"
    """What learns in addition to the decoder: nothing, low-rank changes of the tower, or the tower itself."""
    lora: LoraSettings = LoraSettings()
    unfreeze: UnfreezeSettings | None = None
    """Order in which the tower's blocks begin to train; None: all of them from the start."""
    drop_path: Probability = 0.1
    """Probability with which a branch of a decoder block is left out for a sample in training."""
    inout_dropout: Probability = 0.1
    """Probability with which a hidden value of the in/out head is zero in training."""
    feature_dropout: Probability = 0.0
    """Probability with which a channel of PaGE's tower features is zero in training; other families have none."""
    rope_rescale: RopeRescaleSettings | None = None
    """Stretched positions of DINOv3 towers, frozen ones too; None: positions as in inference."""

    @model_validator(mode="after")
    def _parts_fit(self) -> FinetuneModel:
        if self.unfreeze is not None and self.trains != "tower":
            raise ValueError(f"unfreeze orders the blocks of a tower that trains, but trains is {self.trains!r}")
        return self
