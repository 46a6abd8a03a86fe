"""Areas from a CSV: `name,xmin,ymin,xmax,ymax[,frame][,video_id]`."""

from __future__ import annotations

from typing import Literal

from gazetools.exchange.areas.area_boxes import FIXED, VIDEO_SIZE, AreaDraft
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError

_BOX = ("xmin", "ymin", "xmax", "ymax")


def add_csv(draft: AreaDraft, *, first: int, units: Literal["pixels", "fraction"]) -> None:
    """Add the rows of the CSV: pixels of the video or fractions of its sides; an empty `frame` means all frames.

    `first` is the number of the video's first frame. Raises DataFileError for cells that do not fit, and for numbers
    that contradict the units: pixels that are all at most 1, fractions far above 1.
    """
    table = read_table(draft.source, required=("name", *_BOX), optional=("frame", "video_id"))
    columns = [table.floats(name) for name in _BOX]
    frames = table.integers("frame", empty=FIXED) if "frame" in table else None
    videos = table.columns.get("video_id")
    largest = max((float(column.max()) for column in columns if len(column)), default=0.0)
    if units == "pixels" and len(table) and largest <= 1:
        raise DataFileError(
            f"{draft.source}: no coordinate is above 1, so that these are hardly pixels.",
            hint="Pass --areas-units fraction.",
            path=str(draft.source),
        )
    if units == "fraction" and largest > 1.5:
        raise DataFileError(
            f"{draft.source}: a coordinate is {largest:g}, which is no fraction of a side.",
            hint="Leave --areas-units fraction out.",
            path=str(draft.source),
        )
    for row, (name, *box) in enumerate(zip(table.columns["name"], *(c.tolist() for c in columns), strict=True)):
        frame = FIXED if frames is None or not table.columns["frame"][row] else int(frames[row]) - first
        if frame < 0 and frames is not None and table.columns["frame"][row]:
            raise table.error(row, "frame", f"{table.columns['frame'][row]} comes before the first frame, {first}")
        draft.add(
            name,
            (box[0], box[1], box[2], box[3]),
            where=f"line {table.lines[row]}",
            video=(videos[row] or None) if videos is not None else None,
            frame=frame,
            size_wh=(1.0, 1.0) if units == "fraction" else VIDEO_SIZE,
        )
