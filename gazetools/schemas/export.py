"""Options of `export`, what it reports, and the metadata of an ONNX file that it wrote."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from gazetools.schemas.base import OptionsModel, StrictModel

Compat = Literal["exact", "nearest"]
GraphPart = Literal["whole", "frame", "people"]
METADATA_PREFIX = "gazetools."
"""Start of the keys of `OnnxMetadata` in a file's metadata."""


class OnnxOptions(OptionsModel):
    """How a gaze model becomes an ONNX file."""

    checkpoint: str | None = None
    """Weights of the named model (default: the cache, else the download)."""
    backbone: str | None = None
    """Backbone weights where the checkpoint has none."""
    people: int | Literal["dynamic"] = "dynamic"
    """`dynamic`: any number of people from 1 on; or the fixed number of people of a call."""
    compat: Compat = "exact"
    """`exact`: the numbers of the PyTorch model. `nearest`: the last resize takes the nearest neighbour, as the files
    that gazelle-dinov3 publishes do."""
    split: bool = False
    """Write two files, NAME.frame.onnx (once per frame) and NAME.people.onnx (per person), instead of one."""
    opset: int = Field(default=17, ge=17, le=20)
    """ONNX operator set."""
    overwrite: bool = False
    """Replace files that are there."""
    check_video: str | None = None
    """A video: the files are compared with PyTorch on three of its frames, too, not on a made picture alone."""

    @field_validator("people")
    @classmethod
    def _somebody(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or dynamic: a graph for 0 people computes nothing")
        return value


class OnnxMetadata(StrictModel):
    """What an exported file says about itself, one metadata entry `gazetools.FIELD` each; all but texts are JSON."""

    schema_version: int = Field(default=1, ge=1, le=1)
    gazetools_version: str
    model: str
    backbone: str
    family: str
    """Interface of the file: `gazelle` or `page`, see docs/runtimes.md."""
    part: GraphPart = "whole"
    compat: Compat = "exact"
    people: int | Literal["dynamic"] = "dynamic"
    opset: int
    in_size: tuple[int, int]
    """(height, width) of the frame's picture in pixels."""
    out_size: tuple[int, int]
    """(height, width) of a heatmap."""
    grid: tuple[int, int]
    """(rows, columns) to which head boxes are rounded."""
    inout: bool
    colour_order: Literal["BGR", "RGB"]
    """Order of the channels that the file receives."""
    value_range: str
    """Range of the pixels that the file receives, such as `0..255`; `normalised`: with `mean` and `std`."""
    mean: tuple[float, float, float]
    """Per channel in the order RGB, of pixels in 0..1; subtracted in the graph unless `value_range` is `normalised`."""
    std: tuple[float, float, float]
    """As `mean`; divided by."""
    weights_sha256: dict[str, str]
    """Role -> hex sha256 of the weight file that the model was loaded from."""
    data_sha256: str | None = None
    """Hex sha256 of the file with external data; None: the numbers are in the ONNX file."""

    def to_entries(self) -> dict[str, str]:
        """Metadata entries of the ONNX file."""
        values = self.model_dump(mode="json")
        return {
            METADATA_PREFIX + key: value if isinstance(value, str) else json.dumps(value)
            for key, value in values.items()
        }

    @classmethod
    def from_entries(cls, entries: dict[str, str]) -> OnnxMetadata | None:
        """The metadata among `entries`; None where there is none of ours. Raises ValueError where it is wrong."""
        own = {k.removeprefix(METADATA_PREFIX): v for k, v in entries.items() if k.startswith(METADATA_PREFIX)}
        if not own:
            return None
        values: dict[str, Any] = {}
        for key, text in own.items():
            field = cls.model_fields.get(key)
            try:
                values[key] = text if field is not None and field.annotation is str else json.loads(text)
            except ValueError:
                values[key] = text
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


class OnnxFile(StrictModel):
    """One ONNX file that `export` wrote."""

    path: str
    bytes: int
    sha256: str
    data_path: str | None = None
    """The file with its numbers, next to it; None: they are inside."""
    inputs: dict[str, list[int | str]]
    """Name -> shape; words are axes of any length."""
    outputs: dict[str, list[int | str]]


class OnnxReport(StrictModel):
    """What `export` wrote and how well it agrees with the PyTorch model."""

    schema_name: Literal["gazetools.export.report"] = "gazetools.export.report"
    schema_version: int = 1
    tool_version: str
    files: list[OnnxFile]
    metadata: OnnxMetadata
    checked_with: str
    """Program that ran the files, such as `onnxruntime 1.32.0`."""
    checked_people: list[int]
    """Numbers of people that the files were run with."""
    checked_frames: int = 0
    """Frames of `--check-video` that they were run with, in addition to a made picture."""
    max_difference: float
    """Largest difference of heat maps and in/out scores to the PyTorch model."""
