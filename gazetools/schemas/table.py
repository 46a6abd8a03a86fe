"""Options, columns and report of `table`: gaze as one row per frame and person, and one row per pair of people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gazetools.schemas.base import OptionsModel, StrictModel, conflict
from gazetools.schemas.flags import Flag

_Areas, _Social = Flag(panel="Areas of interest"), Flag(panel="People in one frame")
AreaFormat = Literal["csv", "coco", "cvat", "epic", "ego4d"]
AREA_PREFIX = "mass_"
"""What precedes an area's name in the name of its column."""
TableKind = Literal["text", "bool", "int32", "int64", "float32", "float64"]

_OF_FILE = {
    "areas": ("areas_format", "areas_units", "areas_count_from"),
    "social": ("look_mass", "look_inout", "shared_distance"),
}
"""Options that say something about a file, by its option."""


class TableOptions(OptionsModel):
    """What a gaze table has in addition to the figures of each heatmap."""

    areas: Annotated[str | None, Flag(panel=_Areas.panel, metavar="FILE")] = None
    """Boxes to measure the heatmap's mass in: CSV, COCO JSON, CVAT XML, or object boxes of EPIC-KITCHENS or Ego4D."""
    areas_format: Annotated[Literal["auto", "csv", "coco", "cvat", "epic", "ego4d"], _Areas] = "auto"
    """`csv`, `coco`, `cvat`, `epic` or `ego4d` (`auto`: by suffix and keys)."""
    areas_units: Annotated[Literal["pixels", "fraction"] | None, _Areas] = None
    """Units of a CSV of areas: `pixels` of the video or `fraction` of its sides (default: pixels)."""
    areas_count_from: Annotated[int | None, _Areas] = Field(default=None, ge=0)
    """Number that the video's first frame has in a CSV, or in picture names of COCO and CVAT (default: 0)."""
    social: Annotated[str | None, Flag(panel=_Social.panel, metavar="FILE")] = None
    """Second table (.csv or .parquet), one row per frame and ordered pair: who looks at whom, mutual, shared target."""
    look_mass: Annotated[float, _Social] = Field(default=0.0, ge=0, le=1)
    """Least share of the heatmap in the other's head box for `looks_at`, next to a peak in the box."""
    look_inout: Annotated[float, _Social] = Field(default=0.5, ge=0, le=1)
    """Least in/out probability for `looks_at` and `shared_target`; an unknown one counts as inside."""
    shared_distance: Annotated[float, _Social] = Field(default=0.1, ge=0, le=2)
    """Largest distance of two peaks, in fractions of the frame's sides, for `shared_target`."""

    @model_validator(mode="after")
    def _files_first(self) -> TableOptions:
        for file, names in _OF_FILE.items():
            for name in names:
                if getattr(self, file) is None and getattr(self, name) != type(self).model_fields[name].default:
                    raise conflict("{" + file + "} is missing for {" + name + "}")
        return self


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column of a table."""

    name: str
    kind: TableKind
    unit: str
    """Unit and range."""
    text: str
    """What it is, in one sentence."""


def _column(name: str, kind: TableKind, unit: str, text: str) -> TableColumn:
    return TableColumn(name=name, kind=kind, unit=unit, text=text)


_PLACE = (
    _column("video_id", "text", "", "Id of the video."),
    _column("frame", "int64", "from 0", "Index among the decoded frames."),
    _column("pts_seconds", "float64", "s", "Presentation time of the frame in its video."),
)
_INOUT = _column("inout", "float32", "0..1", "Probability that the gaze target is inside the frame.")
_HEAD = (
    _column("head_x_min", "float32", "0..1 of the width", "Left edge of the head box; empty without a head box."),
    _column("head_y_min", "float32", "0..1 of the height", "Upper edge of the head box."),
    _column("head_x_max", "float32", "0..1 of the width", "Right edge of the head box."),
    _column("head_y_max", "float32", "0..1 of the height", "Lower edge of the head box."),
)
FIGURES = (
    _column("map_sum", "float64", ">= 0", "Sum of the map's values before they are divided by it; 0: an empty map."),
    _column("map_max", "float64", ">= 0", "Largest value of the map."),
    _column("peak_x", "float64", "0..1 of the width", "Centre of the first cell, row by row, with the largest value."),
    _column("peak_y", "float64", "0..1 of the height", "The same, downwards."),
    _column("peak_cells", "int32", ">= 1", "Number of cells that have the largest value; above 1 the peak is a tie."),
    _column("centre_x", "float64", "0..1 of the width", "Centre of mass of the map, from the cells' centres."),
    _column("centre_y", "float64", "0..1 of the height", "The same, downwards."),
    _column("spread_x", "float64", "0..0.5 of the width", "Standard deviation of the mass around its centre along x."),
    _column("spread_y", "float64", "0..0.5 of the height", "The same along y."),
)
"""What one heatmap gives by itself."""
SPREAD_RADIUS = _column(
    "spread_radius",
    "float64",
    "0..0.5 of the diagonal",
    "Root mean square distance of the mass from its centre, measured in pixels.",
)
CAMERA_ANGLE = _column(
    "camera_angle_deg",
    "float64",
    "degrees, 0..180",
    "Angle at the camera between the rays through the head box's centre and the peak, by the calibrated lens.",
)
STORE_COLUMNS = (
    *_PLACE,
    _column("track_id", "int32", "", "The person."),
    _column("role", "text", "", "`wearer` of the glasses or `other`."),
    *_HEAD,
    _INOUT,
    *FIGURES,
    SPREAD_RADIUS,
    _column(
        "gaze_angle_deg",
        "float64",
        "degrees, above -180 to 180",
        "Direction in the picture from the head box's centre to the peak: 0 to the right, 90 up, in pixels.",
    ),
    CAMERA_ANGLE,
)
"""Columns of a store, one row per frame and person; the areas' columns come after them."""
DATASET_COLUMNS = (
    _PLACE[0],
    _column("row", "int64", "from 0", "Row of the dataset."),
    *_PLACE[1:],
    _column("valid", "bool", "", "Whether the map was computed from this very frame."),
    _INOUT,
    *FIGURES,
    SPREAD_RADIUS,
)
"""Columns of a packed dataset or other tools' heatmaps, one row per row."""
PAIR_COLUMNS = (
    *_PLACE,
    _column("track_id", "int32", "", "The person who looks."),
    _column("other_id", "int32", "", "Another person in the same frame."),
    _column("mass_on_head", "float64", "0..1", "Share of the person's heatmap in the other's head box."),
    _column("peak_on_head", "bool", "", "Whether the person's peak lies in the other's head box."),
    _column("looks_at", "bool", "", "The person looks at the other's head."),
    _column("mutual", "bool", "", "Both look at each other."),
    _column("peak_distance", "float64", "0..1.42", "Distance of the two peaks in fractions of the frame's sides."),
    _column("overlap", "float64", "0..1", "Sum over all cells of the smaller of the two normalised heatmaps."),
    _column("shared_target", "bool", "", "Both targets are inside the frame and the peaks are close."),
)
"""Columns of the table of pairs: two rows, one each way, per frame and two people with head boxes."""


