"""Options of head detection and the record of the boxes it found."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import OptionsModel, StrictModel, conflict

DETECTORS = {
    "rtdetr": "PekingU/rtdetr_r50vd",
    "dfine": "ustc-community/dfine-xlarge-coco",
    "yunet": "face_detection_yunet_2023mar.onnx",
}
"""Short name after `detect:` -> name on the Hugging Face hub, for `yunet` the file of OpenCV's model zoo."""

DEFAULT_DETECTOR = "rtdetr"
DEFAULT_POSE = "usyd-community/vitpose-base-simple"
YUNET_URL = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/" + DETECTORS["yunet"]


class DetectOptions(OptionsModel):
    """How people and their heads are found and followed."""

    detector: str = DEFAULT_DETECTOR
    """`rtdetr`, `dfine`, `yunet`, OWNER/MODEL of the hub, a model folder or a YuNet .onnx."""
    pose: str = DEFAULT_POSE
    """ViTPose for the keypoints: OWNER/MODEL or a folder.

    Detectors of whole people need keypoints; YuNet does not."""
    score: float = Field(default=0.5, gt=0, lt=1)
    """A person is taken up from this score on."""
    low_score: float = Field(default=0.1, gt=0, lt=1)
    """A person already followed is kept down to this score."""
    lost_seconds: float = Field(default=1.0, ge=0)
    """A person not seen for longer gets a new track id."""
    every: int = Field(default=1, ge=1)
    """Look at every N-th decoded frame; the others get no boxes (see `--fill-gaps` of extract)."""
    batch_size: int | Literal["auto"] = "auto"
    """`auto` or a number of frames."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    @model_validator(mode="after")
    def _consistent(self) -> DetectOptions:
        if self.low_score > self.score:
            raise conflict(f"{{low_score}} ({self.low_score:g}) must not exceed {{score}} ({self.score:g})")
        return self

    def shaping(self) -> dict[str, Any]:
        """The options that shape the boxes; batch size and device do not."""
        return self.model_dump(exclude={"batch_size", "device"})


class HeadsRecord(StrictModel):
    """`<boxes>.json`, next to a CSV of detected head boxes: how it was made, and that it is whole."""

    schema_name: Literal["gazetools.heads"] = "gazetools.heads"
    schema_version: int = 1
    tool_version: str
    key: str
    """sha256 over video, weights and options; equal keys give equal boxes on the same device."""
    csv_sha256: str
    options: dict[str, Any]
    weights_sha256: dict[str, str]
    frames: int = Field(ge=0)
    rows: int = Field(ge=0)
    tracks: int = Field(ge=0)
    people_without_head: int = Field(ge=0)
    """Sightings of a followed person whose head could not be placed: they have no row."""
