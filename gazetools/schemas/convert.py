"""Options of `convert`."""

from __future__ import annotations

from pydantic import Field, model_validator

from gazetools.schemas.base import OptionsModel
from gazetools.schemas.dataset import LayoutName, License, PackDtype, check_shard_options


class ConvertOptions(OptionsModel):
    """What a dataset is rewritten as; its numbers stay."""

    layout: LayoutName = "npz"
    """`npz` or `hdf5` (one file a video), `npy` (one file a frame), `webdataset` or `hf` (shards of many videos)."""
    dtype: PackDtype | None = None
    """Another tool's maps: `float16`, `float32` or `uint8` (default: theirs).

    None keeps these three and makes float64 float32. A dataset keeps its own."""
    workers: int | None = Field(default=None, ge=0)
    """Videos at a time (default: one per core, at most 4)."""
    overwrite: bool = False
    """Replace a dataset with other options."""
    shard_size: int | None = Field(default=None, ge=1, le=100_000)
    """MB of a shard of `webdataset` or `hf` (default: 256)."""
    license: License | None = None
    """Licence of the maps as the Hugging Face hub names it, for the card of `hf` (default: unknown)."""

    @model_validator(mode="after")
    def _consistent(self) -> ConvertOptions:
        check_shard_options(self.layout, self.shard_size, self.license)
        return self
