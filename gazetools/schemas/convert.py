"""Options of `convert`, and the report where it writes files of other tools."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import Choices, OptionsModel, StrictModel
from gazetools.schemas.dataset import LAYOUT_NAMES, License, PackDtype, check_shard_options

EXPORT_NAMES = Choices("coco", "cvat", "label-studio")
"""Names in `gazetools.exchange.exports.EXPORTS`: files of other tools instead of a packed dataset."""
_TARGETS = Choices(others=(LAYOUT_NAMES, EXPORT_NAMES))


class ConvertOptions(OptionsModel):
    """What a dataset is rewritten as; its numbers stay."""

    layout: Annotated[str, _TARGETS] = "npz"
    """Maps as `npz` or `hdf5` (one file a video), `npy` (one file a frame), `webdataset` or `hf` (shards of many
    videos); boxes and gaze points as `coco`, `cvat` or `label-studio`.

    The last three need a store, and write one file a video for that tool, which `--heads file:FOLDER` reads again."""
    dtype: PackDtype | None = None
    """Another tool's maps: `float16`, `float32` or `uint8` (default: theirs).

    None keeps these three and makes float64 float32. A dataset keeps its own."""
    workers: int | None = Field(default=None, ge=0)
    """Videos at a time (default: one per core, at most 4)."""
    overwrite: bool = False
    """Replace a dataset with other options, or files that were changed since they were written."""
    shard_size: int | None = Field(default=None, ge=1, le=100_000)
    """MB of a shard of `webdataset` or `hf` (default: 256)."""
    license: License | None = None
    """Licence of the maps as the Hugging Face hub names it, for the card of `hf` (default: unknown)."""

    @model_validator(mode="after")
    def _consistent(self) -> ConvertOptions:
        check_shard_options(self.layout, self.shard_size, self.license)
        return self


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


class ExportedVideo(StrictModel):
    """One video's entry in the manifest of an export."""

    file: str
    """Relative to the folder."""
    frames: int = Field(ge=0)
    boxes: int = Field(ge=0)
    gaze_points: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    source_sha256: str
    """sha256 of the store payload."""
    tool_version: str


class ExportManifest(StrictModel):
    """`OUTPUT/manifest.json` of an export of boxes."""

    schema_name: Literal["gazetools.export"] = "gazetools.export"
    schema_version: Literal[1] = 1
    tool_version: str
    layout: str
    notes: list[str]
    """What the files do not keep, and how they are loaded."""
    videos: dict[str, ExportedVideo]
