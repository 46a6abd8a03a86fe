"""A store's file names, its sidecar, and its content in memory; the datasets of a file: gazetools.store.columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gazetools.schemas.base import StrictModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gazetools.schemas.provenance import TakenOver

STORE_SUFFIX = ".h5"
SIDECAR_SUFFIX = ".json"
REPORT_NAME = "extract_report.json"
GROUND_TRUTH_REPORT_NAME = "groundtruth_report.json"
PAGE_NAME = "extract_report.html"
REPORT_NAMES = (REPORT_NAME, GROUND_TRUTH_REPORT_NAME, PAGE_NAME)
"""Reports at a store's top; no video has such an id."""
EXTRA_GROUP = "extra"
"""Further columns per row, such as where a ground truth's targets come from; readers need not know them."""
WORK_FOLDER = ".work"
"""Unfinished pieces; a leading dot, so that no video id can collide with it."""
FINGERPRINT_SIZE = 32
"""Fingerprints are grey thumbnails of this side."""


class Prompt(IntEnum):
    """The head prompt that the model received for a row (`rows/prompt`)."""

    GIVEN = 0
    GROWN = 1
    """The box rounded to no cell of the model's grid and was grown to one."""
    CROPPED = 2
    """The model saw an enlarged crop around the person."""
    NONE = 3
    """No head prompt."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a store: one per frame and person, in the order of (frame, track_id)."""

    frame: npt.NDArray[np.int64]
    """[N] index among the video's decoded frames."""
    track_id: npt.NDArray[np.int32]
    box_xyxy: npt.NDArray[np.float32]
    """[N, 4] xmin, ymin, xmax, ymax relative to the frame, 0..1."""
    inout: npt.NDArray[np.float32]
    """[N] probability that the gaze target is inside the frame; NaN where the model has none."""
    prompt: npt.NDArray[np.uint8]
    """[N] a `Prompt` each."""
    heatmap: npt.NDArray[np.float16]
    """[N, H, W] in 0..1, relative to the whole frame."""
    tokens: npt.NDArray[np.float16] | None = None
    """[N, G, G, C] scene tokens over the whole frame, row by row (`extract --keep tokens`); None: not kept."""

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        lengths = {name: len(values) for name, values in columns.items() if values is not None}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.frame)


class Sidecar(StrictModel):
    """`STORE/<video_id>.json`, written last: the store file is complete when size and sha256 agree with it."""

    schema_name: Literal["gazetools.store.sidecar"] = "gazetools.store.sidecar"
    schema_version: int = 1
    video_id: str
    payload: str
    """File name of the payload, in the same folder."""
    payload_bytes: int = Field(gt=0)
    payload_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    options_key: str
    frames: int = Field(ge=0)
    rows: int = Field(ge=0)
    tracks: int = Field(ge=0)
    frames_without_people: int = Field(ge=0)
    tool_version: str


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The result for a run of processed frames; a store is the concatenation of its pieces."""

    frame_index: npt.NDArray[np.int64]
    """[F] processed frames, also those without people."""
    pts_seconds: npt.NDArray[np.float64]
    fingerprint: npt.NDArray[np.uint8]
    """[S, 32, 32] grey thumbnails of the sampled frames."""
    fingerprint_index: npt.NDArray[np.int64]
    """[S] frame index of each thumbnail."""
    rows: Rows
    batch_size: int
    """Smallest batch size used; below the run's where memory ran out."""
    taken_over: TakenOver | None = None
    """The finished store that some frames and rows were copied from; None: all were computed."""

    def __post_init__(self) -> None:
        if len(self.frame_index) != len(self.pts_seconds):
            raise ValueError(f"{len(self.frame_index)} frame indices but {len(self.pts_seconds)} times")
        if len(self.fingerprint) != len(self.fingerprint_index):
            raise ValueError(f"{len(self.fingerprint)} fingerprints but {len(self.fingerprint_index)} indices")
