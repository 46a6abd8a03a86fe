"""Whether a faster number type gives the same gaze as float32: what was compared, and what was chosen by it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel, matching
from gazetools.schemas.extract import SmallHeads
from gazetools.schemas.flags import Flag
from gazetools.schemas.heads import BoxFileOptions

NumberType = Literal["float32", "tf32", "float16", "bfloat16"]
"""`tf32`: float32 whose products are rounded to 10 bits on CUDA's tensor cores."""
PEAK_CELLS = 1
"""A peak may move so many cells of the heatmap, diagonally too."""
INOUT_TOLERANCE = 0.01
FLAT_RANGE = 0.01
"""A float32 map whose values differ by less has no peak; it must agree in every value, by `FLAT_TOLERANCE`."""
FLAT_TOLERANCE = 0.01
LEAST_ROWS = 8
"""Maps with a peak that a comparison needs to be evidence."""
_TYPES = r"(tf32|float16|bfloat16)"
_Compared = Flag(panel="Comparison of number types (--check-precision)")
_LIST = matching(rf"{_TYPES}(,{_TYPES})*", "must be tf32, float16, bfloat16 or several, separated by commas")


class TypeAgreement(StrictModel):
    """One number type against float32, over the same frames and people."""

    dtype: NumberType
    refused: str | None = None
    """Why the model can't be loaded or run in it; the figures are then 0."""
    rows: int = Field(default=0, ge=0)
    """Maps that were compared."""
    flat_rows: int = Field(default=0, ge=0)
    """Maps among `rows` that have no peak in float32."""
    moved_peaks: int = Field(default=0, ge=0)
    """Maps whose peak lies more than `PEAK_CELLS` away."""
    farthest_cells: int = Field(default=0, ge=0)
    """The largest distance of two peaks, in cells along the longer axis."""
    flat_difference: float = Field(default=0.0, ge=0)
    """The largest difference of a value in maps without a peak."""
    inout_difference: float | None = Field(default=None, ge=0)
    """The largest difference of an in/out score; None: the model has none."""
    milliseconds_per_frame: float = Field(default=0.0, ge=0)

    @property
    def peak_rows(self) -> int:
        """Maps whose peaks were compared."""
        return self.rows - self.flat_rows

    @property
    def agrees(self) -> bool:
        """Whether every map and score agrees, over enough maps with a peak."""
        inout = self.inout_difference is None or self.inout_difference <= INOUT_TOLERANCE
        same = self.moved_peaks == 0 and self.flat_difference <= FLAT_TOLERANCE and inout
        return self.refused is None and same and self.peak_rows >= LEAST_ROWS

    def document(self) -> dict[str, Any]:
        """The figures and the verdict as JSON values."""
        return {**self.model_dump(mode="json"), "agrees": self.agrees}


class PrecisionChoice(StrictModel):
    """The number type that `--dtype auto` chose for a model on a kind of device, with its evidence."""

    schema_name: Literal["gazetools.precision"] = "gazetools.precision"
    schema_version: Literal[1] = 1
    dtype: NumberType
    reason: str
    asked_for: str
    """What `--model` said."""
    model: str
    weights_sha256: dict[str, str]
    implementation: str
    device_type: str
    """`cpu` or `cuda`."""
    device: str
    """The kind of device, such as `NVIDIA H200`."""
    torch: str
    video_id: str
    """The video whose frames were compared."""
    frames: int = Field(ge=0)
    float32_milliseconds_per_frame: float = Field(default=0.0, ge=0)
    compared: list[TypeAgreement] = Field(default_factory=list)


class PrecisionReport(StrictModel):
    """What `gazetools models NAME --check-precision VIDEO` found."""

    model: str
    device: str
    torch: str
    video: str
    frames: int
    float32_milliseconds_per_frame: float
    compared: list[TypeAgreement]

    @property
    def exit_code(self) -> int:
        """1 where a number type does not agree, else 0."""
        return int(not all(one.agrees for one in self.compared))

    def document(self) -> dict[str, Any]:
        """The report as JSON values, with the verdict of each number type."""
        return {**self.model_dump(mode="json"), "compared": [one.document() for one in self.compared]}


class PrecisionOptions(BoxFileOptions):
    """How `gazetools models NAME --check-precision VIDEO` compares number types."""

    heads: Annotated[str, _Compared] = "whole"
    """Head boxes as for extract: file:PATH, detect[:NAME] or whole."""
    small_heads: Annotated[SmallHeads, _Compared] = "grow"
    """Heads below one cell of the model's grid: `grow`, `crop` or `none`."""
    checkpoint: Annotated[str | None, _Compared] = None
    """Weights of the model (default: the cache)."""
    backbone: Annotated[str | None, _Compared] = None
    """DINOv2 weights where the checkpoint has none."""
    device: Annotated[str, matching(r"auto|cpu|cuda(:\d+)?", "must be auto, cpu, cuda or cuda:N"), _Compared] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtypes: Annotated[Annotated[str, _LIST] | None, _Compared] = None
    """Number types to compare with float32, separated by commas (default: all that the device computes)."""
    frames: Annotated[int, _Compared] = Field(default=36, ge=1, le=256)
    """Frames with people to compare, spread over the first 256 that have some."""
