"""`Segment`, an annotated action, and what its readers share: CSV lines, one error for all wrong rows."""

from __future__ import annotations

import csv
import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gazetools.io.delimited import form_of, not_a_table, table_lines
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.excerpt import MAX_EXCERPT, excerpt_of_names

_EPIC_VIDEO = re.compile(r"(P\d{2})_\d+")
_MAX_SHOWN, _MAX_CHARACTERS, _LONGEST = 20, 1500, MAX_EXCERPT


_OTHER_NAMES = {
    "video_id": (
        "videoid", "video", "videoname", "videouid", "vid", "uid", "clip", "clipuid", "clipid", "filename", "file",
    ),
    "start_timestamp": ("starttimestamp", "starttime", "start", "startsec", "starts", "startseconds", "begin", "onset"),
    "stop_timestamp": (
        "stoptimestamp", "stoptime", "stop", "stopsec", "stopseconds", "endtimestamp", "endtime", "end", "endsec",
        "endseconds", "offset",
    ),
    "verb_class": ("verbclass", "verbid", "verblabel", "verbclassid"),
    "noun_class": ("nounclass", "nounid", "nounlabel", "nounclassid"),
    "action_class": ("actionclass", "actionid", "actionlabel", "label", "labelid", "class", "classid"),
}  # fmt: skip
"""Column -> names that other files have for it, without case and marks."""
_ROLES = {
    "start_timestamp": ({"start", "begin", "beginning", "onset", "from"}, "time"),
    "stop_timestamp": ({"stop", "end", "ending", "finish", "offset", "to", "until"}, "time"),
    "verb_class": ({"verb", "verbs"}, "class"),
    "noun_class": ({"noun", "nouns"}, "class"),
    "action_class": ({"action", "actions"}, "class"),
}
"""Column -> the word that its other names have, and what else they say."""
_KINDS = {
    "time": {
        "time",
        "timestamp",
        "times",
        "timestamps",
        "ts",
        "t",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "action",
        "clip",
    },
    "class": {"class", "classes", "cls", "id", "ids", "label", "labels", "idx", "index", "number", "category"},
}
"""Words that may stand next to the deciding one; a frame number is no time, and a text is no class."""
_OWN_MEANING = {
    "narrationid", "participantid", "narrationtimestamp", "startframe", "stopframe", "narration", "verb", "noun",
    "allnouns", "allnounclasses",
}  # fmt: skip
"""EPIC-KITCHENS' columns that are never another one misspelt."""
_MOST_NAMES = 500
"""Columns of a header that are compared with those that are missing; a hostile header has many more."""
_ALIKE = 0.55
"""Likeness from which on a name may be another one misspelt."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One annotated action: the time range [start_seconds, stop_seconds) of a video, and its class ids.

    Released files have single actions that last no time; they are read, and left out by name where frames are needed.
    """

    row: int
    """Line of a CSV, the header being line 1; running number of a JSON's segment, from 1."""
    video_id: str
    """The video's id; the take's name where `whole_take` is set."""
    start_seconds: float
    stop_seconds: float
    classes: dict[str, Any]
    """Task -> id: `verb` and `noun` ints with `action` = (verb, noun), or `action` alone as an int; {}: no labels."""
    name: str | None = None
    """The annotation's own id (EPIC's narration_id), which benchmarks expect with predictions."""
    participant_id: str | None = None
    frame_range: tuple[int, int] | None = None
    """EPIC's start_frame and stop_frame, for `compat: vjepa2` only. They count 60 or 50 per second whatever the rate
    of the video, so that they are no index of its frames."""
    whole_take: bool = False
    """Whether the segment is one of every camera of the take `video_id`, as Ego-Exo4D's keysteps are."""
    clip_uid: str | None = None
    """Ego4D's clip of the video that shows the action; None: the annotations have no clips."""
    clip_start_seconds: float = 0.0
    """Start of that clip in the video."""
    parent_id: str | None = None
    """The video that `video_id` is a clip of; None: it is a video of its own."""
    title: str = ""
    """Name of the segment in messages to users."""

    @property
    def is_empty(self) -> bool:
        """Whether the action ends when it starts, so that no frame shows it."""
        return self.stop_seconds <= self.start_seconds

    @property
    def group(self) -> str:
        """The take of `take/camera`, else the video: what must never straddle a split and what intervals resample."""
        return self.parent_id or group_of(self.video_id)

    def in_clip(self) -> Segment:
        """The same action in the file of its clip, in seconds from the clip's start; itself without a clip."""
        if self.clip_uid is None:
            return self
        start, stop = (max(0.0, s - self.clip_start_seconds) for s in (self.start_seconds, self.stop_seconds))
        return replace(self, video_id=self.clip_uid, parent_id=self.video_id, start_seconds=start, stop_seconds=stop)


