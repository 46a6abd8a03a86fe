"""The ways in which a box file can be read: by format, number of the first frame and unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from gazetools.heads.box_file import BoxFile, BoxFormat, BoxText, FoundInRows
from gazetools.heads.box_times import frames_at
from gazetools.heads.table import HeadTable, frame_sides, outside
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.heads import BoxFileOptions

MAX_WRONG = 0.1
"""A reading under which more than this share of the boxes can't be is out; fewer are mistakes in single rows."""
_OTHER_SHAPE = 0.01
"""Relative difference of width by height from which on pictures are not those of the video: sizes are rounded."""


class VideoSize(TypedDict):
    """What boxes are checked against: pixels and decoded frames of a video."""

    width: int
    height: int
    frame_count: int


class BoxVideo(VideoSize, total=False):
    """What tells how a box file is to be read."""

    pts_seconds: npt.NDArray[np.float64]
    """Time of each frame, for files with times instead of frame numbers."""


def size_of(video: BoxVideo) -> VideoSize:
    """The size and length alone."""
    return VideoSize(width=video["width"], height=video["height"], frame_count=video["frame_count"])


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A box file as one format reads it, with one way to count frames and one unit."""

    name: str
    form: BoxFormat
    text: BoxText
    found: FoundInRows
    frame: npt.NDArray[np.int64]
    """[N] index among the decoded frames, from 0."""
    track_id: npt.NDArray[np.int32]
    box_xyxy: npt.NDArray[np.float64]
    """[N, 4] in `units`."""
    line: npt.NDArray[np.int64]
    counts_from: int
    units: str
    units_asked: bool
    """Whether an option says the units."""
    settled: bool
    """Whether it is taken even where others are possible."""
    may_count_from_one: bool = False
    """Whether nothing but our own format's rule says that the first frame is 0, and there is no row of that frame."""

    def objection(self, video: BoxVideo | None) -> str | None:
        """Why the file can't be meant so, by all rows; None where it may be."""
        if (self.frame < 0).any():
            convention = f"{self.form.words} counts" if self.form.counts_from else "it would count"
            return f"frame {int(self.frame.min()) + self.counts_from}; {convention} frames from {self.counts_from}"
        if video is not None and (self.frame >= video["frame_count"]).any():
            return f"the video has {video['frame_count']} frames"
        wrong = np.asarray((self.box_xyxy[:, 2:] <= self.box_xyxy[:, :2]).any(axis=1), dtype=np.bool_)
        if video is not None:
            wrong |= outside(self.box_xyxy / frame_sides(self.units, video["width"], video["height"]))
        if len(wrong) and wrong.mean() > MAX_WRONG:
            return f"{int(wrong.sum())} of {len(wrong)} boxes would be inverted or outside the video"
        return None

    def equals(self, other: Reading) -> bool:
        """Whether both give the same rows."""
        return self.units == other.units and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("frame", "track_id", "box_xyxy")
        )

    @property
    def first_row(self) -> str:
        """What the first row means."""
        return self.row_words(0)

    def row_words(self, row: int) -> str:
        """What a row means, counted from 0."""
        if row >= len(self.frame):
            return "no row"
        xmin, ymin, xmax, ymax = (f"{value:g}" for value in self.box_xyxy[row].tolist())
        unit = "" if self.units == "fraction" else " px" if self.units == "pixels" else " %"
        return (
            f"frame {self.frame[row]} (from 0), person {self.track_id[row]}, box {xmin},{ymin} to {xmax},{ymax}{unit}"
        )

    @property
    def sentence(self) -> str:
        """How the columns are read, for people."""
        start = "rows in frame order" if self.found.in_row_order else f"frames from {self.counts_from}"
        start = self.found.start or start
        kept = f"{self.found.row_word} {self.line[0]} is {self.first_row}" if len(self.line) else self.first_row
        return f"{self.form.words or self.name}: {self.found.columns}; {start}; {self.units}; {kept}"

    def table(self, notes: tuple[str, ...] = ()) -> HeadTable:
        """The boxes with what is to be said of them. HeadsError for rows that are wrong for any video."""
        if len(self.frame) and self.form.counts_from and self.frame.min() < 0:
            row = int(np.argmin(self.frame))
            raise HeadsError(
                f"{self.text.path}, {self.found.row_word} {self.line[row]}: {self.objection(None)}.",
                hint=f"Number the frames from {self.counts_from}, or pass --heads-count-from 0.",
                line=int(self.line[row]),
            )
        table = HeadTable.from_columns(
            str(self.text.path),
            self.frame,
            self.track_id,
            self.box_xyxy,
            self.line,
            self.found.roles,
            what=self.found.columns,
            row_word=self.found.row_word,
        )
        return dataclasses.replace(
            table,
            units=self.units,
            form=self.name,
            reading="" if self.form.own else self.sentence,
            notes=(*self.found.notes, *notes),
            left_out=self.found.left_out,
            interpolated=self.found.interpolated,
        )


