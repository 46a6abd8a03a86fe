"""EPIC-KITCHENS-100's lists beside its annotations, and the rule by which its frame numbers are made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gazetools.io.tables import read_table
from gazetools.schemas.errors import UsageError
from gazetools.schemas.video_id import check_video_id

_VIDEO = re.compile(r"^P\d{2}_(\d{2,3})$")


@dataclass(frozen=True, kw_only=True)
class EpicVideo:
    """One row of EPIC_100_video_info.csv."""

    video_id: str
    duration_seconds: float
    fps: float
    """Of the file; 47.95 to 90, and not the rate that the annotations' frame numbers count in."""
    width: int
    height: int


def read_video_info(path: Path) -> dict[str, EpicVideo]:
    """EPIC_100_video_info.csv by video id; DataFileError names file, line and column of a wrong cell."""
    table = read_table(path, required=("video_id", "duration", "fps", "resolution"))
    duration, fps = table.floats("duration"), table.floats("fps")
    videos = {}
    for row, video_id in enumerate(table.columns["video_id"]):
        size = re.fullmatch(r"(\d+)x(\d+)", table.columns["resolution"][row])
        if size is None:
            raise table.error(row, "resolution", f"{table.columns['resolution'][row]!r} is not like 1920x1080")
        if not duration[row] > 0 or not fps[row] > 0:
            raise table.error(row, "fps", "duration and fps must be > 0")
        videos[check_video_id(video_id)] = EpicVideo(
            video_id=video_id,
            duration_seconds=float(duration[row]),
            fps=float(fps[row]),
            width=int(size[1]),
            height=int(size[2]),
        )
    return videos


@dataclass(frozen=True, kw_only=True)
class EpicClass:
    """One row of EPIC_100_verb_classes.csv or EPIC_100_noun_classes_v2.csv."""

    class_id: int
    key: str
    category: str
    """Empty where the file has none."""


def read_classes(path: Path) -> dict[int, EpicClass]:
    """EPIC_100_verb_classes.csv or EPIC_100_noun_classes_v2.csv by id; DataFileError names the row of a wrong cell.

    `instances` (a Python list as text) is not read.
    """
    table = read_table(path, required=("id", "key"), optional=("category",))
    found: dict[int, EpicClass] = {}
    for row, number in enumerate(table.integers("id").tolist()):
        if number in found:
            raise table.error(row, "id", f"{number} has two rows")
        category = table.columns["category"][row] if "category" in table else ""
        found[number] = EpicClass(class_id=number, key=table.columns["key"][row], category=category)
    return found


def read_tail_classes(path: Path) -> frozenset[int]:
    """Class ids of EPIC_100_tail_verbs.csv or EPIC_100_tail_nouns.csv (one column, `verb` or `noun`)."""
    table = read_table(path, required=(), optional=("verb", "noun"))
    names = [name for name in ("verb", "noun") if name in table]
    if len(names) != 1:
        raise UsageError(f"{path} has neither a column verb nor noun.", hint="Pass EPIC_100_tail_verbs.csv or _nouns.")
    return frozenset(table.integers(names[0]).tolist())


def read_unseen_participants(path: Path) -> frozenset[str]:
    """Participants of EPIC_100_unseen_participant_ids_{validation,test}.csv, such as P18."""
    return frozenset(read_table(path, required=("participant_id",)).columns["participant_id"])


def annotation_frame_rate(video_id: str) -> int:
    """Frames per second that the annotations' start_frame and stop_frame count in, whatever the file's rate.

    60 for videos of EPIC-KITCHENS-55 (`PXX_YY`), 50 for the extension (`PXX_1YY`). So a frame number divided by this
    rate is a time; it is no index into the MP4 (PITFALLS 2: up to 187 s off).

    >>> annotation_frame_rate("P01_05"), annotation_frame_rate("P01_105")
    (60, 50)
    """
    match = _VIDEO.match(video_id)
    if match is None:
        raise UsageError(f"{video_id!r} is no EPIC-KITCHENS-100 video id.", hint="They are like P01_05 or P01_105.")
    return 50 if len(match[1]) == 3 else 60
