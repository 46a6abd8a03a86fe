"""Where heatmaps come from: the text that travels inside every store and dataset manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticSerializationError

from gazetools.schemas.base import StrictModel
from gazetools.schemas.excerpt import writable
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.precision import PrecisionChoice
from gazetools.schemas.video import PictureFacts

MAX_PROVENANCE_BYTES = 32 * 1024
GROUND_TRUTH = "groundtruth"
"""`ModelRecord.name` of maps rendered from eye tracking; `weights_sha256` then names the recordings."""


class SourceVideo(StrictModel):
    """The video that the frames were decoded from."""

    path: str
    """Absolute; relative to the working folder of `extract` in files of versions up to 0.2.0."""
    relative_path: str | None = None
    """The same file seen from the folder of this store or dataset, with `/`; None: not recorded.

    Folders that are moved together keep working: `gazetools.io.source_file` tries both."""
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    stream_index: int = Field(ge=0)
    container: str
    codec: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    rotation_degrees: Literal[0, 90, 180, 270]
    pixel_format: str
    colour_matrix: str
    colour_matrix_source: Literal["tagged", "assumed"]
    colour_range: Literal["limited", "full"]
    colour_transfer: str | None = None
    """FFmpeg's name of the transfer function; None in files of versions that did not record it (up to 0.2)."""
    colour_primaries: str | None = None
    """FFmpeg's name of the primaries; None as above."""
    tone_mapping: str | None = None
    """Method that made SDR of HDR, or `none`; None as above: those versions had none."""
    remarks: list[str] = Field(default_factory=list)
    """What is unusual about the file, such as damage that was allowed and gaps in its clock."""
    lost_frames: list[tuple[int, int]] = Field(default_factory=list)
    """Half-open ranges of wanted frames that can't be decoded; at most 200, `lost_frame_count` counts all."""
    lost_frame_count: int = Field(default=0, ge=0)
    rate: str = Field(pattern=r"^\d+/\d+$")
    """Frames per second as a fraction, such as `30000/1001`."""
    declared_frame_count: int | None
    frame_count: int = Field(ge=0)
    """Counted by decoding, see `counted_by`."""
    counted_by: Literal["decoding", "index"]
    decoder: str
    pictures: PictureFacts | None = None
    """How a folder of pictures became this video; None: it is a file."""

    def own_times(self) -> PictureTimes:
        """The times of a folder of pictures as they were when the heatmaps were made; nothing for a file."""
        if self.pictures is None:
            return PictureTimes()
        path = self.pictures.times_path
        return PictureTimes(frame_rate=self.rate) if path is None else PictureTimes(frame_times=Path(path))


class RuntimeRecord(StrictModel):
    """The program that computed a model instead of torch, or that was found to be the fastest."""

    name: str
    """`torch`, `onnxruntime`, `openvino` or `tensorrt`."""
    program: str
    """With its version, such as `openvino 2026.4.1`."""
    threads: int = Field(ge=1)
    chosen: Literal["named", "measured"] = "named"
    """measured: `--runtime auto` found it to be the fastest here."""
    milliseconds: dict[str, float] = Field(default_factory=dict)
    """Runtime -> time of one frame with one person, where they were measured."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Runtime -> why it was not measured or not taken."""
    max_difference: float | None = None
    """Largest difference of heat maps and in/out scores to float32 in torch on the check's pictures; None: of a file
    that torch cannot run, or torch itself."""
    output_resize: str | None = None
    """Mode of the last resize of an ONNX file that was given as the model, such as `nearest`."""


class ModelRecord(StrictModel):
    """The model that made the heatmaps."""

    name: str
    weights_sha256: dict[str, str]
    """File role (`checkpoint`, `backbone`) -> hex sha256 of the file."""
    backbone: str
    in_size: tuple[int, int]
    """(height, width) of the model input in pixels."""
    out_size: tuple[int, int]
    """(height, width) of a heatmap."""
    inout: bool
    dtype: str
    device: str
    implementation: str
    """`gazetools <version>` or `upstream gazelle`, then the program that computes it where that is not torch."""
    precision: PrecisionChoice | None = None
    """Why `--dtype auto` chose this dtype; None: it was given, or there was nothing to choose."""
    runtime: RuntimeRecord | None = None
    """None: torch, as named or by default, and in files of versions that knew no other."""


class HeadSource(StrictModel):
    """Where the head boxes come from and what was done to them."""

    spec: str
    sha256: str | None
    """sha256 of the box file; None: there is none."""
    rows: int = Field(ge=0)
    clipped_boxes: int = Field(ge=0)
    """Boxes that reached over the frame's edge and were cut at it."""
    small_heads: str
    prompts: dict[str, int]
    """Prompt kind (given, grown, cropped, none) -> rows."""
    counts: dict[str, float] = Field(default_factory=dict)
    format: str | None = None
    """Format that the box file was read in, as `--heads-format` names it; None: no file, or not recorded."""
    reading: str = ""
    """How its columns, frame numbers and units were read; empty for our own format."""
    detector: dict[str, Any] | None = None
    """Options and weights of the detector that made the boxes, None where no detector of ours did."""
    notes: list[str] = Field(default_factory=list)
    """Choices that were made, such as between several glasses of an Ego-Exo4D capture."""


class TakenOver(StrictModel):
    """Rows that were copied from a finished store of the same video and model, which had other head boxes."""

    frames: int = Field(ge=0)
    """Frames that were not computed again, also those without people."""
    rows: int = Field(ge=0)
    payload_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """sha256 of the store file that they were copied from."""
    options_key: str
    heads_sha256: str | None
    """sha256 of the boxes of that store; None: it had none."""
    tool_version: str
    libraries: dict[str, str]
    """Versions of the program that wrote that store."""
    corrections: int = Field(ge=1)
    """How often boxes were replaced in this way since all frames were computed."""


class Provenance(StrictModel):
    """Origin of one store file, kept as one JSON text under 32 KB in its root attribute `provenance`."""

    schema_name: Literal["gazetools.store"] = "gazetools.store"
    schema_version: int = 1
    video_id: str
    tool: str = "gazetools"
    tool_version: str
    video: SourceVideo
    model: ModelRecord
    heads: HeadSource
    batch_size: int = Field(gt=0)
    batch_size_backoffs: list[dict[str, int]] = Field(default_factory=list)
    """Out-of-memory back-offs: {"piece": k, "batch_size": n}."""
    piece_frames: int = Field(gt=0)
    """Frames per piece; batches never cross a piece, so a resumed run computes the same numbers."""
    options: dict[str, Any]
    """Every option that shapes the result (fps, stride, start, end, people ...)."""
    options_key: str
    """sha256 over everything that shapes the result; equal keys give equal stores."""
    libraries: dict[str, str]
    taken_over: TakenOver | None = None
    """Rows from a store with other head boxes; None: all rows were computed from these boxes."""

    @field_validator("video_id")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value:
            raise ValueError("video_id is empty")
        return value

    def to_text(self) -> str:
        """The JSON text; raises ValueError where it would pass 32 KB."""
        try:
            text = self.model_dump_json()
        except PydanticSerializationError:  # a path with bytes that are no UTF-8
            text = type(self).model_validate(writable(self.model_dump())).model_dump_json()
        if len(text.encode("utf-8")) >= MAX_PROVENANCE_BYTES:
            raise ValueError(f"provenance has {len(text)} characters; it must stay under {MAX_PROVENANCE_BYTES} bytes")
        return text