def area_column(name: str) -> TableColumn:
    """The column of the area `name`."""
    text = f"Share of the map's mass in the area {name!r}; empty where the area has no box in this frame."
    return _column(AREA_PREFIX + name, "float64", "0..1", text)


class TableVideo(StrictModel):
    """What became of one video."""

    video_id: str
    status: Literal["done", "failed"]
    reason: str | None = None
    """Why it failed; its rows are then not in the table."""
    frames: int = 0
    """Processed frames of a store, rows of a dataset."""
    rows: int = 0
    """Rows in the table."""
    frames_without_people: int = 0
    """Frames that have no row."""
    rows_without_head: int = 0
    """Rows whose model was given no head: head box and angles are empty."""
    rows_with_empty_map: int = 0
    """Rows whose map is zero everywhere: peak, centre, spread and masses are empty."""
    rows_with_broken_map: int = 0
    """Rows whose map has NaN, infinite or negative values: all figures are empty."""
    pairs: int = 0
    """Rows in the table of pairs."""


class TableAreas(StrictModel):
    """The areas of interest that were read."""

    source: str
    format: AreaFormat
    names: list[str]
    boxes: int
    fixed: bool
    """Whether the boxes hold for all frames."""
    left_out: dict[str, int]
    """What of the file was not used -> how often."""


class TableReport(StrictModel):
    """The document that `table --json` prints."""

    schema_name: Literal["gazetools.table"] = "gazetools.table"
    schema_version: int = 1
    tool_version: str
    source: str
    kind: Literal["store", "dataset", "heatmaps"]
    """`heatmaps`: of other tools."""
    files: list[str]
    """The files that were written."""
    columns: list[str]
    absent: dict[str, str]
    """Column that the source does not have -> why."""
    areas: TableAreas | None
    notes: list[str]
    videos: list[TableVideo]

    @property
    def exit_code(self) -> int:
        """1 with any video that failed, else 0."""
        return int(any(video.status == "failed" for video in self.videos))
