"""Options of `convert`."""

from __future__ import annotations

from pydantic import Field

from gazetools.schemas.base import OptionsModel
from gazetools.schemas.dataset import LayoutName, PackDtype


class ConvertOptions(OptionsModel):
    """What a dataset is rewritten as; its numbers stay."""

    layout: LayoutName = "npz"
    """`npz` or `hdf5` (one file a video), or `npy` (one file a frame)."""
    dtype: PackDtype | None = None
    """Another tool's maps: `float16`, `float32` or `uint8` (default: theirs).

    None keeps these three and makes float64 float32. A dataset keeps its own."""
    workers: int | None = Field(default=None, ge=0)
    """Videos at a time (default: one per core, at most 4)."""
    overwrite: bool = False
    """Replace a dataset with other options."""
