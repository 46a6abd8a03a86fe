"""Turn `--heads SPEC` into the boxes of one video; `HEAD_KINDS` has one object per kind of SPEC."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.exchange.yolo import label_files, label_place
from gazetools.heads.box_foreign import hint_of_folder, is_label_place
from gazetools.heads.box_reading import size_of
from gazetools.heads.calib import calib_digest, calib_heads
from gazetools.heads.corrections import Corrections, read_corrections
from gazetools.heads.detection import read_record
from gazetools.heads.files import BoxVideo, box_suffixes, of_videos, read_heads
from gazetools.heads.table import FoundBoxes, HeadTable
from gazetools.io.atomic import sha256_of_file
from gazetools.io.find_files import FileLookup, existing_path, files_with, target_of
from gazetools.schemas.errors import HeadsError, UsageError
from gazetools.schemas.excerpt import excerpt_of_names
from gazetools.schemas.extract import ExtractOptions


@dataclass(frozen=True, kw_only=True)
class VideoHeads:
    """Boxes of one video, or none at all (`whole`: one row per frame with an empty prompt)."""

    spec: str
    table: HeadTable | None
    sha256: str | None
    """sha256 over what the boxes come from; None for `whole`."""
    counts: dict[str, float] = field(default_factory=dict)
    detector: dict[str, Any] | None = None
    """As in `FoundBoxes`, like `counts`."""
    source_notes: tuple[str, ...] = ()
    """Choices of the source that the user should know of."""

    @property
    def notes(self) -> list[str]:
        """What is to be said of the boxes: the source's choices, how a file was read unless it is our own, doubts."""
        if self.table is None:
            return list(self.source_notes)
        read = [f"read as {self.table.reading}"] if self.table.reading else []
        return [*self.source_notes, *read, *(f"warning: {note}" for note in self.table.notes)]

    def people_in(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Number of rows that each of `frames` will have: [len(frames)]."""
        return np.ones(len(frames), np.int64) if self.table is None else self.table.people_in(frames)


@dataclass(frozen=True, kw_only=True)
class HeadKind:
    """A kind of `--heads SPEC` that has boxes."""

    find: Callable[[ExtractOptions, list[str], Mapping[str, Path]], dict[str, Path]]
    """Path that the boxes of each video id come from: a box file, or the video itself."""
    digest: Callable[[ExtractOptions, Path], str]
    """sha256 over everything that the boxes come from."""
    read: Callable[[ExtractOptions, Path, BoxVideo, str], FoundBoxes]
    """The boxes of the video of that id."""
    fills_gaps: bool = True
    """Whether the option `fill_gaps` applies."""


_TWINS = (".csv", ".txt", ".tsv")
"""Suffixes of tables of boxes: a folder may have two of one video, of which the first is read."""
_SHOWN = 3


def box_place(heads: str) -> Path:
    """The file or folder of `file:PATH`, its name in NFC or NFD; it need not exist."""
    return existing_path(Path(heads.removeprefix("file:")).expanduser())


def _find_box_files(options: ExtractOptions, video_ids: list[str], _: Mapping[str, Path]) -> dict[str, Path]:
    """One file for one video, or a folder with files by video id."""
    path = box_place(options.heads)
    if path.is_file():
        known = of_videos(path, options.box_files(), video_ids)
        if known is None:
            raise UsageError(
                f"--heads {options.heads} is one file, but there are {len(video_ids)} videos.",
                hint="Give a folder with one box file per video id.",
            )
        read_heads(path, options.box_files(), video_id=known[0], settle=False)  # fail before the work, not after
        return dict.fromkeys(known, path)
    if not path.is_dir():
        raise UsageError(f"The head boxes {path} do not exist.", hint="Check the path after --heads file:.")
    files = FileLookup(path, [ending + suffix for suffix in box_suffixes() for ending in ("", ".heads")])
    found = {video_id: match for video_id in video_ids if (match := files.find(video_id)) is not None}
    alone = len(video_ids) == 1
    for video_id in video_ids:
        if video_id not in found and (place := label_place(path, video_id, alone=alone)) is not None:
            found[video_id] = place
    if not found:
        raise UsageError(
            f"The folder {path} has no box file for any of the {len(video_ids)} videos"
            + (f" ({link}{target_of(link)} is a broken link)." if (link := files.broken_link(video_ids[0])) else "."),
            hint=f"Expected for example {path / (video_ids[0] + '.csv')}{_instead(path)}.{hint_of_folder(path)}",
        )
    return found


def _instead(folder: Path) -> str:
    """What a folder without the expected files has, as the end of a sentence; "" where it has no such file."""
    names = [str(path.relative_to(folder)) for path in islice(files_with(folder, *box_suffixes()), _SHOWN)]
    return f"; it has {excerpt_of_names(names)}, and names must be those of the videos" if names else ""


def _read_box_file(options: ExtractOptions, path: Path, video: BoxVideo, video_id: str) -> FoundBoxes:
    table = read_heads(path, options.box_files(), video=video, video_id=video_id)
    twins = (
        []
        if box_place(options.heads).is_file()
        else [path.with_suffix(end) for end in _TWINS if end != path.suffix.lower()]
    )
    notes = tuple(f"{twin.name} next to {path.name} is not read" for twin in twins if twin.is_file())
    if (made := read_corrections(path)) is not None:
        return _corrected(table, made, notes)
    if (record := read_record(path)) is None:  # not made by `gazetools heads` or a first pass
        counts = {"filled_boxes": float(table.interpolated)} if table.interpolated else {}
        return FoundBoxes(table=table, counts=counts, notes=notes)
    counts = {"tracks": float(record.tracks), "people_without_head": float(record.people_without_head)}
    detector = {"options": record.options, "weights_sha256": record.weights_sha256}
    return FoundBoxes(table=table, counts=counts, detector=detector, notes=notes)


def _corrected(table: HeadTable, made: Corrections, notes: tuple[str, ...]) -> FoundBoxes:
    """Boxes that were corrected by hand; interpolated ones count as filled, since they depend on a later frame."""
    base = made.begin.base
    counts = {"corrections": float(made.save.edits)}
    if filled := base.filled + made.save.interpolated:
        counts["filled_boxes"] = float(filled)
    what = f"corrected by hand ({made.save.edits} edits), begun with {Path(base.path).name} (sha256 {base.sha256[:12]})"
    return FoundBoxes(table=table, counts=counts, detector=base.detector, notes=(*notes, what))


def _digest_of_boxes(path: Path) -> str:
    """sha256 of a box file, or of the names and digests of a folder's label files."""
    if not is_label_place(path):
        return sha256_of_file(path)
    lines = [f"{sha256_of_file(file)}  {file.name}\n" for file in label_files(path)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


_FILE = HeadKind(find=_find_box_files, digest=lambda _, path: _digest_of_boxes(path), read=_read_box_file)
HEAD_KINDS = {
    "file": _FILE,
    "detect": replace(_FILE, find=lambda *_: {}),
    "calib": HeadKind(
        find=lambda _, __, videos: dict(videos),
        digest=lambda options, path: calib_digest(path, options.first_row),
        read=lambda options, path, video, _: calib_heads(path, **size_of(video), first_row=options.first_row),
        fills_gaps=False,
    ),
}
"""First word of SPEC -> its kind; `whole` has no boxes. `detect` has no files before each video's own first pass; the
boxes of `calib` come from the video itself, whose place tells the take."""


def open_heads(
    options: ExtractOptions, video_ids: list[str], *, videos: Mapping[str, Path] | None = None
) -> dict[str, Path] | None:
    """Find what the boxes of every video come from before any work starts; None for `whole`.

    A folder is matched by video id: `PATH/<video_id>.csv` (or `.txt`, also `<video_id>.heads.csv`). Videos without a
    file are left out and fail by name later; UsageError if none has one. `calib` needs `videos`, id -> file.
    """
    return None if options.heads == "whole" else _kind(options).find(options, video_ids, videos or {})


def heads_for_video(
    options: ExtractOptions,
    files: dict[str, Path] | None,
    video_id: str,
    *,
    width: int,
    height: int,
    frame_count: int,
    pts_seconds: npt.NDArray[np.float64] | None = None,
) -> VideoHeads:
    """The boxes in 0..1 of the people asked for; HeadsError without a box file or for rows that do not fit.

    `pts_seconds` [frame_count] is needed for box files with times instead of frame numbers.
    """
    if files is None:
        if options.people not in {"all", "largest"}:
            raise UsageError(f"--people {options.people} needs boxes; --heads whole has none.")
        return VideoHeads(spec=options.heads, table=None, sha256=None)
    if video_id not in files:
        raise HeadsError(
            f"No head-box file for video {video_id!r} in {options.heads.removeprefix('file:')}.",
            hint=f"Expected <folder>/{video_id}.csv.",
        )
    kind, path = _kind(options), files[video_id]
    video = BoxVideo(width=width, height=height, frame_count=frame_count)
    if pts_seconds is not None:
        video["pts_seconds"] = pts_seconds
    found = kind.read(options, path, video, video_id)
    table, counts = found.table.normalised(**size_of(video)), found.counts
    counts = counts | {f"left out, {reason}": float(rows) for reason, rows in table.left_out.items()}
    if kind.fills_gaps and options.fill_gaps:
        table = table.fill_gaps(options.fill_gaps)
        counts = counts | {"filled_boxes": counts.get("filled_boxes", 0.0) + table.filled}
    table, sha256 = table.choose(options.people), kind.digest(options, path)
    return VideoHeads(
        spec=options.heads,
        table=table,
        sha256=sha256,
        counts=counts,
        detector=found.detector,
        source_notes=found.notes,
    )


def heads_digest(options: ExtractOptions, path: Path) -> str:
    """sha256 over what the boxes of one video come from; `path` as in the result of `open_heads`."""
    return _kind(options).digest(options, path)


def _kind(options: ExtractOptions) -> HeadKind:
    return HEAD_KINDS[options.heads.partition(":")[0]]


def track_roles(source: VideoHeads) -> dict[int, str]:
    """track id -> role for every track of the source; `whole` has the one track 0."""
    if source.table is None:
        return {0: "other"}
    return {int(i): source.table.roles.get(int(i), "other") for i in np.unique(source.table.track_id)}
