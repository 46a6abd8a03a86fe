"""The packed dataset: `DATASET/manifest.json` and what each video's file holds."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from gazetools.schemas.base import StrictModel

MANIFEST_NAME = "manifest.json"
WORK_FOLDER = ".work"
"""Results of an unfinished pack; a leading dot, so that no video id can collide with it."""
MANIFEST_SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 30
"""A manifest holds the provenance of every video, about 3 KB each."""
HEATMAP_MEMBER = "heatmap"
MEMBERS = ("heatmap", "valid", "inout", "pts_seconds")
"""Members of a packed .npz in this order: [T,H,W], bool [T], float32 [T], float64 [T]."""
INDEX_NPZ = "index.npz"
"""Beside the frames of the npy layout: every member but the heatmap."""
PACK_RULES_VERSION = 1
"""Raised whenever the same options would give other numbers, so that datasets are packed anew."""

Layout = Literal["npz", "npy"]
Normalise = Literal["none", "max", "sum", "minmax", "softmax"]
Align = Literal["video", "native"]
Missing = Literal["zero", "hold", "interpolate"]
InOut = Literal["keep", "gate", "weight"]
PackDtype = Literal["float16", "float32", "uint8"]


def frame_file_name(index: int) -> str:
    """`frame_000012.npy`: the number is the index on the grid T."""
    return f"frame_{index:06d}.npy"


class PackOptions(StrictModel):
    """How raw heatmaps become a dataset. Defaults are those of the contract."""

    layout: Layout = "npz"
    normalize: Normalise = "none"
    """Per frame: none, divide by max, divide by sum, (x-min)/(max-min), or softmax(x / temperature)."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    people: str = "max"
    """`max` or `mean` over all people of a frame, a track id, or `wearer`."""
    align: Align = "video"
    """`video`: T = decoded frames and row i = frame i. `native`: T = processed frames."""
    fps: float | None = Field(default=None, gt=0, le=1000)
    """Resample in time: grid point k is the processed frame nearest to first pts + k / fps."""
    missing: Missing = "zero"
    """Frames without a map: zeros with valid False, the last map before (causal), or between both neighbours."""
    inout: InOut = "keep"
    """`gate`: zero maps with inout < 0.5. `weight`: multiply by inout. `keep`: leave the maps."""
    size: str | None = Field(default=None, pattern=r"^([1-9]\d{0,3}x[1-9]\d{0,3}|video)$")
    """`HxW` or `video`: really resized; None keeps the model's size."""
    dtype: PackDtype = "float16"

    @field_validator("people")
    @classmethod
    def _known_people(cls, value: str) -> str:
        if value not in ("max", "mean", "wearer") and not re.fullmatch(r"-?\d{1,9}", value):
            raise ValueError("must be 'max', 'mean', 'wearer' or a track id such as 3")
        return value

    @field_validator("dtype")
    @classmethod
    def _holds_the_values(cls, value: PackDtype, info: ValidationInfo) -> PackDtype:
        if value == "uint8" and info.data.get("normalize") in ("sum", "softmax"):
            raise ValueError(
                "its steps of 1/255 would round maps that sum to 1 to nothing; use float32 or float16, or normalize "
                "max, minmax or none"
            )
        return value

    def key(self) -> str:
        """sha256 over everything that shapes the numbers and the files; equal keys and sources give equal bytes."""
        text = json.dumps({"rules": PACK_RULES_VERSION, **self.model_dump()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class PackedVideo(StrictModel):
    """One video's entry in the manifest."""

    file: str
    """Path relative to the dataset, of the .npz or of the frame folder."""
    t: int = Field(ge=0, alias="T")
    h: int = Field(gt=0, alias="H")
    w: int = Field(gt=0, alias="W")
    dtype: PackDtype
    scale: float = Field(default=1.0, gt=0)
    """heatmap = stored value * scale (1/255 for uint8)."""
    normalisation: Normalise
    people: str
    valid_frames: int = Field(ge=0)
    """Rows whose map was computed from their own frame; filled rows are not counted."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the .npz; for the npy layout of the sorted `name sha256` lines of its files."""
    bytes: int = Field(ge=0)
    source_sha256: str
    """sha256 of the store payload it was packed from."""
    options_key: str
    uses_future: bool
    """True where a map was filled from later frames; `train` refuses it without `--allow-future` (PITFALLS 41)."""
    provenance: dict[str, Any]


class Manifest(StrictModel):
    """`DATASET/manifest.json`."""

    schema_name: Literal["gazetools.dataset"] = "gazetools.dataset"
    schema_version: int = MANIFEST_SCHEMA_VERSION
    tool_version: str
    layout: Layout
    options: PackOptions
    videos: dict[str, PackedVideo]


class PackedItem(StrictModel):
    """What became of one video."""

    video_id: str
    status: Literal["packed", "unchanged", "failed"]
    """unchanged: was already there, from the same source with the same options. failed: see `reason`."""
    reason: str | None = None
    frames: int = 0
    """T, rows of the grid."""
    valid_frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    warnings: list[str] = Field(default_factory=list)


class PackReport(StrictModel):
    """What `pack` did, one item per video asked for."""

    output: str
    items: list[PackedItem]

    @property
    def failed(self) -> list[PackedItem]:
        """The videos that could not be packed."""
        return [item for item in self.items if item.status == "failed"]

    @property
    def exit_code(self) -> int:
        """1 with any failed video, else 0."""
        return int(bool(self.failed))
