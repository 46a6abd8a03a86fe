"""Options of `convert`, and the report where it writes files of other tools."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gazetools.schemas.base import Choices, OptionsModel, StrictModel
from gazetools.schemas.dataset import LAYOUT_NAMES, PackDtype

EXPORT_NAMES = Choices()
"""Names in `gazetools.exchange.registry.EXPORTS`: files of other tools instead of a packed dataset."""
_TARGETS = Choices(others=(LAYOUT_NAMES, EXPORT_NAMES))


class ConvertOptions(OptionsModel):
    """What a dataset is rewritten as; its numbers stay."""

    layout: Annotated[str, _TARGETS] = "npz"
    """`npz` or `hdf5` (one file a video), or `npy` (one file a frame)."""
    dtype: PackDtype | None = None
    """Another tool's maps: `float16`, `float32` or `uint8` (default: theirs).

    None keeps these three and makes float64 float32. A dataset keeps its own."""
    workers: int | None = Field(default=None, ge=0)
    """Videos at a time (default: one per core, at most 4)."""
    overwrite: bool = False
    """Replace a dataset with other options."""


class ExportedItem(StrictModel):
    """The result of one video."""

    video_id: str
    status: Literal["written", "unchanged", "failed"]
    """`unchanged`: written before, from the same source with the same options. `failed`: `reason` says why."""
    reason: str | None = None
    frames: int = 0
    rows: int = 0
    """Boxes, samples or rows, as the layout has them."""
    bytes: int = 0
    seconds: float = 0.0
    warnings: list[str] = Field(default_factory=list)


class ExportReport(StrictModel):
    """The result of `convert` into files of another tool, one item per video."""

    output: str
    layout: str
    items: list[ExportedItem]
    notes: list[str] = Field(default_factory=list)
    """What the layout does not keep, and how it is loaded; also in the folder's manifest."""

    @property
    def failed(self) -> list[ExportedItem]:
        """The videos that could not be written."""
        return [item for item in self.items if item.status == "failed"]

    @property
    def exit_code(self) -> int:
        """1 with any failed video, else 0."""
        return int(bool(self.failed))
