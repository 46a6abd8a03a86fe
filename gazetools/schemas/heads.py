"""Options of box files and of head detection, and the record of the boxes that it found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import Choices, OptionsModel, StrictModel, conflict
from gazetools.schemas.flags import Flag
from gazetools.schemas.picture_times import PictureTimes

DETECTORS = {
    "rtdetr": "PekingU/rtdetr_r50vd",
    "dfine": "ustc-community/dfine-xlarge-coco",
    "yunet": "face_detection_yunet_2023mar.onnx",
}
"""Short name after `detect:` -> name on the Hugging Face hub, for `yunet` the file of OpenCV's model zoo."""

FirstRow = Literal["start", "start+1"]
"""Which row of an Ego-Exo4D capture's timesync.csv is frame 0 of a take: timesync_start_idx, or the row after it."""
DEFAULT_DETECTOR = "rtdetr"
DEFAULT_POSE = "usyd-community/vitpose-base-simple"
YUNET_URL = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/" + DETECTORS["yunet"]


HEADS_FORMATS = Choices(
    *("auto", "csv", "csv-xyxy", "csv-xywh", "csv-cxcywh", "mot", "mot-gt", "atd", "atd-names"),
    *("coco", "cvat", "labelstudio", "yolo", "yolo-frames", "wider"),
)
"""Words of `BoxFileOptions.heads_format`; their objects are `gazetools.heads.files.BOX_FORMATS`."""
_NEWER = ("heads_format", "heads_count_from", "heads_units", "heads_label")
_Boxes = Flag(panel="Box files (--heads file:PATH)")


class BoxFileOptions(OptionsModel):
    """How box files are read, where neither their header nor their numbers tell."""

    heads_format: Annotated[str, HEADS_FORMATS, _Boxes] = "auto"
    """`auto` recognises it; else csv, mot, coco, cvat, labelstudio, yolo or another of docs/formats-read.md.

    `csv` is our own header; `csv-xyxy`, `csv-xywh` and `csv-cxcywh` are other tables of corners, corner and size,
    centre and size; `mot` MOTChallenge, `mot-gt` its ground truth; `atd` attention-target-detection's rows in frame
    order, `atd-names` with frames from the numbers in the pictures' names. `coco` and `labelstudio` are JSON, `cvat`
    XML for videos or images, `yolo` a folder of label files, `yolo-frames` one text with the frame in front of each
    line, `wider` a list of faces like WIDER FACE's."""
    heads_count_from: Annotated[int | None, _Boxes] = Field(default=None, ge=0, le=1)
    """Number that the file gives the video's first frame, 0 or 1 (default: as its format says)."""
    heads_units: Annotated[Literal["auto", "pixels", "percent", "fraction"], _Boxes] = "auto"
    """`auto`, `pixels`, `percent` of the picture's sides, or `fraction` (0..1)."""
    heads_label: Annotated[str | None, Flag(panel=_Boxes.panel, metavar="NAME")] = Field(
        default=None, min_length=1, max_length=200
    )
    """Label (class, category) of heads, where a file has several and none is called head or face."""
    heads_first_frame: Annotated[int | None, _Boxes] = Field(default=None, ge=0)
    """Frame of the first row of a headerless box file (`IMAGE_NAME,left,top,right,bottom`)."""

    def box_files(self) -> BoxFileOptions:
        """These options alone."""
        return BoxFileOptions(**{name: getattr(self, name) for name in BoxFileOptions.model_fields})

    def shaping_of_boxes(self) -> dict[str, Any]:
        """Those of them that are not the default, and `heads_first_frame`, for provenance and keys.

        Stores of earlier releases have no more, so that their keys stay the same.
        """
        new = {name: getattr(self, name) for name in _NEWER}
        given = {name: value for name, value in new.items() if value not in (None, "auto")}
        return {"heads_first_frame": self.heads_first_frame, **given}


class DetectOptions(OptionsModel, PictureTimes):
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
        """The options that shape the boxes; batch size and device do not, and times are part of what the video is."""
        return self.model_dump(exclude={"batch_size", "device", "frame_rate", "frame_times"})


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
