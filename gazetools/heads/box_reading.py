"""The ways in which a box file can be read, judged by all its rows and the video; what stays open is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from gazetools.heads.box_file import HEADER, BoxFile, BoxFormat, BoxText, FoundInRows
from gazetools.heads.box_times import frames_at
from gazetools.heads.table import HeadTable, frame_sides, outside
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt
from gazetools.schemas.heads import BoxFileOptions

_MAX_WRONG = 0.1
"""A reading under which more than this share of the boxes can't be is out; fewer are mistakes in single rows."""
_MAX_SHOWN = 4
_MANY = 10
_HEAD_SHAPE = 0.85
"""Width by height of a head's box; detectors give 0.7 to 1."""
_LARGE = 200
"""Pixels: a video with both sides above this has some box beyond the coordinate 100, unless they are percent."""


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
        if len(wrong) and wrong.mean() > _MAX_WRONG:
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
        xmin, ymin, xmax, ymax = (f"{value:g}" for value in self.box_xyxy[0].tolist())
        unit = "" if self.units == "fraction" else " px" if self.units == "pixels" else " %"
        return (
            f"frame {self.frame[0]} (from 0), person {self.track_id[0]}, box {xmin},{ymin} to {xmax},{ymax}{unit}"
            if len(self.frame)
            else "no row"
        )

    @property
    def sentence(self) -> str:
        """How the columns are read, for people."""
        start = "rows in frame order" if self.found.in_row_order else f"frames from {self.counts_from}"
        start = self.found.start or start
        kept = f"line {self.line[0]} is {self.first_row}" if len(self.line) else "no row"
        return f"{self.form.words or self.name}: {self.found.columns}; {start}; {self.units}; {kept}"

    def table(self, notes: tuple[str, ...] = ()) -> HeadTable:
        """The boxes with what is to be said of them. HeadsError for rows that are wrong for any video."""
        if len(self.frame) and self.form.counts_from and self.frame.min() < 0:
            row = int(np.argmin(self.frame))
            raise HeadsError(
                f"{self.text.path}, line {self.line[row]}: {self.objection(None)}.",
                hint=f"Number the frames from {self.counts_from}, or pass --heads-count-from 0.",
                line=int(self.line[row]),
            )
        roles = self.found.roles
        table = HeadTable.from_columns(
            str(self.text.path), self.frame, self.track_id, self.box_xyxy, self.line, roles, what=self.found.columns
        )
        return dataclasses.replace(
            table,
            units=self.units,
            form=self.name,
            reading="" if self.form.own else self.sentence,
            notes=(*self.found.notes, *notes),
            left_out=self.found.left_out,
        )


def readings_of(
    text: BoxText, options: BoxFileOptions, forms: Mapping[str, BoxFormat], video: BoxVideo | None
) -> list[Reading]:
    """Every way in which one of `forms` reads the file; the HeadsError of the first one where none can read it."""
    found, first_error = [], None
    for name, form in forms.items():
        file = BoxFile(text, options)
        try:
            rows = np.array(list(form.rows(file)), dtype=np.float64).reshape(-1, 7)
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
                )
            )
    if not found and first_error is not None:
        raise first_error
    return found


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
    return (0, 1) if form.counts_from is None else (form.counts_from,)


def _units(form: BoxFormat, file: BoxFile, options: BoxFileOptions, settled: bool) -> tuple[str, ...]:
    """Units that the boxes may have: as asked, as the header or the format says, or both."""
    if options.heads_units != "auto":
        return (options.heads_units,)
    if file.found.units is not None:
        return (file.found.units,)
    return ("pixels",) if settled or form.counts_from == 1 else ("pixels", "percent")


def _may_be_percent(boxes: npt.NDArray[np.float64], video: BoxVideo | None) -> bool:
    """Whether boxes [N, 4] may be percent: none above 100 in a large video, and then shaped rather like heads."""
    if not len(boxes) or not 1 < boxes.max() <= 100 or boxes.min() < 0:
        return False
    if video is None:
        return True
    if min(video["width"], video["height"]) <= _LARGE:
        return False
    size = boxes[:, 2:] - boxes[:, :2]
    shape = float(np.median(size[:, 0] / size[:, 1]))  # finite: inverted and empty boxes were objected to
    in_percent = shape * video["width"] / video["height"]
    return abs(np.log(in_percent / _HEAD_SHAPE)) <= abs(np.log(shape / _HEAD_SHAPE))


