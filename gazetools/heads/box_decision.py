"""Decide how a box file is read, by all its rows and the video; what stays open is asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazetools.heads.box_file import HEADER
from gazetools.heads.box_reading import BoxVideo, Reading
from gazetools.heads.table import OVERSHOOT, HeadTable
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt

_MAX_SHOWN = 4
_MANY = 10
_HEAD_SHAPE = 0.85
"""Width by height of a head's box; detectors give 0.7 to 1."""
_LARGE = 200
"""Pixels: a video with both sides above this has some box beyond the coordinate 100, unless they are percent."""


def _may_be_percent(boxes: npt.NDArray[np.float64], video: BoxVideo | None) -> bool:
    """Whether boxes [N, 4] may be percent: none above 100 in a large video, and then shaped rather like heads."""
    if not len(boxes) or not 1 + OVERSHOOT < boxes.max() <= 100 or boxes.min() < 0:
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
    if reading.found.left_out:
        notes.append("left out: " + ", ".join(f"{n} rows {why}" for why, n in reading.found.left_out.items()))
    if not len(boxes):
        return (*notes, "it has no box: every frame is without people")
    if reading.may_count_from_one:
        notes.append(
            "its first frame is 1, and frame 0 is taken to have no box: if it counts frames from 1, pass "
            "--heads-count-from 1"
        )
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


def _first_difference(readings: list[Reading]) -> int:
    """The first row that is not the same under all readings, from 0: mostly the first one of the file."""
    if len({(len(one.frame), one.units) for one in readings}) > 1:
        return 0
    first = readings[0]
    same = np.ones(len(first.frame), np.bool_)
    for other in readings[1:]:
        same &= (other.frame == first.frame) & (other.track_id == first.track_id)
        same &= (other.box_xyxy == first.box_xyxy).all(axis=1)
    return int(np.argmin(same))


def _ambiguous(possible: list[Reading], out: list[str]) -> HeadsError:
    text = possible[0].text
    differ = _first_difference(possible)
    line, word = int(possible[0].line[differ]), possible[0].found.row_word
    row = next((cells for number, cells in text.lines if number == line), []) if word == "line" else []
    quoted = f", {excerpt(','.join(row))}," if row else ""
    lines = [f"  {' '.join(_options(one, possible))}: {one.row_words(differ)} [{one.form.words}]" for one in possible]
    more = [f"  and {len(lines) - _MAX_SHOWN} more"] if len(lines) > _MAX_SHOWN else []
    return HeadsError(
        f"{text.path} can be read in {len(possible)} ways, and neither its header nor its numbers tell which. "
        f"{word.capitalize()} {line}{quoted} is\n"
        + "\n".join([*lines[:_MAX_SHOWN], *more])
        + (f"\n  ({'; '.join(out)})" if out else "")
        + "\nThe options before each colon choose it.",
        hint=f"Pass the options of the right one, or give the file the header {HEADER} (pixels, frames from 0).",
        line=line,
    )
