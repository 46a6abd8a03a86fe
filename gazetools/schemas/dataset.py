"""The packed dataset: `DATASET/manifest.json`, members of the videos' files, options and results of `pack`."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gazetools.schemas.base import Choices, OptionsModel, StrictModel, conflict, matching
from gazetools.schemas.flags import Flag
from gazetools.schemas.store import FINGERPRINT_SIZE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MANIFEST_NAME = "manifest.json"
WORK_FOLDER = ".work"
"""Folder for results of an unfinished pack; a video id can't have this name, since no segment begins with a dot."""
MANIFEST_SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 30
"""A manifest holds about 1.5 KB per video."""
ORIGIN_SUFFIX = ".origin.json"
"""`DATASET/<video_id>.origin.json`: the whole provenance, frame fingerprints and head boxes of sampled rows."""
MAX_ORIGIN_BYTES = 4 << 20
README_NAME = "README.md"
CONVERTED_FROM = "converted_from"
"""Key in the provenance of converted maps: the file of another tool that they come from."""
HEATMAP_MEMBER = "heatmap"
MEMBERS = ("heatmap", "valid", "inout", "pts_seconds")
"""Members of a packed .npz in this order: [T,H,W], bool [T], float32 [T], float64 [T]."""
INVERSE_MEMBERS = ("norm_scale", "norm_offset")
"""float32 [T] each, only where maps were normalised; see `PackOptions.normalize`."""
INDEX_NPZ = "index.npz"
"""File next to the frames of the layout `npy`, with every member except the heatmap."""
PACK_RULES_VERSION = 2
"""Part of `PackOptions.key`; a version that packs other numbers for the same options raises it."""

LAYOUT_NAMES = Choices("npz", "npy", "hdf5", "webdataset", "hf")
"""Names in `gazetools.layouts.registry.LAYOUTS`, whose `register` adds others."""
SHARDED = ("webdataset", "hf")
"""The layouts that put the blocks of all videos into files of one size."""
SHARD_MB = 256
"""Size of a shard where none is given, in units of 10^6 bytes."""
LayoutName = Annotated[str, LAYOUT_NAMES]
NORMALISATION_NAMES = Choices("none", "max", "sum", "minmax", "softmax")
"""Names in `gazetools.heatmaps.normalise.NORMALISATIONS`, whose `register` adds others."""
Normalise = Annotated[str, NORMALISATION_NAMES]
SUM_TO_ONE = {"sum", "softmax"}
"""The normalisations after which every map sums to 1."""
WITHOUT_TEMPERATURE = ("none", "max", "sum", "minmax")
"""The normalisations that `PackOptions.temperature` does not change."""
Align = Literal["video", "native"]
Missing = Literal["zero", "hold", "interpolate"]
InOut = Literal["keep", "gate", "weight"]
PackDtype = Literal["float16", "float32", "uint8"]
_Maps, _Rows, _Shards = Flag(panel="Maps"), Flag(panel="Rows"), Flag(panel="Shards")


_SIZE = matching(r"[1-9]\d{0,3}x[1-9]\d{0,3}|video", "must be HEIGHTxWIDTH such as 64x64, or video")
_PEOPLE = matching(r"max|mean|wearer|-?\d{1,9}", "must be 'max', 'mean', 'wearer' or a track id such as 3")
_LICENSE = matching(r"[a-z0-9][a-z0-9.+-]{0,59}", "must be an identifier of the hub such as cc-by-4.0 or other")
License = Annotated[str, _LICENSE]
"""Identifier of a licence, such as `cc-by-4.0`."""
PeopleRule = Annotated[str, _PEOPLE]
"""The people whose maps make a frame's one map: `max` or `mean` of all, the `wearer`, or a track id."""


def check_shard_options(layout: str, shard_size: int | None, license: str | None) -> None:
    """Raise pydantic's conflict for options of shards with a layout that has none."""
    if shard_size is not None and layout not in SHARDED:
        raise conflict(f"{{shard_size}} is for {{layout}} {' and '.join(SHARDED)}, not {layout}")
    if license is not None and layout != "hf":
        raise conflict(f"{{license}} is for {{layout}} hf, not {layout}")


