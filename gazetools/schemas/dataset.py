"""The packed dataset: `DATASET/manifest.json` and what each video's file holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel

MANIFEST_NAME = "manifest.json"
HEATMAP_MEMBER = "heatmap"
MEMBERS = ("heatmap", "valid", "inout", "pts_seconds")
"""Members of a packed .npz in this order: [T,H,W], bool [T], float32 [T], float64 [T]."""
INDEX_NPZ = "index.npz"
"""Beside the frames of the npy layout: every member but the heatmap."""

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
    temperature: float = Field(default=1.0, gt=0)
    people: str = "max"
    """`max` or `mean` over all people of a frame, a track id, or `wearer`."""
    align: Align = "video"
    """`video`: T = decoded frames and row i = frame i. `native`: T = processed frames."""
    fps: float | None = Field(default=None, gt=0)
    """Resample in time: grid point k is the processed frame nearest to first pts + k / fps."""
    missing: Missing = "zero"
    """Frames without a map: zeros with valid False, the last map before (causal), or between both neighbours."""
    inout: InOut = "keep"
    """`gate`: zero maps with inout < 0.5. `weight`: multiply by inout. `keep`: leave the maps."""
    size: str | None = Field(default=None, pattern=r"^(\d+x\d+|video)$")
    """`HxW` or `video`: really resized; None keeps the model's size."""
    dtype: PackDtype = "float16"


class PackedVideo(StrictModel):
    """One video's entry in the manifest."""

    file: str
    """Path relative to the dataset, of the .npz or of the frame folder."""
    t: int = Field(ge=0, alias="T")
    h: int = Field(gt=0, alias="H")
    w: int = Field(gt=0, alias="W")
    dtype: PackDtype
    scale: float = 1.0
    """heatmap = stored value * scale (1/255 for uint8)."""
    normalize: Normalise
    people: str
    valid_frames: int = Field(ge=0)
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
    schema_version: int = 1
    tool_version: str
    layout: Layout
    options: PackOptions
    videos: dict[str, PackedVideo]