def readings_of(
    text: BoxText,
    options: BoxFileOptions,
    forms: Mapping[str, BoxFormat],
    video: BoxVideo | None,
    video_id: str | None = None,
) -> list[Reading]:
    """Every way in which one of `forms` reads the file; the HeadsError of the first one where none can read it."""
    found, first_error = [], None
    for name, form in forms.items():
        file = BoxFile(text, options, video_id=video_id)
        try:
            listed = form.rows(file)
            listed = listed if isinstance(listed, np.ndarray) else list(listed)
            rows = np.array(listed, dtype=np.float64).reshape(-1, 7)
            _fit_to_video(file, rows, video)
            if file.found.in_time:
                rows[:, 0] = _frames_of_times(file, rows[:, 0].astype(np.int64), video)
        except HeadsError as error:
            first_error = first_error or error
            continue
        frame, track_id, line = (rows[:, place].astype(np.int64) for place in (0, 1, 6))
        settled = form.settled(file) or options.heads_format != "auto"
        if options.heads_first_frame is not None and not file.found.in_row_order:
            file.found.notes.append("--heads-first-frame has no effect: its rows have frame numbers")
        for counts_from, units in product(_counts(form, file, options), _units(form, file, options, settled)):
            found.append(
                Reading(
                    name=name,
                    form=form,
                    text=text,
                    found=file.found,
                    frame=frame - counts_from,
                    track_id=track_id.astype(np.int32),
                    box_xyxy=rows[:, 2:6],
                    line=line,
                    counts_from=counts_from,
                    units=units,
                    units_asked=options.heads_units != "auto",
                    settled=settled and form.counts_from is not None,
                    may_count_from_one=form.own and len(frame) > 0 and int(frame.min()) == 1 and not _says_count(file),
                )
            )
    if not found and first_error is not None:
        raise first_error
    return found


def _fit_to_video(file: BoxFile, rows: npt.NDArray[np.float64], video: BoxVideo | None) -> None:
    """Scale pixels of pictures of another size to those of the video, in place; HeadsError for another shape."""
    if file.found.picture is None or video is None or file.found.picture == (video["width"], video["height"]):
        return
    width, height = file.found.picture
    across, down = video["width"] / width, video["height"] / height
    if abs(across / down - 1) > _OTHER_SHAPE:
        raise HeadsError(
            f"{file.path} is of pictures of {width}x{height}, but the video has {video['width']}x{video['height']}, "
            "another shape.",
            hint="Is it of another video, or of frames that were turned or cut?",
        )
    rows[:, 2:6] *= [across, down, across, down]
    file.found.notes.append(
        f"its pictures have {width}x{height}: boxes are scaled to the video's {video['width']}x{video['height']}"
    )


def _frames_of_times(
    file: BoxFile, microseconds: npt.NDArray[np.int64], video: BoxVideo | None
) -> npt.NDArray[np.int64]:
    """Frames [N] of the times [N]; without a video their ranks, which say no more than how many frames have rows."""
    if video is None or "pts_seconds" not in video:
        file.found.start = "times of a video that is not known here"
        return np.unique(microseconds, return_inverse=True)[1].astype(np.int64)
    frames, file.found.start = frames_at(file.path, microseconds, video["pts_seconds"])
    return frames


def _counts(form: BoxFormat, file: BoxFile, options: BoxFileOptions) -> tuple[int, ...]:
    """Numbers that the video's first frame may have in the file."""
    if file.found.in_row_order or file.found.in_time:
        return (0,)
    if options.heads_count_from is not None:
        return (options.heads_count_from,)
    if file.found.counts is not None:
        return file.found.counts
    return (0, 1) if form.counts_from is None else (form.counts_from,)


def _units(form: BoxFormat, file: BoxFile, options: BoxFileOptions, settled: bool) -> tuple[str, ...]:
    """Units that the boxes may have: as asked, as the header or the format says, or both."""
    if options.heads_units != "auto":
        return (options.heads_units,)
    if file.found.units is not None:
        return (file.found.units,)
    return ("pixels",) if settled or form.counts_from == 1 else ("pixels", "percent")


def _says_count(file: BoxFile) -> bool:
    """Whether the option says what the frames count from, or the file is one of `gazetools heads`, with its record."""
    record = file.path.with_name(file.path.name + ".json")
    return file.options.heads_count_from is not None or record.exists()