def decide(readings: list[Reading], video: BoxVideo | None, *, settle: bool = True) -> HeadTable:
    """The boxes of the one reading that the rows allow.

    Where several are possible, one that is `settled` is taken and a note says so; else HeadsError with the first row
    under each and the option that decides, or with `settle` False any of them. Where none is possible, the first one's
    HeadsError, or its boxes, which then do not fit the video.
    """
    objections = [reading.objection(video) for reading in readings]
    possible: list[Reading] = []
    for reading, objection in zip(readings, objections, strict=True):
        if objection is not None or any(reading.equals(other) for other in possible):
            continue
        guessed = reading.units == "percent" and len({one.units for one in readings}) > 1
        if not guessed or _may_be_percent(reading.box_xyxy, video):
            possible.append(reading)
    if not possible:
        return readings[0].table()
    if len(possible) == 1 or not settle or not len(possible[0].frame):
        return possible[0].table(_notes_on(possible[0], video))
    if chosen := next((reading for reading in possible if reading.settled), None):
        other = next(reading for reading in possible if reading is not chosen)
        options = " ".join(_options(other, possible))
        doubt = f"its numbers would also be valid otherwise ({other.first_row}): pass {options} if that is meant"
        return chosen.table((*_notes_on(chosen, video), doubt))
    out = {
        f"not {reading.name}: {objection}"
        for reading, objection in zip(readings, objections, strict=True)
        if objection is not None and reading.form.counts_from and not any(reading.name == one.name for one in possible)
    }
    raise _ambiguous(possible, sorted(out))


def _notes_on(reading: Reading, video: BoxVideo | None) -> tuple[str, ...]:
    """Doubts that do not stop the work."""
    notes = []
    boxes, file_says = reading.box_xyxy, reading.found.units is not None
    if not len(boxes):
        return ("it has no box: every frame is without people",)
    asked = reading.units_asked or file_says or reading.units != "pixels" or video is None
    if not asked and _may_be_percent(boxes, video):
        notes.append(
            "no coordinate is above 100, so that all boxes lie in the upper left corner: if they are percent of the "
            "picture, pass --heads-units percent"
        )
    people, frames = len(np.unique(reading.track_id)), len(np.unique(reading.frame))
    if people == len(boxes) >= _MANY and frames > 1:
        notes.append(f"each of its {people} rows has an id of its own, as if the ids were row numbers and not people")
    elif people > max(_MANY, 5 * frames):
        notes.append(f"it has {people} people in {frames} frames: are frame and id the other way round?")
    if reading.found.left_out:
        notes.append("left out: " + ", ".join(f"{n} rows {why}" for why, n in reading.found.left_out.items()))
    return tuple(notes)


def _options(reading: Reading, among: list[Reading]) -> list[str]:
    """The options that choose this reading among those that are possible."""
    options = []
    if len({one.name for one in among}) > 1:
        options.append(f"--heads-format {reading.name}")
    alike = [one for one in among if one.name == reading.name]
    if len({one.counts_from for one in alike}) > 1:
        options.append(f"--heads-count-from {reading.counts_from}")
    if len({one.units for one in alike}) > 1:
        options.append(f"--heads-units {reading.units}")
    return options


def _ambiguous(possible: list[Reading], out: list[str]) -> HeadsError:
    text = possible[0].text
    line = int(possible[0].line[0])
    row = next(cells for number, cells in text.lines if number == line)
    lines = [f"  {' '.join(_options(one, possible))}: {one.first_row} [{one.form.words}]" for one in possible]
    more = [f"  and {len(lines) - _MAX_SHOWN} more"] if len(lines) > _MAX_SHOWN else []
    return HeadsError(
        f"{text.path} can be read in {len(possible)} ways, and neither its header nor its numbers tell which. Line "
        f"{line}, {excerpt(','.join(row))}, is\n"
        + "\n".join([*lines[:_MAX_SHOWN], *more])
        + (f"\n  ({'; '.join(out)})" if out else "")
        + "\nThe options before each colon choose it.",
        hint=f"Pass the options of the right one, or give the file the header {HEADER} (pixels, frames from 0).",
        line=line,
    )