class PackOptions(OptionsModel):
    """How raw heatmaps become a dataset."""

    layout: LayoutName = "npz"
    """`npz` or `hdf5` (one file a video), `npy` (one file a frame), `webdataset` or `hf` (shards of many videos)."""
    normalize: Annotated[Normalise, _Maps] = "none"
    """Per frame: `none`, `max`, `sum`, `minmax` or `softmax`.

    Divide by max, divide by sum, (x-min)/(max-min), or softmax(x / temperature). The inverse is kept per row: raw =
    stored * norm_scale + norm_offset; for softmax raw = temperature * ln(stored) + norm_offset. NaN where a row can't
    be undone (two rows blended, or a weight of 0)."""
    temperature: Annotated[float, _Maps] = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Temperature of softmax."""
    people: Annotated[PeopleRule, _Maps] = "max"
    """`max` or `mean` over all people of a frame, a track id, or `wearer`."""
    align: Annotated[Align, _Rows] = "video"
    """`video`: row i = decoded frame i. `native`: processed frames only."""
    fps: Annotated[float | None, _Rows] = Field(default=None, gt=0, le=1000)
    """Rows at this rate, each the nearest frame by pts.

    Grid point k is the processed frame nearest to first pts + k / fps."""
    missing: Annotated[Missing, _Rows] = "zero"
    """Rows without a map: `zero` (and valid False), `hold` (the last one) or `interpolate` (uses later frames)."""
    inout: Annotated[InOut, _Maps] = "keep"
    """`keep`, `gate` (zero below 0.5) or `weight` by inout."""
    size: Annotated[Annotated[str, _SIZE] | None, _Maps] = None
    """HxW or `video`, really resized (default: the model's size).

    1080p float16 takes 4 MB a frame."""
    resize_on_load: Annotated[bool, _Maps] = False
    """With --size video: stored small, resized by readers to the video's size, which the manifest records."""
    dtype: Annotated[PackDtype, _Maps] = "float16"
    """`float16`, `float32` or `uint8` (at most 1/510 off)."""
    shard_size: Annotated[int | None, _Shards] = Field(default=None, ge=1, le=100_000)
    """MB of a shard of `webdataset` or `hf` (default: 256).

    A shard is closed before the block that would make it larger. MB are 10^6 bytes."""
    license: Annotated[License | None, _Shards] = None
    """Licence of the maps as the Hugging Face hub names it, for the card of `hf` (default: unknown)."""

    @model_validator(mode="after")
    def _consistent(self) -> PackOptions:
        check_shard_options(self.layout, self.shard_size, self.license)
        if self.resize_on_load and self.size != "video":
            raise conflict("{resize_on_load} needs {size} video; HxW is always resized")
        if self.dtype == "uint8" and self.normalize in SUM_TO_ONE:
            raise conflict(
                f"{{dtype}} uint8 and {{normalize}} {self.normalize} exclude each other: steps of 1/255 would round "
                "maps that sum to 1 to nothing; use float32 or float16, or normalize max, minmax or none"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out options of shards that are not given: manifests and keys of older versions have none."""
        fields: dict[str, Any] = serialize(self)
        return {k: v for k, v in fields.items() if v is not None or k not in ("shard_size", "license")}

    def key(self) -> str:
        """sha256 of PACK_RULES_VERSION and all options that change the maps' files; equal sources give equal bytes."""
        text = json.dumps({"rules": PACK_RULES_VERSION, **self.model_dump(exclude={"license"})}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class PackedVideo(StrictModel):
    """One video's entry in the manifest."""

    file: str
    """File or folder of the video, relative to the dataset."""
    t: int = Field(ge=0, alias="T")
    h: int = Field(gt=0, alias="H")
    w: int = Field(gt=0, alias="W")
    dtype: PackDtype
    scale: float = Field(default=1.0, gt=0)
    """heatmap = stored value * scale (1/255 for uint8)."""
    target_size: tuple[int, int] | None = None
    """(H, W) that readers resize to; None: maps are used as they are stored."""
    normalisation: Normalise
    people: str
    valid_frames: int = Field(ge=0)
    """Rows whose map was computed from their own frame."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """sha256 of the file; for the layout `npy` that of the sorted lines `name sha256` of its files."""
    bytes: int = Field(ge=0)
    source_sha256: str
    """sha256 of the store payload from which the video was packed, or of the converted file."""
    options_key: str
    uses_future: bool
    """True where a map was filled from later frames; `train` refuses such maps without `allow_future`."""
    provenance: dict[str, Any]
    """The main facts (see `summarised`); the whole text is in the origin file."""
    origin_sha256: str | None = None


class SampledPerson(StrictModel):
    """One person of a sampled row."""

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    prompt: int
    """A number of `schemas.store.Prompt`."""
    used: bool
    """True where the packed map contains this person."""


class SampledRow(StrictModel):
    """A row of the dataset with what is needed to compute its map again."""

    row: int = Field(ge=0)
    frame: int = Field(ge=0)
    people: list[SampledPerson]


class Origin(StrictModel):
    """`DATASET/<video_id>.origin.json`, with which a dataset is checked against its video without the store."""

    schema_name: Literal["gazetools.dataset.origin"] = "gazetools.dataset.origin"
    schema_version: int = 1
    video_id: str
    provenance: dict[str, Any]
    fingerprint_index: list[int]
    """[S] decoded frame of each fingerprint."""
    fingerprints: str
    """base64 of uint8 [S, 32, 32], the thumbnails that schemas.store describes."""
    rows: list[SampledRow]

    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """uint8 [S, 32, 32] of `fingerprints`. Raises ValueError where length and index disagree."""
        import numpy as np

        data = np.frombuffer(base64.b64decode(self.fingerprints, validate=True), np.uint8)
        return data.reshape(len(self.fingerprint_index), FINGERPRINT_SIZE, FINGERPRINT_SIZE)


def summarised(provenance: dict[str, Any]) -> dict[str, Any]:
    """The part of a provenance that every manifest entry repeats."""
    wanted = {
        "video": ("path", "sha256", "width", "height", "rate", "frame_count"),
        "model": ("name", "weights_sha256", "dtype"),
        "heads": ("spec", "sha256"),
    }
    parts = {name: {key: provenance[name][key] for key in keys} for name, keys in wanted.items() if name in provenance}
    return {**parts, **{key: provenance[key] for key in ("video_id", "tool_version") if key in provenance}}


class Manifest(StrictModel):
    """`DATASET/manifest.json`."""

    schema_name: Literal["gazetools.dataset"] = "gazetools.dataset"
    schema_version: int = MANIFEST_SCHEMA_VERSION
    tool_version: str
    layout: LayoutName
    options: PackOptions
    videos: dict[str, PackedVideo]


class PackedItem(StrictModel):
    """The result of one video."""

    video_id: str
    status: Literal["packed", "unchanged", "failed"]
    """`unchanged`: packed before, from the same source with the same options. `failed`: `reason` says why."""
    reason: str | None = None
    frames: int = 0
    valid_frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    warnings: list[str] = Field(default_factory=list)


class PackReport(StrictModel):
    """The result of `pack` or `convert`, one item per video."""

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
