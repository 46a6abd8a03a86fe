"""`ForeignBoxes`, the boxes of one video in another tool's file, and the collector that readers fill."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.exchange.names import last_number, matching_videos
from gazetools.schemas.errors import HeadsError
from gazetools.schemas.excerpt import excerpt, excerpt_of_names

HEAD_LABELS = ("head", "heads", "face", "faces")
"""Labels of heads, in any letter case; one of them is taken where a file has other labels too."""
MAX_BYTES = 512 << 20
"""Largest file of boxes, after unpacking."""
MAX_BOXES = 20_000_000
_ID_LIMIT = 2**31
_NO_FRAME = -(1 << 62)
_KEYS, _NUMBERS = frozenset((int, str)), frozenset((int, float))
_FAR = 1e100
"""No coordinate is as large; sums of smaller ones stay finite."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is read of a file: one video, one label."""

    video_id: str | None = None
    """Chooses among several videos of a file; None: it must have one."""
    label: str | None = None
    """Chooses among several labels; None: heads."""
    first_frame: int = 0
    """Frame of the first picture where pictures have no numbers."""


@dataclass(kw_only=True)
class ForeignBoxes:
    """Boxes of one video as a file has them."""

    rows: npt.NDArray[np.float64]
    """[N, 7] frame, track id, xmin, ymin, xmax, ymax, number of the row in the file (from 1)."""
    row_word: str
    """What a row is called in messages: `annotation`, `box`, `line`."""
    columns: str
    """What the file says of a box, for people."""
    units: str = "pixels"
    counts: tuple[int, ...] = (0, 1)
    """Numbers that the file may give the video's first frame; empty: it has the order of pictures alone."""
    picture: tuple[int, int] | None = None
    """Width and height of the pictures that pixels are of; None: not said."""
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> boxes of the file that are not used."""
    interpolated: int = 0
    """Number of boxes that lie between two keyframes, so that they depend on a later frame."""


class BoxCollector:
    """Boxes while a file is read, in compact columns; `table` chooses label and people."""

    def __init__(self, path: Path, row_word: str) -> None:
        self.path, self.row_word = path, row_word
        self.left_out: dict[str, int] = {}
        self._frame, self._number = array("q"), array("q")
        self._person, self._label = array("q"), array("q")
        self._box, self._interpolated = array("d"), array("q")
        self._people: dict[object, int] = {}
        self._labels: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._frame)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count boxes that are not used."""
        self.left_out[reason] = self.left_out.get(reason, 0) + count

    def add(
        self,
        frame: int,
        person: object,
        label: str,
        box: Sequence[float],
        number: int,
        *,
        interpolated: bool = False,
    ) -> None:
        """One box [xmin, ymin, xmax, ymax]; `person` may be anything hashable, None: the file does not say."""
        if len(self._frame) >= MAX_BOXES:
            raise HeadsError(f"{self.path} has more than {MAX_BOXES:,} boxes.", hint="Write one file for each video.")
        self._frame.append(frame)
        self._person.append(self._people.setdefault(person, len(self._people)))
        self._label.append(self._labels.setdefault(label, len(self._labels)))
        self._box.extend(box)
        self._number.append(number)
        self._interpolated.append(interpolated)

    def rename_labels(self, name_of: Callable[[str], str]) -> None:
        """Replace every label, where their names are known only after the boxes."""
        names: dict[str, int] = {}
        places = np.array([names.setdefault(name_of(label), len(names)) for label in self._labels], np.int64)
        self._labels = names
        self._label = array("q", places[np.array(self._label, np.int64)].tobytes()) if len(self) else self._label

    @property
    def frames(self) -> Sequence[int]:
        """[N] what was added as the frame of each box."""
        return self._frame

    def move_frames(self, frames: Mapping[int, int], reason: str) -> None:
        """Replace every frame by its entry of `frames`; boxes of frames without an entry are left out and counted."""
        if not len(self):
            return
        old, places = np.unique(np.array(self._frame, np.int64), return_inverse=True)
        new = np.array([frames.get(int(frame), _NO_FRAME) for frame in old], np.int64)[places]
        stays = new != _NO_FRAME
        if others := int((~stays).sum()):
            self.leave_out(reason, others)
        self._box = array("d", np.frombuffer(self._box, np.float64).reshape(-1, 4)[stays].tobytes())
        self._frame = array("q", new[stays].tobytes())
        self._number = array("q", np.array(self._number, np.int64)[stays].tobytes())
        self._person = array("q", np.array(self._person, np.int64)[stays].tobytes())
        self._label = array("q", np.array(self._label, np.int64)[stays].tobytes())
        self._interpolated = array("q", np.array(self._interpolated, np.int64)[stays].tobytes())

    def table(self, wanted: Wanted, columns: str, *, person_word: str) -> ForeignBoxes:
        """The boxes of the chosen label. HeadsError where several labels are possible or a person is not said."""
        rows = np.empty((len(self), 7), np.float64)
        rows[:, 0], rows[:, 6] = self._frame, self._number
        rows[:, 2:6] = np.frombuffer(self._box, np.float64).reshape(-1, 4) if self._box else 0
        kept, notes = self._chosen(wanted)
        person = np.array(self._person, np.int64)[kept]
        numbers, more = self._numbered(np.unique(person), person_word, rows[kept], person)
        rows = rows[kept]
        rows[:, 1] = numbers[person] if len(person) else 0
        return ForeignBoxes(
            rows=rows,
            row_word=self.row_word,
            columns=columns,
            notes=[*notes, *more],
            left_out=self.left_out,
            interpolated=int(np.array(self._interpolated, np.int64)[kept].sum()),
        )

    def _chosen(self, wanted: Wanted) -> tuple[npt.NDArray[np.bool_], list[str]]:
        """[N] whether a box has the label that is read, and what is to be said of it."""
        label = np.array(self._label, np.int64)
        names = list(self._labels)
        if wanted.label is not None:
            chosen = [name for name in names if name.casefold() == wanted.label.casefold()]
            if not chosen and names:
                raise HeadsError(
                    f"{self.path} has no label {excerpt(wanted.label)}; it has {excerpt_of_names(names)}.",
                    hint="Name one of them by --heads-label.",
                )
        else:
            chosen = [name for name in names if name.casefold() in HEAD_LABELS] if len(names) > 1 else names
        if len({name.casefold() for name in chosen}) > 1 or (names and not chosen):
            raise HeadsError(
                f"{self.path} has boxes of {len(names)} labels: {excerpt_of_names(names)}.",
                hint="Say which of them are heads: --heads-label NAME.",
            )
        kept = np.isin(label, [self._labels[name] for name in chosen])
        if others := int((~kept).sum()):
            self.leave_out(f"of other labels than {chosen[0] if chosen else 'head'}", others)
        shown = chosen[0] if chosen else ""
        if shown and shown.casefold() not in HEAD_LABELS and wanted.label is None:
            return kept, [
                f"its boxes have the label {excerpt(shown, 60)}; they are read as heads, as a gaze model needs"
            ]
        return kept, []

    def _numbered(
        self, used: npt.NDArray[np.int64], word: str, rows: npt.NDArray[np.float64], person: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Track id of each person, by its place in `_people`: its own whole number, or else 1, 2, ... in order."""
        keys = list(self._people)
        numbers = np.zeros(len(keys), np.int64)
        values = {int(place): keys[place] for place in used}
        if None in values.values():
            if len(values) > 1:
                row = rows[person == self._people[None]][0]
                raise HeadsError(
                    f"{self.path}, {self.row_word} {int(row[6])} has no {word}, which others have.",
                    hint=f"Give every box its {word}, one for each person.",
                )
            return numbers, [f"no box has {word}: all are of one person, 0"]
        whole = {place: whole_number(value) for place, value in values.items()}
        if all(number is not None for number in whole.values()) and len({*whole.values()}) == len(whole):
            for place, number in whole.items():
                numbers[place] = number or 0
            return numbers, []
        for number, place in enumerate(sorted(values), 1):
            numbers[place] = number
        listed = [f"{numbers[place]} is {excerpt(str(values[place]), 40)}" for place in sorted(values)[:4]]
        more = f" and {len(values) - 4} more" if len(values) > 4 else ""
        return numbers, [f"its {word} is a text, so people are numbered in their order: {', '.join(listed)}{more}"]


def is_key(value: object) -> bool:
    """Whether a value of JSON can be an id: a whole number or a text."""
    return type(value) in _KEYS  # of JSON: never a subclass, and bool is none of them


def is_coordinate(value: object) -> bool:
    """Whether a value of JSON is a number that a box can have: finite, also where it is a whole one of 400 digits."""
    return type(value) in _NUMBERS and abs(value) < _FAR  # type: ignore[arg-type]


def whole_number(value: object) -> int | None:
    """`value` as a whole number of 32 bits, also one that is written as text; None: it is none."""
    if isinstance(value, str):
        try:
            value = int(value) if len(value) < 12 else None
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _ID_LIMIT:
        return None
    return value


def chosen_video(path: Path, names: Iterable[str], wanted: Wanted) -> tuple[str, list[str]]:
    """The one of `names`, the videos of a file, that is read, and a note where its name is not that of the video.

    HeadsError names them where there are several and none, or more than one, is of the video.
    """
    listed = list(names)
    found = listed if wanted.video_id is None else matching_videos(listed, wanted.video_id)
    if len(listed) == 1:
        odd = wanted.video_id is not None and not found and listed[0] != ""
        return listed[0], [f"its boxes are of {excerpt(listed[0], 80)}, a video of another name"] if odd else []
    if len(found) == 1:
        return found[0], []
    which = "none" if not found else "several"
    raise HeadsError(
        f"{path} has boxes of {len(listed)} videos ({excerpt_of_names(sorted(listed))}); {which} of them can be "
        f"{excerpt(wanted.video_id) if wanted.video_id else 'told to be the one'}.",
        hint="Give the videos their names there, or export one file for each video, named by its id.",
    )


@dataclass(frozen=True)
class FrameRule:
    """Which frame each picture is."""

    frames: dict[object, int]
    """Key of a picture -> frame."""
    counts: tuple[int, ...]
    words: str


def frames_of_pictures(path: Path, pictures: dict[object, str], wanted: Wanted) -> FrameRule:
    """Frames by the last number in each picture's name; where none has one, by the order of the keys.

    `pictures`: key -> name. HeadsError where only some have a number, or two of them the same.
    """
    numbers = {key: last_number(name) for key, name in pictures.items()}
    without = [pictures[key] for key, number in numbers.items() if number is None]
    if not without:
        seen: dict[int | None, str] = {}
        for key, number in numbers.items():
            if number in seen:
                raise HeadsError(
                    f"{path}: the pictures {excerpt(seen[number], 80)} and {excerpt(pictures[key], 80)} end in the "
                    "same number, so that numbers are no frames.",
                    hint="Name the pictures by their frames.",
                )
            seen[number] = pictures[key]
        return FrameRule({key: number or 0 for key, number in numbers.items()}, (0, 1), "last number of picture's name")
    if len(without) < len(pictures):
        raise HeadsError(
            f"{path}: {len(without)} of {len(pictures)} pictures have no number in their name, such as "
            f"{excerpt(without[0], 80)}; the others are frames by their number.",
            hint="Name all pictures by their frames.",
        )
    ordered = sorted(pictures, key=lambda key: (whole_number(key) is None, whole_number(key) or 0, str(key)))
    frames = {key: wanted.first_frame + place for place, key in enumerate(ordered)}
    return FrameRule(frames, (), "order of picture ids, without gaps")
