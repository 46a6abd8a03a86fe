"""Turn `--heads SPEC` into the boxes of one video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.heads.calib import calib_digest, calib_heads
from gazetools.heads.detection import read_record
from gazetools.heads.files import SUFFIXES, read_heads
from gazetools.heads.table import HeadTable
from gazetools.io.atomic import sha256_of_file
from gazetools.schemas.errors import HeadsError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.video_id import path_of_id


@dataclass(frozen=True, kw_only=True)
class VideoHeads:
    """Boxes of one video, or none at all (`whole`: one row per frame with an empty prompt)."""

    spec: str
    table: HeadTable | None
    sha256: str | None
    counts: dict[str, float] = field(default_factory=dict)
    """What the source has to say of itself, such as frames without a box by reason."""
    detector: dict[str, Any] | None = None
    """Options and weights of the detector that made the boxes."""

    def people_in(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows that each of `frames` will have: [len(frames)]."""
        return np.ones(len(frames), np.int64) if self.table is None else self.table.people_in(frames)


def open_heads(
    options: ExtractOptions, video_ids: list[str], *, videos: Mapping[str, Path] | None = None
) -> dict[str, Path] | None:
    """Find the box file of every video before any work starts; None for `whole`.

    `file:PATH` with one video may be a file. A folder is matched by video id: `PATH/<video_id>.csv` (or `.txt`,
    also `<video_id>.heads.csv`). Videos without a file are left out of the result and fail by name later, so that
    the others can go on; if there is none for any video, UsageError. For `calib` it is the video itself (`videos`):
    where it lies tells its take. `detect` has no files before each video's own first pass.
    """
    if options.heads == "whole":
        return None
    if options.heads == "calib":
        return dict(videos or {})
    if options.detection() is not None:
        return {}
    path = Path(options.heads.removeprefix("file:")).expanduser()
    if path.is_file():
        if len(video_ids) > 1:
            raise UsageError(
                f"--heads {options.heads} is one file, but there are {len(video_ids)} videos.",
                hint="Give a folder with one box file per video id.",
            )
        read_heads(path, first_frame=options.heads_first_frame)  # fail before the work, not after
        return {video_ids[0]: path}
    if not path.is_dir():
        raise UsageError(f"The head boxes {path} do not exist.", hint="Check the path after --heads file:.")
    found = {}
    for video_id in video_ids:
        names = [path_of_id(path, video_id, ending + suffix) for suffix in SUFFIXES for ending in ("", ".heads")]
        if match := next((name for name in names if name.is_file()), None):
            found[video_id] = match
    if not found:
        raise UsageError(
            f"The folder {path} has no box file for any of the {len(video_ids)} videos.",
            hint=f"Expected for example {path / (video_ids[0] + '.csv')}.",
        )
    return found


def heads_for_video(
    options: ExtractOptions, files: dict[str, Path] | None, video_id: str, *, width: int, height: int, frame_count: int
) -> VideoHeads:
    """The checked boxes of one video, normalised to 0..1, only the people asked for.

    Raises HeadsError where the video has no box file or its rows do not fit the video.
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
    if options.heads == "calib":
        found = calib_heads(files[video_id], width=width, height=height, frame_count=frame_count)
        table = found.table.normalised(width=width, height=height, frame_count=frame_count).choose(options.people)
        table = replace(table, clipped=found.clipped)
        return VideoHeads(
            spec=options.heads, table=table, sha256=heads_digest(options, files[video_id]), counts=found.counts
        )
    table = read_heads(files[video_id], first_frame=options.heads_first_frame)
    table = table.normalised(width=width, height=height, frame_count=frame_count)
    table = table.fill_gaps(options.fill_gaps).choose(options.people)
    counts, detector = _of_detector(files[video_id])
    return VideoHeads(
        spec=options.heads,
        table=table,
        sha256=heads_digest(options, files[video_id]),
        counts=counts | ({"filled_boxes": table.filled} if options.fill_gaps else {}),
        detector=detector,
    )


def heads_digest(options: ExtractOptions, path: Path) -> str:
    """sha256 over what the boxes of one video come from; `path` as in the result of `open_heads`."""
    return calib_digest(path) if options.heads == "calib" else sha256_of_file(path)


def _of_detector(box_file: Path) -> tuple[dict[str, float], dict[str, Any] | None]:
    """Counts and origin of boxes that `gazetools heads` or a first pass made; ({}, None) for others."""
    record = read_record(box_file)
    if record is None:
        return {}, None
    counts = {"tracks": float(record.tracks), "people_without_head": float(record.people_without_head)}
    return counts, {"options": record.options, "weights_sha256": record.weights_sha256}


def track_roles(source: VideoHeads) -> dict[int, str]:
    """track id -> role for every track of the source; `whole` has the one track 0."""
    if source.table is None:
        return {0: "other"}
    return {int(i): source.table.roles.get(int(i), "other") for i in np.unique(source.table.track_id)}