def group_of(video_id: str) -> str:
    """The take of `take/camera`, else the video itself."""
    return video_id.split("/", 1)[0]


def participant_of(video_id: str) -> str:
    """PXX of EPIC-KITCHENS' PXX_YY; "" for other names.

    >>> participant_of("P01_101"), participant_of("take_3/cam01")
    ('P01', '')
    """
    found = _EPIC_VIDEO.fullmatch(video_id)
    return found[1] if found else ""


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a CSV: first the header, stripped, then every line that is not empty.

    UTF-8 or UTF-16; separated by commas, `;`, tabs or `|`, where decimal commas are read as points.
    """
    try:
        table = table_lines(path, form_of(path), strict=True)
        line, header = next(table, (1, []))
        yield line, [name.strip() for name in header]
        for line, values in table:
            if any(value.strip() for value in values):
                yield line, values
    except (csv.Error, UnicodeError) as error:
        raise not_a_table(path, error) from error


def named_cells(values: Sequence[str], columns: Mapping[str, int], width: int) -> dict[str, str]:
    """Column name -> stripped cell; ValueError for a row that does not have `width` cells."""
    if len(values) != width:
        raise ValueError(f"{len(values)} fields where the header has {width}")
    return {name: values[place].strip() for name, place in columns.items()}


def missing_columns(path: Path, missing: Sequence[str], header: list[str], hint: str) -> DataFileError:
    """The error for a header that lacks the columns `missing`, with the nearest name of the header for each."""
    near = _nearest(missing, header)
    listed = ", ".join(name + (f" (nearest: {near[name]})" if name in near else "") for name in missing)
    there = excerpt_of_names(header) or "no header"
    return DataFileError(f"{path} lacks the column(s) {listed}; it has {there}.", hint=hint)


def nearest_columns(missing: Sequence[str], header: list[str]) -> str:
    """`; 'start_time' may be start_timestamp` for each missing column that has a name like it, else nothing."""
    return "".join(f"; {there!r} may be {name}" for name, there in _nearest(missing, header).items())


def _nearest(missing: Sequence[str], header: list[str]) -> dict[str, str]:
    """Missing column -> the column that is meant, where one is likely; else the column is left out.

    First a usual other name, then one with the same words (`t_start`), then the most alike. A column is meant once:
    `start_time` is never taken for `stop_timestamp`. Released columns that mean something else are never meant.
    """
    found: dict[str, str] = {}
    known = {name for names in _OTHER_NAMES.values() for name in names} | _OWN_MEANING
    free = {_plain(name): name for name in header[:_MOST_NAMES]}
    for name in missing:
        if usual := next((other for other in _OTHER_NAMES.get(name, ()) if other in free), None):
            found[name] = free.pop(usual)
    for name in missing:
        if name not in found and (alike := next((one for one in free if _says(name, free[one])), None)):
            found[name] = free.pop(alike)
    unknown = [other for other in free if other not in known]
    pairs = [(_likeness(name, other), name, other) for name in missing if name not in found for other in unknown]
    for likeness, name, other in sorted(pairs, key=lambda pair: -pair[0]):
        if likeness >= _ALIKE and name not in found and other in free:
            found[name] = free.pop(other)
    return found


def _likeness(column: str, plain: str) -> float:
    """0..1: how alike a column and a plain name of a header are."""
    return difflib.SequenceMatcher(None, plain, _plain(column.split(" ", maxsplit=1)[0])).ratio()


def _says(column: str, name: str) -> bool:
    """Whether `name` has the deciding word of `column`, and else only words of its kind, such as `end_time_s`."""
    if column not in _ROLES or _plain(name) in _OWN_MEANING:
        return False
    deciding, kind = _ROLES[column]
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold())
    others = [word for word in words if word not in deciding]
    return len(others) < len(words) and all(word in _KINDS[kind] for word in others)


def _plain(name: str) -> str:
    """A name without case, spaces and marks."""
    return "".join(character for character in name.casefold() if character.isalnum())


def refuse_problems(path: Path, problems: Sequence[str]) -> None:
    """DataFileError with the first of `problems`, if there are any: 20 at most, and fewer where they are long."""
    if problems:
        texts = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in problems[:_MAX_SHOWN]]
        lengths = itertools.accumulate(len(text) for text in texts)
        shown = max(1, sum(length <= _MAX_CHARACTERS for length in lengths))
        more = f" and {len(problems) - shown} more" if len(problems) > shown else ""
        raise DataFileError(
            f"{path}: " + "; ".join(texts[:shown]) + f"{more}.",
            hint="Correct these entries of the file, or leave them out.",
            rows=list(problems[:1000]),
        )
